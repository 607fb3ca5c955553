"""The receptive field along one axis, and how layers change it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Axis:
    """Receptive field of a feature map along rows or columns, in pixels."""

    size: int | Fraction = 1
    stride: int | Fraction = 1
    offset: int | Fraction = 0

    def window(self, span: int, stride: int = 1, before: int = 0) -> Axis:
        """Returns the field after a sliding window of `span` cells.

        The map is first padded by `before` cells at its start; a negative number crops it.
        """
        return Axis(
            self.size + (span - 1) * self.stride,
            self.stride * stride,
            self.offset - before * self.stride,
        )

    def upsampled(self, factor: int, kernel: int, crop: int) -> Axis:
        """Returns the field after a transposed convolution, cropped by `crop` cells at its start.

        It equals a convolution over the cells with `factor - 1` empty cells in between.
        """
        fine = Axis(self.size, Fraction(self.stride) / factor, self.offset)
        return fine.window(kernel, before=kernel - 1 - crop)


@dataclass(frozen=True)
class Seen:
    """The receptive field of a feature map's cells, and the map's shape without the batch."""

    axes: tuple[Axis, Axis]
    shape: tuple[int | None, ...]
