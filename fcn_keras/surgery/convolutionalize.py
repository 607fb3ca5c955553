"""A classifier becomes fully convolutional: its Dense layers are convolutions (section 3.1).

A finer stride comes from leaving out subsampling and dilating every later filter (section 3.2).
"""

from __future__ import annotations

import keras

from fcn_keras.errors import ModelError
from fcn_keras.geometry.graph import functional, walk
from fcn_keras.surgery.conversion import Conversion
from fcn_keras.surgery.maps import Map


def convolutionalize(classifier: keras.Model, stride: int | None = None) -> keras.Model:
    """Turns a classifier of one fixed image size into a net that scores images of any size.

    Cell (i, j) of its output is what the classifier gives on the window of its own size whose first
    pixel is (stride * i, stride * j): `Flatten` and Dense become a convolution with a kernel as
    large as the flattened map, global pooling becomes pooling over windows of that size, later
    Dense layers become 1 x 1 convolutions, all with the classifier's weights. For a classifier
    without padding that is exact. One with padding sees its own padding around each window, where
    the net sees the image's next pixels; at the image's border both see padding.

    Args:
        classifier: a functional or Sequential `keras.Model`, `[b, h, w, c]` -> `[b, classes]`, with
            branches and nested models if need be. It is not changed. Its augmentation layers
            (`RandomFlip` and so on) are left out: they would move an image without its mask.
        stride: image pixels from cell to cell, a divisor of the classifier's own stride, which is
            the default. The finer, the more cells, at the cost of as many more operations.

    Returns:
        A `keras.Model`: `[b, h, w, c]` -> `[b, rows, columns, classes]`, with layers named as the
        classifier's and one level deep.

    Raises:
        ModelError: the classifier has a layer that cannot be converted, or not to that stride.
    """
    if stride is not None and (not isinstance(stride, int) or stride < 1):
        raise ModelError(f"stride={stride!r}: must be an integer of at least 1, or None.")
    source = functional(classifier).input
    image = keras.Input((*(None,) * (len(source.shape) - 2), source.shape[-1]), name="image")
    scores = walk(
        classifier,
        Map(image, tuple(source.shape[1:]), (1, 1)),
        Conversion(stride).convert,
    )
    if len(scores.tensor.shape) != 4:
        raise ModelError(f"{classifier.name!r} takes {source.shape}, not images [b, h, w, c].")
    if scores.flattened:
        raise ModelError(
            f"{classifier.name!r} ends with a flattened map {scores.flattened}, not with the "
            "scores of a Dense layer."
        )
    if stride and any(native % stride for native in scores.stride):
        native = scores.stride[0] if len({*scores.stride}) == 1 else scores.stride
        raise ModelError(
            f"stride={stride}: the stride of {classifier.name!r} is {native}; choose a divisor."
        )
    return keras.Model(image, scores.tensor, name=f"{classifier.name}_convolutional")
