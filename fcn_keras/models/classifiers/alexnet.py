"""AlexNet (Krizhevsky et al., 2012) as in Caffe's reference model, CaffeNet.

Unlike the original, CaffeNet normalises after pooling.
"""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers

from fcn_keras.layers.caffe import CeilMaxPooling2D, GroupedConv2D, LocalResponseNormalization
from fcn_keras.models.classifiers.conventions import checked_classes, finish, image_input


def AlexNet(
    include_top: bool = True,
    weights: str | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "alexnet",
) -> keras.Model:
    """Builds AlexNet (CaffeNet) for images of 227 x 227, BGR minus the mean.

    Like the models of keras.applications, it takes preprocessed images: 0..255, BGR, minus the mean
    colour (`fcn_keras.layers.caffe.CaffePreprocessing` does this).

    Args:
        include_top: Include fc6, fc7 and fc8; without them the output is pool5.
        weights: None for random weights, or the path of a weights file written by Keras
            (.weights.h5, .h5). No Keras file is published; `fcn_keras.surgery.caffe` reads
            Caffe's files.
        input_tensor: A Keras tensor to use as the image.
        input_shape: (height, width, 3). The default is (227, 227, 3) with top, any size without.
        pooling: Global pooling without top: None, "avg" or "max".
        classes: Number of classes, with top.
        classifier_activation: Activation of fc8; None for logits.
        name: Name of the model.

    Returns:
        A `keras.Model`: `[b, h, w, 3]` -> `[b, classes]`, or `[b, rows, columns, 256]`, or
        `[b, 256]`.

    Raises:
        ModelError: An argument is unknown or of another type, or the image size is unknown or too
            small for the top.
        WeightsError: The weights cannot be read or loaded.
    """
    classes = checked_classes(include_top, weights, pooling, classes, classifier_activation, name)
    image = image_input(input_tensor, input_shape, include_top, 227, smallest=(11, 11))
    x = features(image)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        for fc, drop in (("fc6", "drop6"), ("fc7", "drop7")):
            x = layers.Dense(4096, activation="relu", name=fc)(x)
            x = layers.Dropout(0.5, name=drop)(x)
        x = layers.Dense(classes, activation=classifier_activation, name="fc8")(x)
    return finish(image, x, include_top, weights, pooling, name, "bvlc_reference_caffenet")


def features(x: keras.KerasTensor, padding: tuple[int, int] = (0, 0)) -> keras.KerasTensor:
    """Builds the layers up to pool5, at stride 32 (section 4.1).

    Args:
        x: `[b, h, w, 3]`, preprocessed.
        padding: Zero padding of the image: (top and left, bottom and right). The classifier has
            none, the reference's FCN (100, 100). (3, 4) gives H/32 cells if H is a multiple
            of 32.

    Returns:
        `[b, rows, columns, 256]`.
    """
    if any(padding):
        x = layers.ZeroPadding2D((padding, padding), name="pad1")(x)
    x = layers.Conv2D(96, 11, strides=4, activation="relu", name="conv1")(x)
    x = CeilMaxPooling2D(3, 2, name="pool1")(x)
    x = LocalResponseNormalization(name="norm1")(x)
    x = _convolution(x, 256, 5, groups=2, name="conv2")
    x = CeilMaxPooling2D(3, 2, name="pool2")(x)
    x = LocalResponseNormalization(name="norm2")(x)
    x = _convolution(x, 384, 3, groups=1, name="conv3")
    x = _convolution(x, 384, 3, groups=2, name="conv4")
    x = _convolution(x, 256, 3, groups=2, name="conv5")
    return CeilMaxPooling2D(3, 2, name="pool5")(x)


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, groups: int, name: str
) -> keras.KerasTensor:
    return GroupedConv2D(
        filters, kernel, padding="same", groups=groups, activation="relu", name=name
    )(x)
