"""Converts classifiers to fully convolutional networks (section 3.1).

For a finer stride, subsampling is left out and all later filters are dilated (section 3.2).
"""

from __future__ import annotations

import keras

from fcn_keras.arguments import whole
from fcn_keras.errors import ModelError
from fcn_keras.geometry.graph import functional, walk
from fcn_keras.surgery.conversion import Conversion
from fcn_keras.surgery.maps import Map


def convolutionalize(classifier: keras.Model, stride: int | None = None) -> keras.Model:
    """Converts a classifier of one image size to a model that scores images of any size.

    Output cell (i, j) is the classifier's output for the window that starts at pixel
    (stride * i, stride * j). `Flatten` and Dense become a convolution with a kernel of the
    flattened map's size, global pooling becomes pooling over windows of that size, and later Dense
    layers become 1 x 1 convolutions, all with the classifier's weights. This is exact for a
    classifier without padding. A classifier with padding sees padding around each window, where
    the new model sees neighbouring pixels of the image; at the image border both see padding.

    Args:
        classifier: A functional or Sequential `keras.Model`, `[b, h, w, c]` -> `[b, classes]`, also
            with branches and nested models. It is not changed. Augmentation layers (`RandomFlip`
            and so on) are left out, since they would transform an image without its mask.
        stride: Image pixels between cells, a divisor of the classifier's own stride, which is the
            default. Computing time grows with the number of cells.

    Returns:
        A `keras.Model`: `[b, h, w, c]` -> `[b, rows, columns, classes]`. It is not nested, and its
        layers have the classifier's names.

    Raises:
        ModelError: A layer cannot be converted, or the stride is not a divisor.
    """
    step = whole(stride)
    if stride is not None and (step is None or step < 1):
        raise ModelError(f"stride={stride!r}: must be an integer of at least 1, or None.")
    source = functional(classifier).input
    image = keras.Input((*(None,) * (len(source.shape) - 2), source.shape[-1]), name="image")
    scores = walk(
        classifier,
        Map(image, tuple(source.shape[1:]), (1, 1)),
        Conversion(step).convert,
    )
    if len(scores.tensor.shape) != 4:
        raise ModelError(
            f"{classifier.name!r}: must take images [b, h, w, c], found the input {source.shape}. "
            "Use a classifier of images."
        )
    if scores.flattened:
        raise ModelError(
            f"{classifier.name!r}: ends with a flattened map {scores.flattened}. Add a Dense layer "
            "for the scores."
        )
    if step and any(native % step for native in scores.stride):
        native = scores.stride[0] if len({*scores.stride}) == 1 else scores.stride
        raise ModelError(
            f"stride={stride}: must be a divisor of the stride of {classifier.name!r}, {native}."
        )
    return keras.Model(image, scores.tensor, name=f"{classifier.name}_convolutional")
