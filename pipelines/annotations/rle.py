"""COCO's run-length encoding: column by column, alternating runs of 0 and 1, 0 first.

Compressed counts are a text. Each number is a series of 6-bit groups, lowest first, each stored as
a character from "0" on: 5 bits of the number, and a bit that says that more follow. From the fourth
count on, the difference to the count before the last is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_COUNT = 2**40  # More pixels than any image.


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """A mask of the whole image as runs: counts, or their compressed text; `size` is (h, w)."""

    counts: bytes | np.ndarray
    size: tuple[int, int]


def decode(runs: Runs) -> np.ndarray:
    """Decodes runs.

    Returns:
        bool `[h, w]`.

    Raises:
        ValueError: The counts are damaged, or do not add up to the size; the message says how.
    """
    height, width = runs.size
    counts = _decompressed(runs.counts) if isinstance(runs.counts, bytes) else runs.counts
    if counts.size and (counts.min() < 0 or counts.max() > MAX_COUNT):
        raise ValueError(f"a count of {counts.min() if counts.min() < 0 else counts.max():,}")
    total = int(counts.sum())
    if total != height * width:
        raise ValueError(
            f"its counts add up to {total:,}, but its size [{height}, {width}] (height, width) "
            f"has {height * width:,} pixels"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _decompressed(text: bytes) -> np.ndarray:
    """Returns the counts in a compressed text, int64 `[n]`."""
    codes = np.frombuffer(text, "uint8").astype("int64") - 48
    if codes.size and (codes.min() < 0 or codes.max() > 63):
        raise ValueError("its counts have a character that the encoding does not use")
    if not codes.size:
        return codes
    is_last = codes & 32 == 0
    if not is_last[-1]:
        raise ValueError("its counts end in the middle of a number")
    ends = np.flatnonzero(is_last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    groups = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if groups.max() > 7:
        raise ValueError("its counts have a number of more than 40 bits")
    numbers = np.add.reduceat((codes & 31) << (5 * groups), starts)
    is_negative = codes[ends] & 16 != 0
    numbers -= np.where(is_negative, np.int64(1) << (5 * (groups[ends] + 1)), 0)
    return _summed(numbers)


def _summed(numbers: np.ndarray) -> np.ndarray:
    """Adds to each number from the fourth on the count before the last."""
    counts = numbers.copy()
    # Numbers 1, 3, 5, ... are a chain, and so are 2, 4, 6, ...; number 0 stands alone.
    counts[1::2] = np.cumsum(numbers[1::2])
    counts[2::2] = np.cumsum(numbers[2::2])
    return counts


def area(runs: Runs) -> int:
    """Returns the number of pixels of runs; 0 if they are damaged."""
    try:
        counts = _decompressed(runs.counts) if isinstance(runs.counts, bytes) else runs.counts
    except ValueError:
        return 0
    return int(np.sum(counts[1::2]))


def as_counts(values: Sequence[object]) -> np.ndarray:
    """Returns uncompressed counts as int64 `[n]`.

    Raises:
        ValueError: They are not whole numbers.
    """
    if not all(type(value) is int and abs(value) <= MAX_COUNT for value in values):
        raise ValueError("its counts must be whole numbers")
    return np.array(values, "int64")
