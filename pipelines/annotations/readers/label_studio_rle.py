"""Label Studio's run lengths of brush strokes.

A stream of bits: the number of values (32 bits), the bits of a value - 1 (5), and four bit counts
- 1 (4 each). Then blocks: whether one value is repeated (1), which bit count holds the length (2),
the length - 1, and one value or as many as the length. The values are red, green, blue and alpha of
each pixel, row by row; the mask is alpha. (From the package `rle-pack` of thi.ng/umbrella.)
"""

from collections.abc import Sequence

import numpy as np

from pipelines.files.opening import MAX_PIXELS

CHANNELS, ALPHA = 4, 3


def decode(values: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Decodes the strokes.

    Args:
        values: The bytes.
        size: (height, width) of the image.

    Returns:
        bool `[h, w]`.

    Raises:
        ValueError: The bytes are damaged, or do not fit the size; the message says how.
    """
    try:
        data = bytes(values)
    except (TypeError, ValueError):
        raise ValueError("its `rle` must be a list of whole numbers from 0 to 255") from None
    height, width = size
    count = height * width * CHANNELS
    bits = _Bits(data)
    stated = bits.number(32)
    if stated != count or height * width > MAX_PIXELS:
        raise ValueError(
            f"its `rle` is for {stated:,} values, but {height} x {width} pixels (height x width) "
            f"have {count:,}"
        )
    word = bits.number(5) + 1
    lengths = [bits.number(4) + 1 for _ in range(4)]
    decoded = np.zeros(count, bool)
    at = 0
    while at < count:
        is_repeated = bits.number(1)
        length = bits.number(lengths[bits.number(2)]) + 1
        if at + length > count:
            raise ValueError(f"its `rle` has more values than {count:,}")
        if is_repeated:
            decoded[at : at + length] = bits.number(word) > 0
        else:
            decoded[at : at + length] = bits.words(length, word).any(1)
        at += length
    return decoded.reshape(height, width, CHANNELS)[..., ALPHA]


class _Bits:
    """A stream of bits, highest first."""

    def __init__(self, data: bytes) -> None:
        self.bits = np.unpackbits(np.frombuffer(data, "uint8"))
        self.text = (self.bits + ord("0")).tobytes()
        self.at = 0

    def number(self, length: int) -> int:
        """Reads one number."""
        return int(self.text[self._next(length)], 2)

    def words(self, count: int, length: int) -> np.ndarray:
        """Reads the bits of several numbers, `[count, length]`."""
        return self.bits[self._next(count * length)].reshape(count, length)

    def _next(self, length: int) -> slice:
        start, self.at = self.at, self.at + length
        if self.at > len(self.bits):
            raise ValueError("its `rle` ends too early")
        return slice(start, self.at)
