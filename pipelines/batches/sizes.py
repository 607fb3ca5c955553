"""Sizes of images and batches."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from pipelines.errors import DataError
from pipelines.files.images import read_size
from pipelines.split import Example, Split

Key = TypeVar("Key", bound=Hashable)


def check_batch_size(batch_size: Any) -> None:
    """Checks a batch size.

    Raises:
        DataError: It is not a whole number above 0.
    """
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise DataError(f"batch_size={batch_size!r}: must be a whole number, at least 1.")


def portrait(split: Split) -> np.ndarray:
    """Returns for each image whether it is portrait: bool `[n]`."""
    return np.array([width < height for height, width in sizes_of(split)])


def sizes_of(split: Split) -> list[tuple[int, int]]:
    """Reads the height and width of each image from its header."""

    def size_of(example: Example) -> tuple[int, int]:
        return read_size(example.image, upright=split.upright)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(size_of, split.examples))


def positions_by(keys: Iterable[Key]) -> dict[Key, list[int]]:
    """Groups positions by key, in order of first appearance."""
    positions: dict[Key, list[int]] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, []).append(position)
    return positions
