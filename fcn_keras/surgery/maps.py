"""Feature maps of a classifier that is being made convolutional."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from fcn_keras.errors import ModelError
from fcn_keras.geometry.graph import describe

Pair = tuple[int, int]  # (rows, columns)
Pads = tuple[Pair, ...]  # (before, after) for rows and for columns.
Shape = tuple[int | None, ...]  # Without the batch.

UNPADDED: Pads = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Map:
    """A tensor of the new network, and its shape and stride in the classifier."""

    tensor: keras.KerasTensor  # [b, rows, columns, channels]
    shape: Shape  # In the classifier: (rows, columns, channels) or (channels,).
    stride: Pair  # In the classifier: pixels between cells.
    flattened: tuple[int, ...] | None = None  # (rows, columns, channels) before Flatten.

    @property
    def has_cells(self) -> bool:
        """True if the map has more than one cell in the classifier."""
        return any(size != 1 for size in self.shape[:-1])


def known_shape(layer: keras.Layer, x: Map) -> tuple[int, ...]:
    """Returns the shape of a layer's input in the classifier.

    Raises:
        ModelError: A size is unknown.
    """
    sizes = tuple(size for size in x.shape if size is not None)
    if len(sizes) < len(x.shape):
        raise ModelError(
            f"{describe(layer)} has an input of unknown size {x.shape}. Build the classifier with "
            "a fixed input_shape."
        )
    return sizes


def times(a: Pair, b: Pair) -> Pair:
    """Multiplies two pairs elementwise."""
    return a[0] * b[0], a[1] * b[1]
