"""Window and padding arithmetic of convolution and pooling layers."""

from collections.abc import Sequence
from typing import TypeVar

import keras

from fcn_keras.layers.alignment import CropLike, PadToMultiple
from fcn_keras.layers.caffe import CeilMaxPooling2D, missing_cells

N = TypeVar("N", int, float)


def padding(layer: keras.Layer, size: int | None, span: int, stride: int) -> tuple[int, int]:
    """Returns how many cells a convolution or pooling pads (before, after) a map of `size` cells.

    A `size` of None is assumed to be a multiple of the stride.
    """
    if isinstance(layer, CeilMaxPooling2D):
        cells = max(missing_cells(size, span, stride)) if size else span % stride
        return (0, cells) if layer.incomplete == "last" else (cells, 0)
    if layer.padding != "same":
        return 0, 0
    total = max(span - (stride if size is None or size % stride == 0 else size % stride), 0)
    return total // 2, total - total // 2


def pads_by_size(layer: keras.Operation) -> bool:
    """Returns whether the cells that a layer adds before a map depend on the map's size."""
    if isinstance(layer, PadToMultiple):
        return len({-size % layer.multiple // 2 for size in range(layer.multiple)}) > 1
    if isinstance(layer, CropLike):
        return layer.offset is None
    if getattr(layer, "padding", None) not in ("same", "valid") or not hasattr(layer, "strides"):
        return False
    return any(
        len({padding(layer, size, span, stride)[0] for size in range(span, span + stride)}) > 1
        for span, stride in windows(layer)
    )


def windows(layer: keras.Layer) -> list[tuple[int, int]]:
    """Returns (cells spanned, stride) of a convolution or pooling, for rows and for columns."""
    kernel = getattr(layer, "kernel_size", None) or layer.pool_size
    rates = pair(getattr(layer, "dilation_rate", 1))
    return [
        ((size - 1) * rate + 1, stride)
        for size, rate, stride in zip(pair(kernel), rates, pair(layer.strides), strict=True)
    ]


def pair(value: N | Sequence[N]) -> tuple[N, N]:
    """Returns a number or a pair (rows, columns) as a pair."""
    rows, columns = value if isinstance(value, list | tuple) else (value, value)
    return rows, columns
