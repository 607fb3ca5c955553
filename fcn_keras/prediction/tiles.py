"""Tiles of an image, so that memory is bounded and what is stitched is what the whole image gives.

Where a net lays its cells depends on the image's size and the net's total stride only. So every
tile has the image's height and width but for multiples of that stride, and starts at a multiple of
it: then its cells lie where the whole image's do, whatever the net pads or crops. At the image's
edge a tile has that edge for its own; at its inner edges the pixels go that see beyond the tile.

Logits are equal to rounding, of which a convolution over another size does a little differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import keras
import numpy as np

from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.geometry.receptive_field import output_field, total_stride
from fcn_keras.geometry.windows import pair
from fcn_keras.layers.alignment import PadToMultiple

AUTO_TILE = 1536  # VGG16's FCN-8s keeps 1024 of them: 2.25 times the work, in 1.3 GB.
AUTO_PIXELS = 8_000_000  # Whole images above it are cut by the command line.


class Tile(NamedTuple):
    """A part of an image, as (rows, columns) of slices.

    Attributes:
        seen: what goes through the net.
        kept: what of the image comes from it. These cover the image without overlap.
        inner: where `kept` lies in `seen`.
    """

    seen: tuple[slice, slice]
    kept: tuple[slice, slice]
    inner: tuple[slice, slice]


def cut(
    model: keras.Model,
    size: Sequence[int],
    tile: int | tuple[int, int],
    overlap: int | tuple[int, int] | None = None,
) -> list[Tile]:
    """The tiles of an image; all are of one size.

    Args:
        model: a `keras.Model` of one image and one map of logits of its size.
        size: (height, width) of the image.
        tile: the largest edge of a tile in pixels, or a pair (rows, columns).
        overlap: pixels that neighbours share at least, or a pair; the seam lies in their middle.
            None for as many as the net sees around a pixel, so that no seam is left.

    Returns:
        A list of `Tile`, row by row.

    Raises:
        ConfigError: the tile or the overlap is no such number, or too small or large.
        ModelError: the net's geometry is not known, or a pixel sees the whole image.
    """
    tiles = _checked("tile", tile, 1)
    shared = (None, None) if overlap is None else _checked("overlap", overlap, 0)
    strides, fields = _geometry(model)
    axes = [
        _spans(*axis)
        for axis in zip(size, tiles, shared, strides, fields, _slack(model, size), strict=True)
    ]
    return [Tile(*zip(rows, columns, strict=True)) for rows in axes[0] for columns in axes[1]]


def stitch(
    function: Callable[[np.ndarray], np.ndarray], image: np.ndarray, tiles: Sequence[Tile]
) -> np.ndarray:
    """What a function gives for each tile, put together.

    Args:
        function: `[rows, columns, channels]` -> an array `[rows, columns, ...]`.
        image: `[h, w, channels]`; a tile of it is a view, so that it may be a `np.memmap`.
        tiles: as from `cut`.

    Returns:
        An array `[h, w, ...]`.
    """
    whole = np.empty(0)
    for number, tile in enumerate(tiles):
        part = function(image[tile.seen])[tile.inner]
        if number == 0:  # It says what type and depth the whole has.
            whole = np.empty((*image.shape[:2], *part.shape[2:]), part.dtype)
        whole[tile.kept] = part
    return whole


def is_possible(model: keras.Model) -> bool:
    """Whether `cut` knows the model's geometry."""
    try:
        _geometry(model)
    except (ConfigError, ModelError):
        return False
    return True


def edge_for(
    model: keras.Model, size: tuple[int, int], tile: int | Literal["auto"] | None
) -> int | None:
    """The edge of the tiles of an image in pixels; None to predict it whole.

    Args:
        model: a Keras model of one image.
        size: (height, width) of the image.
        tile: the edge, None, or "auto": `AUTO_TILE` for an image above `AUTO_PIXELS`, if the
            model's geometry is known.
    """
    if tile != "auto":
        return tile
    is_large = size[0] * size[1] > AUTO_PIXELS
    return AUTO_TILE if is_large and is_possible(model) else None


def _spans(
    size: int, tile: int, shared: int | None, stride: int, field: tuple[int, int], slack: int
) -> list[tuple[slice, slice, slice]]:
    """(seen, kept, inner) of each tile along one axis."""
    if size <= tile:
        whole = slice(0, size)
        return [(whole, whole, whole)]
    if shared is None:
        before, after = field[0] + slack, field[1] + slack
    else:
        before, after = shared // 2, shared - shared // 2
    length = tile - (tile - size) % stride
    step = (length - before - after) // stride * stride
    if step < stride:
        least = before + after + stride
        least = min(size, least + (size - least) % stride)
        cause = "its pixels see" if shared is None else "the overlap is"
        fix = ", or give a smaller overlap: not quite the same, but faster" * (shared is None)
        raise ConfigError(
            f"tile: must be at least {least} for {size} pixels and this model (stride {stride}; "
            f"{cause} {before + after} pixels), found {tile}. Choose a larger tile{fix}."
        )
    starts = [*range(0, size - length, step), size - length]
    seams = [
        start + before + (last + length - start - before - after) // 2
        for last, start in zip(starts, starts[1:], strict=False)
    ]
    edges = zip(starts, [0, *seams], [*seams, size], strict=True)
    return [
        (slice(start, start + length), slice(low, high), slice(low - start, high - start))
        for start, low, high in edges
    ]


def _geometry(model: keras.Model) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """By axis: the total stride, and the pixels that an output pixel sees (before, behind) it."""
    if isinstance(model.input, dict | list) or isinstance(model.output, dict | list):
        raise ConfigError(
            f"tile: {model.name} has several images or heads, and only a model of one of each is "
            "tiled. Leave tile out, or take one of its heads: keras.Model(model.input, "
            "model.output[NAME])."
        )
    try:
        field, strides = output_field(model), total_stride(model)
    except ModelError as error:
        raise ModelError(f"tile: {error} Without tile the image is predicted whole.") from None
    sizes, steps, offsets = (pair(value) for value in field)
    if steps != (1, 1):
        raise ModelError(
            f"tile: the output of {model.name} has stride {field.stride}; only logits of the "
            "image's size are stitched."
        )
    return strides, [  # Whole pixels; behind an upsampling a field may end within one.
        (math.ceil(-low), math.ceil(low + size - 1))
        for size, low in zip(sizes, offsets, strict=True)
    ]


def _slack(model: keras.Model, size: Sequence[int]) -> Sequence[int]:
    """What the offset of a field may be off by, for each axis.

    TensorFlow's padding "same" before strides moves the cells where a map is no multiple of them.
    """
    if any(isinstance(layer, PadToMultiple) for layer in model.layers):
        return 0, 0
    return [
        stride if edge % stride else 0
        for edge, stride in zip(size, total_stride(model), strict=True)
    ]


def _checked(name: str, value: Any, least: int) -> tuple[int, int]:
    """A whole number or a pair of them, as a pair."""
    pairs = (value, value) if isinstance(value, int | np.integer) else value
    whole = isinstance(pairs, tuple | list) and len(pairs) == 2
    if not whole or not all(
        isinstance(x, int | np.integer) and not isinstance(x, bool) and x >= least for x in pairs
    ):
        raise ConfigError(
            f"{name}={value!r}: must be a whole number of pixels, at least {least}, or a pair "
            "(rows, columns) of them."
        )
    rows, columns = pairs
    return int(rows), int(columns)
