"""AlexNet (Krizhevsky et al., 2012) as Caffe's reference model has it: CaffeNet.

It differs from the original in that the normalisation comes after the pooling.
"""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers

from fcn_keras.layers.caffe import CeilMaxPooling2D, GroupedConv2D, LocalResponseNormalization
from fcn_keras.models.classifiers.conventions import finish, image_input


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
    """AlexNet (CaffeNet), for images of 227 x 227, BGR minus the mean.

    Like keras.applications' nets it takes preprocessed images: 0..255, BGR, minus the mean colour
    (`fcn_keras.layers.caffe.CaffePreprocessing` does so).

    Args:
        include_top: whether to have fc6, fc7 and fc8; without them the output is pool5.
        weights: None for random weights, or the path of a file that Keras wrote
            (.weights.h5, .h5). There is no published Keras file; `fcn_keras.surgery.caffe` reads
            Caffe's.
        input_tensor: a Keras tensor to use as image.
        input_shape: (height, width, 3); with top (227, 227, 3) unless given, without any size.
        pooling: without top: None, "avg" or "max" over the whole map.
        classes: number of classes, with top.
        classifier_activation: activation of fc8; None gives logits.
        name: of the model.

    Returns:
        A `keras.Model`: `[b, h, w, 3]` -> `[b, classes]`, or `[b, rows, columns, 256]`, or
        `[b, 256]`.

    Raises:
        ModelError: `pooling` is unknown, or the size is unknown or too small for the top.
        WeightsError: the weights cannot be had, read or loaded.
    """
    image = image_input(input_tensor, input_shape, include_top, 227, smallest=11)
    x = features(image)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        for fc, drop in (("fc6", "drop6"), ("fc7", "drop7")):
            x = layers.Dense(4096, activation="relu", name=fc)(x)
            x = layers.Dropout(0.5, name=drop)(x)
        x = layers.Dense(classes, activation=classifier_activation, name="fc8")(x)
    return finish(image, x, include_top, weights, pooling, name, "bvlc_reference_caffenet")


def features(x: keras.KerasTensor, padding: tuple[int, int] = (0, 0)) -> keras.KerasTensor:
    """All up to pool5, of stride 32 (section 4.1).

    Args:
        x: `[b, h, w, 3]`, preprocessed.
        padding: zeros laid around the image: (top and left, bottom and right). None for the
            classifier, (100, 100) in the reference's FCN; (3, 4) gives H/32 cells on a multiple
            H of 32.

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
