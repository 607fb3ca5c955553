"""One training run, from its options to `finished.json`."""
