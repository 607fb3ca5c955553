"""What one cell of a map sees along one axis, and how a layer changes that."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Axis:
    """What is seen along rows or along columns, in pixels."""

    size: int = 1
    stride: int | Fraction = 1
    offset: int | Fraction = 0

    def window(self, span, stride=1, before=0):
        """Behind a window of `span` cells, over a map padded by `before` cells (or cropped)."""
        return Axis(
            self.size + (span - 1) * self.stride,
            self.stride * stride,
            self.offset - before * self.stride,
        )

    def upsampled(self, factor, kernel, crop):
        """Behind a transposed convolution whose output is cropped by `crop` cells at its start.

        It is a convolution over the cells with `factor - 1` empty ones between them.
        """
        fine = Axis(self.size, Fraction(self.stride) / factor, self.offset)
        return fine.window(kernel, before=kernel - 1 - crop)


@dataclass(frozen=True)
class Seen:
    """What the cells of a feature map see, and the map's shape, batch left out."""

    axes: tuple[Axis, Axis]
    shape: tuple
