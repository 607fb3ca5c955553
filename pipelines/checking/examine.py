"""Reads every image and mask before training, and finds all faults at once.

Unusable data is a fault, suspicious data is a warning; both are `DataError`s, grouped by `kind`.
Damage inside a JPEG that leaves a valid code stream cannot be told from image content: no reader
notices it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from pipelines.checking.findings import Findings
from pipelines.errors import DataError, raise_all
from pipelines.examples import check_sizes, class_counts, image_of, mask_of
from pipelines.files.exif import TRANSPOSED
from pipelines.files.images import TURNED
from pipelines.split import IGNORE, Example, Split


def examine(split: Split, progress: Callable[[], object] | None = None) -> Findings:
    """Reads every image and mask of a split, on all cores.

    Args:
        split: A `Split`.
        progress: Called without arguments after each example, or None.

    Returns:
        `Findings`.
    """
    found = Findings(split, np.zeros(256, "int64"), np.zeros(256, "int64"))
    found.faults += split.faults
    with ThreadPoolExecutor() as pool:
        for index, seen in enumerate(pool.map(lambda e: _examine(split, e), split.examples)):
            found.sizes.append(seen.size)
            found.checksums.append(seen.checksum)
            found.faults += seen.faults
            found.warnings += seen.warnings
            found.present.append(0)
            if seen.faults:
                found.bad.append(index)
            else:
                found.present[-1] = sum(1 << int(c) for c in np.flatnonzero(seen.counts[:IGNORE]))
                found.pixels += seen.counts
                found.images += seen.counts > 0
                if _is_half_void(split, seen.counts):
                    found.half_void.append(index)
            if progress:
                progress()
    return found


def check(split: Split, progress: Callable[[], object] | None = None) -> np.ndarray:
    """Reads every image and mask of a split, and raises an error if any of them is unusable.

    Args:
        split: A `Split`.
        progress: Called without arguments after each example, or None.

    Returns:
        Labelled pixels per class, int64 `[classes]`.

    Raises:
        DataError: The split is empty, every pixel is void, there is only one class and void (as if
            a class were ignored by mistake), or files have faults. The message lists all faults,
            one per line.
    """
    found = examine(split, progress)
    raise_all([*found.faults, *found.of_the_split()[0]])
    return found.class_pixels


@dataclass
class _Seen:
    """The findings of one example."""

    size: tuple[int, int] | None = None
    checksum: int | None = None
    counts: np.ndarray = field(default_factory=lambda: np.zeros(256, "int64"))
    faults: list[DataError] = field(default_factory=list)
    warnings: list[DataError] = field(default_factory=list)


def _examine(split: Split, example: Example) -> _Seen:
    seen = _Seen()
    image = None
    try:
        image = image_of(split, example, seen.warnings)
        seen.size, seen.checksum = image.shape[:2], _checksum(image)
    except DataError as error:
        seen.faults.append(error)
    try:
        values = mask_of(split, example, seen.warnings)
        seen.counts = class_counts(split, example, values)
        if image is not None:
            check_sizes(split, example, image, values)
            seen.warnings = [_with_fit(note, image) for note in seen.warnings]
    except DataError as error:
        seen.faults.append(error)
        seen.warnings = [note for note in seen.warnings if note.kind != TURNED]
    return seen


def _with_fit(note: DataError, image: np.ndarray) -> DataError:
    """Completes a note that an image was turned upright: the mask fits, but perhaps before too."""
    if note.kind != TURNED:
        return note
    kind, text = TURNED, "The mask fits only the upright image."
    height, width = image.shape[:2]
    if note.value not in TRANSPOSED or height == width:
        kind = "EXIF orientation, both fit"
        text = (
            "The mask's size fits the stored pixels too, so look at mask and image (`fcn-keras "
            "data check --report`). If they do not match, set `exif: ignore` in the YAML file."
        )
    return DataError(f"{note} {text}", kind=kind, file=note.file, value=note.value)


def _is_half_void(split: Split, counts: np.ndarray) -> bool:
    """Whether a mask has only one class, and more void than borders explain.

    A mask of 0 and 255 among masks of class ids looks like this, and is probably a mistake.
    """
    one_class = np.count_nonzero(counts[:IGNORE]) == 1
    return (
        one_class and split.mask_values.get(255) == IGNORE and counts[IGNORE] > 0.01 * counts.sum()
    )


def _checksum(image: np.ndarray) -> int:
    """Combines the CRC-32 of the upper and the lower half, so that collisions are rare."""
    pixels = np.ascontiguousarray(image).data.cast("B")
    half = len(pixels) // 2
    return zlib.crc32(pixels[:half]) << 32 | zlib.crc32(pixels[half:])
