"""Reads every image and mask before the first training step, and finds all faults at once.

What cannot be used is a fault, what is odd is a warning; both are `DataError`s, grouped by `kind`.
Damage inside a JPEG that leaves a valid stream of codes cannot be told from a picture: no reader
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
from pipelines.examples import check_sizes, class_counts
from pipelines.files.images import read_image
from pipelines.split import IGNORE, Example, Split


def examine(split: Split, progress: Callable[[], object] | None = None) -> Findings:
    """Reads every image and mask of a split, on all cores.

    Args:
        split: a `Split`.
        progress: called with no argument after each example, or None.

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
    """Reads every image and mask of a split, and stops if any of them cannot be used.

    Args:
        split: a `Split`.
        progress: called with no argument after each example, or None.

    Returns:
        int64 `[classes]`: the labelled pixels of each class.

    Raises:
        DataError: the split is empty, every pixel of it is void, or there is but one class and
            void (as if a class were ignored), or files have faults; all of them are in the
            message, a line each.
    """
    found = examine(split, progress)
    raise_all([*found.faults, *found.of_the_split()[0]])
    return found.class_pixels


@dataclass
class _Seen:
    """What reading one example has shown."""

    size: tuple[int, int] | None = None
    checksum: int | None = None
    counts: np.ndarray = field(default_factory=lambda: np.zeros(256, "int64"))
    faults: list[DataError] = field(default_factory=list)
    warnings: list[DataError] = field(default_factory=list)


def _examine(split: Split, example: Example) -> _Seen:
    seen = _Seen()
    image = None
    try:
        image = read_image(example.image, seen.warnings)
        seen.size, seen.checksum = image.shape[:2], _checksum(image)
    except DataError as error:
        seen.faults.append(error)
    try:
        values = split.read_mask(example.mask)
        seen.counts = class_counts(split, example, values)
        if image is not None:
            check_sizes(example, image, values)
    except DataError as error:
        seen.faults.append(error)
    return seen


def _is_half_void(split: Split, counts: np.ndarray) -> bool:
    """More than borders are void; a mask of 0 and 255 among others of ids is so by mistake."""
    one_class = np.count_nonzero(counts[:IGNORE]) == 1
    return (
        one_class and split.mask_values.get(255) == IGNORE and counts[IGNORE] > 0.01 * counts.sum()
    )


def _checksum(image: np.ndarray) -> int:
    """Two CRC-32, of the upper and the lower half: few enough images have both in common."""
    pixels = np.ascontiguousarray(image).data.cast("B")
    half = len(pixels) // 2
    return zlib.crc32(pixels[:half]) << 32 | zlib.crc32(pixels[half:])
