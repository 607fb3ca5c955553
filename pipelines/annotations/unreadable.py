"""Finds annotation files that no reader would recognise: cut off, empty, or not fetched."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from pipelines.annotations.listing import Listing
from pipelines.errors import DataError

ENDS = {".json": b"]}", ".geojson": b"]}", ".xml": b">"}  # What a whole file ends with.
OTHERS = (".csv", ".npy", ".npz", ".txt", ".yaml", ".yml")  # May be empty, and end as they like.
BLOCK = 4096  # Bytes read at a time, from the end.
SMALL = 1_000_000  # Bytes of a JSON file that is parsed, because it may be a single value.
LFS = b"version https://git-lfs"
BLANK = b" \t\r\n\0"  # Zeros are half of each character in UTF-16.


def unreadable(listing: Listing, known: Iterable[DataError] = ()) -> list[DataError]:
    """Returns a fault for each such file of a source.

    Args:
        listing: The files.
        known: Faults whose files are not named again.
    """
    named = {str(fault.file) for fault in known}
    paths = [listing.root / name for name in listing.ending(*ENDS, *OTHERS)]
    found = {path: _fault(path) for path in paths if str(path) not in named}
    return [
        DataError(f"{path}: {fault}", kind="unreadable file", file=path)
        for path, fault in found.items()
        if fault
    ]


def _fault(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            beginning = file.read(len(LFS))
            size = os.fstat(file.fileno()).st_size
            end, start = b"", size
            while not end and start > 0:  # Blanks may follow.
                start = max(0, start - BLOCK)
                file.seek(start)
                end = file.read(BLOCK).rstrip(BLANK)
    except OSError:
        return None  # The reader's own message says why.
    if beginning == LFS:
        return "a Git LFS pointer, not the file itself. Fetch the files: git lfs pull"
    if path.suffix.lower() in OTHERS:
        return None
    if not end:
        return "is empty. Export it again, or remove it."
    if end[-1:] in ENDS[path.suffix.lower()] or _is_value(path, size):
        return None
    return "is cut off. Export or copy it again, or remove it."


def _is_value(path: Path, size: int) -> bool:
    """Whether a file is a JSON number or text, which ends otherwise."""
    if size > SMALL or path.suffix.lower() == ".xml":
        return False
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return True
