"""What one cell of a map sees along one axis, and how a layer changes that."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Axis:
    """What is seen along rows or along columns, in pixels."""

    size: int | Fraction = 1
    stride: int | Fraction = 1
    offset: int | Fraction = 0

    def window(self, span: int, stride: int = 1, before: int = 0) -> Axis:
        """Behind a window of `span` cells, over a map padded by `before` cells (or cropped)."""
        return Axis(
            self.size + (span - 1) * self.stride,
            self.stride * stride,
            self.offset - before * self.stride,
        )

    def upsampled(self, factor: int, kernel: int, crop: int) -> Axis:
        """Behind a transposed convolution whose output is cropped by `crop` cells at its start.

        It is a convolution over the cells with `factor - 1` empty ones between them.
        """
        fine = Axis(self.size, Fraction(self.stride) / factor, self.offset)
        return fine.window(kernel, before=kernel - 1 - crop)


@dataclass(frozen=True)
class Seen:
    """What the cells of a feature map see, and the map's shape, batch left out."""

    axes: tuple[Axis, Axis]
    shape: tuple[int | None, ...]
