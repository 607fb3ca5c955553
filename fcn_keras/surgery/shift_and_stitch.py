"""Dense scores from a coarse net by shifting its input (section 3.2).

`convolutionalize(classifier, stride)` gives the same grid in one pass.
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
    """Scores at a finer stride than the net's: it runs on shifted images, the grids interlace.

    The images are shifted by cutting off 0, `stride`, `2 * stride`, ... rows and columns in front,
    as many times as the net's own stride is larger; cell (i, j) of the result belongs to the window
    whose first pixel is (stride * i, stride * j).

    Args:
        model: a classifier, see `convolutionalize`, or a net for images of any size.
        images: `[b, h, w, c]`, values as the model takes them.
        stride: pixels from cell to cell, a divisor of the net's own stride.

    Returns:
        NumPy array `[b, rows, columns, classes]`: as many cells as windows lie in the image, or, in
        a net with padding, as the net makes of it.

    Raises:
        ModelError: the stride is no divisor, the images are no batch or too small for the net, or
            the classifier cannot be converted.
    """
    net = model if None in model.input_shape[1:3] else convolutionalize(model)
    native = pair(output_field(net).stride)
    if not isinstance(stride, int) or stride < 1 or any(size % stride for size in native):
        raise ModelError(
            f"stride={stride!r}: must be a divisor of the net's own stride, {native[0]} x "
            f"{native[1]}."
        )
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != net.input_shape[3]:
        raise ModelError(
            f"images of shape {images.shape}: must be [b, h, w, {net.input_shape[3]}]."
        )

    every = [int(size) // stride for size in native]
    grids = {}
    for row, column in np.ndindex(*every):
        shifted = images[:, row * stride :, column * stride :]
        if _has_output(net, shifted.shape):
            grids[row, column] = keras.ops.convert_to_numpy(net(shifted, training=False))
    if not grids:
        raise ModelError(
            f"images of {images.shape[1]} x {images.shape[2]} pixels are too small for one window "
            f"of {net.name!r}."
        )
    rows = sum(grid.shape[1] for (_, column), grid in grids.items() if column == 0)
    columns = sum(grid.shape[2] for (row, _), grid in grids.items() if row == 0)
    first = grids[0, 0]
    stitched = np.empty((len(first), rows, columns, first.shape[-1]), first.dtype)
    for (row, column), grid in grids.items():
        stitched[:, row :: every[0], column :: every[1]] = grid
    return stitched


def _has_output(net: keras.Model, shape: tuple[int, ...]) -> bool:
    """Whether an image of that shape holds a window; Keras raises where it does not."""
    try:
        return math.prod(net.compute_output_shape(shape)) > 0
    except ValueError:
        return False
