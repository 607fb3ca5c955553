"""Prediction in tiles: memory is bounded, and the result is that of the whole image.

The grid of a model's output cells depends only on the image's size and the model's total stride.
Each tile therefore starts at a multiple of the stride, and its size differs from the image's by a
multiple of the stride. Its cells then coincide with the whole image's, whatever the model pads or
crops. At the image's border a tile ends where the image ends; at inner edges the pixels that see
beyond the tile are dropped.

The logits are equal up to rounding, which differs slightly between convolutions of different sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import keras
import numpy as np

from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.geometry.tiling import Tiling
from fcn_keras.prediction.net import Net, net_of

AUTO_TILE = 1536  # VGG16's FCN-8s keeps 1024 pixels of each: 2.25 times the work, in 1.3 GB.
AUTO_PIXELS = 8_000_000  # "auto" tiles larger images.


class Tile(NamedTuple):
    """A part of an image, as slices (rows, columns).

    Attributes:
        seen: The part that the model sees.
        kept: The part that is kept in the result. These parts cover the image without overlap.
        inner: The position of `kept` inside `seen`.
    """

    seen: tuple[slice, slice]
    kept: tuple[slice, slice]
    inner: tuple[slice, slice]


def cut(
    model: keras.Model | Net,
    size: Sequence[int],
    tile: int | tuple[int, int],
    overlap: int | tuple[int, int] | None = None,
) -> list[Tile]:
    """Cuts an image into tiles of the same size.

    Args:
        model: A `keras.Model`, or a `Net`, of one image and one map of logits of the image's size.
        size: (height, width) of the image.
        tile: The largest edge of a tile in pixels, or a pair (rows, columns).
        overlap: The least number of pixels that neighbours share, or a pair; the seam lies in the
            middle. None for as many as the model sees around a pixel, which leaves no seams.

    Returns:
        A list of `Tile`, row by row.

    Raises:
        ConfigError: The tile or the overlap is not a valid number, too small or too large.
        ModelError: The model's geometry is unknown, or a pixel sees the whole image.
    """
    tiles = _as_pair("tile", tile, 1)
    shared = (None, None) if overlap is None else _as_pair("overlap", overlap, 0)
    geometry = net_of(model).tiling()
    fields = zip(geometry.before, geometry.after, strict=True)
    slack = _slack(geometry, size)
    axes = [
        _spans(*axis)
        for axis in zip(size, tiles, shared, geometry.stride, fields, slack, strict=True)
    ]
    return [Tile(*zip(rows, columns, strict=True)) for rows in axes[0] for columns in axes[1]]


def stitch(
    function: Callable[[np.ndarray], np.ndarray], image: np.ndarray, tiles: Sequence[Tile]
) -> np.ndarray:
    """Applies a function to each tile and stitches the results together.

    Args:
        function: A function from `[rows, columns, channels]` to an array `[rows, columns, ...]`.
        image: `[h, w, channels]`. Tiles are views of it, so it may be a `np.memmap`.
        tiles: The result of `cut`.

    Returns:
        An array `[h, w, ...]`.
    """
    whole = np.empty(0)
    for number, tile in enumerate(tiles):
        part = function(image[tile.seen])[tile.inner]
        if number == 0:  # The first result decides the type and depth.
            whole = np.empty((*image.shape[:2], *part.shape[2:]), part.dtype)
        whole[tile.kept] = part
    return whole


def check(model: keras.Model | Net, tile: Any) -> None:
    """Checks the argument `tile` of `edge_for` before the first image.

    Raises:
        ConfigError: It is neither "auto" nor None nor a size, or the model has several images or
            heads.
        ModelError: It is a size, and the model's geometry is unknown.
    """
    if isinstance(tile, str) and tile != "auto":
        raise ConfigError(f"tile={tile!r}: must be 'auto', None or a whole number of pixels.")
    if tile is not None and tile != "auto":
        cut(model, (1, 1), tile)


def is_possible(model: keras.Model | Net) -> bool:
    """Whether `cut` knows the model's geometry."""
    try:
        net_of(model).tiling()
    except (ConfigError, ModelError):
        return False
    return True


def edge_for(
    model: keras.Model | Net,
    size: tuple[int, int],
    tile: int | tuple[int, int] | Literal["auto"] | None,
) -> int | tuple[int, int] | None:
    """Returns the edge of an image's tiles in pixels, or None to predict the image whole.

    Args:
        model: A `keras.Model`, or a `Net`, of one image.
        size: (height, width) of the image.
        tile: The edge, None, or "auto": `AUTO_TILE` for an image above `AUTO_PIXELS` if the model's
            geometry is known; more if a pixel sees more.
    """
    if tile != "auto":
        return tile
    if not is_large(size) or not is_possible(model):
        return None
    try:
        cut(model, size, AUTO_TILE)
    except ConfigError:  # A pixel sees nearly as much.
        of_model = net_of(model).tiling()
        seen = (sum(pair) for pair in zip(of_model.before, of_model.after, strict=True))
        return AUTO_TILE + max(seen)
    return AUTO_TILE


def is_large(size: tuple[int, int]) -> bool:
    """Whether an image of (height, width) is better predicted in tiles."""
    return size[0] * size[1] > AUTO_PIXELS


def cut_if_large(
    model: keras.Model | Net,
    size: tuple[int, int],
    tile: int | tuple[int, int] | Literal["auto"] | None = "auto",
    overlap: int | tuple[int, int] | None = None,
) -> list[Tile]:
    """Cuts an image as `edge_for` says; an image to predict whole is a single tile.

    Args:
        model: A `keras.Model`, or a `Net`.
        size: (height, width) of the image.
        tile: As in `edge_for`.
        overlap: As in `cut`.
    """
    edge = edge_for(model, size, tile)
    if edge is None:
        whole = slice(0, size[0]), slice(0, size[1])
        return [Tile(whole, whole, whole)]
    return cut(model, size, edge, overlap)


def _spans(
    size: int, tile: int, shared: int | None, stride: int, field: tuple[int, int], slack: int
) -> list[tuple[slice, slice, slice]]:
    """Returns (seen, kept, inner) of each tile along one axis."""
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
        fix = "; predict also takes a smaller overlap, which is approximate" * (shared is None)
        raise ConfigError(
            f"tile: must be at least {least} for {size} pixels and this model (stride {stride}, "
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


def _slack(geometry: Tiling, size: Sequence[int]) -> Sequence[int]:
    """Returns, per axis, by how much the offset of a receptive field may be off.

    TensorFlow's padding "same" shifts the cells of a strided layer if its input is not a multiple
    of the stride.
    """
    if geometry.pads:
        return 0, 0
    return [
        stride if edge % stride else 0 for edge, stride in zip(size, geometry.stride, strict=True)
    ]


def _as_pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """Checks a whole number or a pair of them, and returns a pair."""
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
