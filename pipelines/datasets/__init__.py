"""Data sets: files -> examples. A reader is `read(data_dir, split) -> Split`."""
