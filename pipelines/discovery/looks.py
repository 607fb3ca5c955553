"""Tells folders of masks from folders of images, by their names and the content of a few files."""

import re
from pathlib import Path

import numpy as np

from pipelines.errors import DataError
from pipelines.files.images import read_mask
from pipelines.split import colour_codes, colour_of

FEW = 64  # Most values or colours in one mask; photographs have more.
SAMPLED = 3  # Files to read per folder.
LISTED = 6  # Values to list in a message.
Files = dict[str, list[Path]]  # As from `files_of`.

MASKS = re.compile(r"mask|label|annot|segm|ground.?truth|target|(?<![a-z])(gt|seg)(?![a-z])")
IMAGES = re.compile(r"image|img|photo|picture|rgb|jpe?g|input|frame")
NOT_CLASSES = re.compile(r"object|instance|colou?r|overlay|visual|edge|bound|depth", re.IGNORECASE)


def by_name(path: Path) -> float:
    """Returns 1 for a path of masks (0.75 if not class masks), -1 for images, 0 if unclear."""
    for part in reversed(path.parts):
        part = part.lower()
        if MASKS.search(part):
            return 0.75 if NOT_CLASSES.search(part) else 1
        if IMAGES.search(part):
            return -1
    return 0


def by_content(folder: Files) -> int:
    """Returns 1 if most sampled files have few values, -1 if many, 0 if none is readable."""
    votes = 0
    for file in _sample([files[0] for files in folder.values()]):
        try:
            votes += 1 if len(values_of(read_mask(file))[0]) <= FEW else -1
        except DataError as error:
            votes -= error.kind in ("lossy mask", "transparent mask")
    return int(np.sign(votes))


def held(masks: list[Path]) -> str:
    """Describes some masks in a few words, such as "8 files, values 0, 255"."""
    values: set[int] = set()
    colours = False
    for file in _sample(masks):
        try:
            mask = read_mask(file)
        except DataError:
            continue
        colours |= mask.ndim == 3
        values.update(values_of(mask)[0].tolist())
    count = f"{len(masks)} file{'s' * (len(masks) > 1)}"
    if not values:
        return f"{count}, not readable as masks"
    shown = sorted(values)[:LISTED]
    text = ", ".join(str(colour_of(value) if colours else value) for value in shown)
    more = f" and {len(values) - LISTED} more" if len(values) > LISTED else ""
    return f"{count}, {'colours' if colours else 'values'} {text}{more}"


def values_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a mask's values `[n]`, or its `colour_codes`, and the pixels of each `[n]`."""
    if mask.dtype == bool:
        mask = mask * np.uint8(255)
    if mask.ndim == 3:
        mask = colour_codes(mask)
    return np.unique(mask, return_counts=True)


def _sample(files: list[Path]) -> list[Path]:
    return files[:: max(1, len(files) // SAMPLED)][:SAMPLED]
