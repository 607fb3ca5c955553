"""Shift-and-stitch: dense scores from a coarse model by shifting its input (section 3.2).

`convolutionalize(classifier, stride)` computes the same grid in one pass.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from fcn_keras.arguments import whole
from fcn_keras.errors import ModelError
from fcn_keras.geometry.graph import describe, functional, walk
from fcn_keras.geometry.receptive_field import output_field
from fcn_keras.geometry.windows import pads_by_size, pair
from fcn_keras.layers.upsampling import BilinearUpsampling
from fcn_keras.surgery.convolutionalize import convolutionalize

UPSAMPLING = (BilinearUpsampling, keras.layers.Conv2DTranspose, keras.layers.UpSampling2D)


def shift_and_stitch(model: keras.Model, images: np.ndarray, stride: int) -> np.ndarray:
    """Computes scores at a finer stride by running the model on shifted images.

    The images are shifted by cropping 0, `stride`, `2 * stride`, ... rows and columns at the top
    and left, up to the model's own stride, and the results are interlaced. Cell (i, j) of the
    result belongs to the window that starts at pixel (stride * i, stride * j).

    Args:
        model: A classifier (see `convolutionalize`) or a model for images of any size.
        images: `[b, h, w, c]`, in the model's value range.
        stride: Pixels between cells, a divisor of the model's own stride.

    Returns:
        NumPy array `[b, rows, columns, classes]`, with one cell per window inside the image. A
        model with padding has more, and pads each shifted image anew: cells whose window begins
        less than one stride inside the image may see padding in place of the cropped pixels.

    Raises:
        ModelError: The stride is not a divisor, the images are not a batch or too small, the
            classifier cannot be converted, or a layer depends on more than the window: its padding
            depends on the image's size, or it upsamples.
    """
    net = _of_any_size(model)
    native = pair(output_field(net).stride)
    step = whole(stride)
    if step is None or step < 1 or any(size % step for size in native):
        raise ModelError(
            f"stride={stride!r}: must be a divisor of the model's stride, {native[0]} x "
            f"{native[1]}."
        )
    images = _checked_images(images, net.input_shape[3])
    every = [int(size) // step for size in native]
    if max(every) > 1:
        walk(net, True, _check_shiftable)
    grids = {}
    for row, column in np.ndindex(*every):
        shifted = images[:, row * step :, column * step :]
        if _has_output(net, shifted.shape):
            grids[row, column] = keras.ops.convert_to_numpy(net(shifted, training=False))
    if not grids:
        raise ModelError(
            f"images: {images.shape[1]} x {images.shape[2]} pixels are too small for one window of "
            f"{net.name!r}. Use larger images."
        )
    rows = sum(grid.shape[1] for (_, column), grid in grids.items() if column == 0)
    columns = sum(grid.shape[2] for (row, _), grid in grids.items() if row == 0)
    first = grids[0, 0]
    stitched = np.empty((len(first), rows, columns, first.shape[-1]), first.dtype)
    for (row, column), grid in grids.items():
        stitched[:, row :: every[0], column :: every[1]] = grid
    return stitched


def _of_any_size(model: keras.Model) -> keras.Model:
    """Returns the model itself if it takes images of any size, else the converted classifier."""
    shape = functional(model).input.shape
    if None not in shape[1:3]:
        return convolutionalize(model)
    if shape[1:3] != (None, None):
        raise ModelError(
            f"model {model.name!r}: must take images of any size or of one size, found the input "
            f"{shape}. Build it with height and width, or with neither."
        )
    return model


def _checked_images(images: Any, channels: int) -> np.ndarray:
    try:
        array = np.asarray(images)
    except (TypeError, ValueError):  # Lists of different lengths, or a symbolic tensor.
        array = np.empty(0, "object")
    if array.ndim != 4 or array.shape[3] != channels or array.dtype.kind not in "uif":
        raise ModelError(
            f"images: must be numbers of the shape [b, h, w, {channels}], found {array.dtype} "
            f"{array.shape}."
        )
    return array


def _check_shiftable(
    layer: keras.Operation, shape: tuple[int | None, ...], *args: Any, **kwargs: Any
) -> bool:
    """Checks that a layer computes the same for a cell wherever the image begins."""
    if pads_by_size(layer):
        raise ModelError(
            f"{describe(layer)}: pads by the image's size, so the scores of shifted images do not "
            "fit together. Use padding='valid', geometry='reference', or a classifier of one image "
            "size."
        )
    if isinstance(layer, UPSAMPLING):
        raise ModelError(
            f"{describe(layer)}: upsamples, so a score depends on where the image begins. Use the "
            "part of the model before it: keras.Model(model.input, model.get_layer(NAME).output)."
        )
    return True


def _has_output(net: keras.Model, shape: tuple[int, ...]) -> bool:
    """Returns whether an image of that shape contains a window; otherwise Keras raises."""
    try:
        return math.prod(net.compute_output_shape(shape)) > 0
    except ValueError:
        return False
