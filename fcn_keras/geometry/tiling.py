"""What prediction in tiles needs to know of a model: its stride, and how far a pixel sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.geometry.receptive_field import output_field, total_stride
from fcn_keras.geometry.windows import pair
from fcn_keras.layers.alignment import PadToMultiple


class Tiling(NamedTuple):
    """The geometry of a model whose output has the image's size; pairs are (rows, columns).

    Attributes:
        stride: The total stride, in pixels.
        before: How many pixels an output pixel sees above it, and to the left.
        after: How many pixels it sees below it, and to the right.
        pads: Whether the model pads the image to a multiple of the stride. If not, TensorFlow's
            padding "same" shifts the cells of images of other sizes.
    """

    stride: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]
    pads: bool

    @classmethod
    def from_json(cls, content: Any) -> Tiling | None:
        """Returns the tiling of the result of `_asdict` after JSON; None if it is not one."""
        if not isinstance(content, Mapping) or type(content.get("pads")) is not bool:
            return None
        pairs: list[Any] = [content.get(name) for name in ("stride", "before", "after")]
        for least, found in zip((1, 0, 0), pairs, strict=True):
            if not isinstance(found, list | tuple) or len(found) != 2:
                return None
            if not all(type(number) is int and number >= least for number in found):
                return None
        stride, before, after = ((rows, columns) for rows, columns in pairs)
        return cls(stride, before, after, content["pads"])


def tiling(model: keras.Model) -> Tiling:
    """Computes a model's tiling from its graph.

    Raises:
        ConfigError: The model has several images or heads.
        ModelError: Its geometry is unknown, a pixel sees the whole image, or the output does not
            have the image's size.
    """
    if isinstance(model.input, dict | list) or isinstance(model.output, dict | list):
        raise ConfigError(
            f"tile: {model.name} has several images or heads; only one of each can be tiled. "
            "Leave tile out, or use one of its heads: keras.Model(model.input, "
            "model.output[NAME])."
        )
    try:
        field, stride = output_field(model), total_stride(model)
    except ModelError as error:
        raise ModelError(
            f"tile: {error} Leave tile out to predict the whole image at once."
        ) from None
    sizes, steps, offsets = (pair(value) for value in field)
    if steps != (1, 1):
        raise ModelError(
            f"tile: the output of {model.name} must have the image's size, found stride "
            f"{field.stride}. Leave tile out."
        )
    # Whole pixels; after upsampling a field may end within a pixel.
    before = math.ceil(-offsets[0]), math.ceil(-offsets[1])
    after = math.ceil(offsets[0] + sizes[0] - 1), math.ceil(offsets[1] + sizes[1] - 1)
    pads = any(isinstance(layer, PadToMultiple) for layer in model.layers)
    return Tiling(stride, before, after, pads)
