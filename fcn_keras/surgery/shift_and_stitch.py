"""Shift-and-stitch: dense scores from a coarse model by shifting its input (section 3.2).

`convolutionalize(classifier, stride)` computes the same grid in one pass.
"""

from __future__ import annotations

import math

import keras
import numpy as np

from fcn_keras.errors import ModelError
from fcn_keras.geometry.receptive_field import output_field
from fcn_keras.geometry.windows import pair
from fcn_keras.surgery.convolutionalize import convolutionalize


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
        NumPy array `[b, rows, columns, classes]`, with one cell per window inside the image; a
        model with padding has more.

    Raises:
        ModelError: The stride is not a divisor, the images are not a batch or too small, or the
            classifier cannot be converted.
    """
    net = model if None in model.input_shape[1:3] else convolutionalize(model)
    native = pair(output_field(net).stride)
    if not isinstance(stride, int) or stride < 1 or any(size % stride for size in native):
        raise ModelError(
            f"stride={stride!r}: must be a divisor of the model's stride, {native[0]} x "
            f"{native[1]}."
        )
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != net.input_shape[3]:
        raise ModelError(
            f"images: must have the shape [b, h, w, {net.input_shape[3]}], found {images.shape}."
        )

    every = [int(size) // stride for size in native]
    grids = {}
    for row, column in np.ndindex(*every):
        shifted = images[:, row * stride :, column * stride :]
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


def _has_output(net: keras.Model, shape: tuple[int, ...]) -> bool:
    """Returns whether an image of that shape contains a window; otherwise Keras raises."""
    try:
        return math.prod(net.compute_output_shape(shape)) > 0
    except ValueError:
        return False
