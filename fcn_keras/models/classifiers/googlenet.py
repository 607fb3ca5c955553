"""GoogLeNet (Szegedy et al., 2014), Inception v1, as in Caffe's bvlc_googlenet."""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers

from fcn_keras.layers.caffe import CeilMaxPooling2D, LocalResponseNormalization
from fcn_keras.models.classifiers.conventions import checked_classes, finish, image_input

# Filters: 1x1; 3x3 (reduction, output); 5x5 (reduction, output); projection of the pooled map.
INCEPTION = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}


def GoogLeNet(
    include_top: bool = True,
    weights: str | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str = "googlenet",
) -> keras.Model:
    """Builds GoogLeNet (Inception v1) for images of 224 x 224, BGR minus the mean.

    It has the final classifier only, without the auxiliary ones. Like the models of
    keras.applications, it takes preprocessed images: 0..255, BGR, minus the mean colour
    (`fcn_keras.layers.caffe.CaffePreprocessing` does this).

    Args:
        include_top: Include the average pooling and the classifier; without them the output is
            that of the last inception module.
        weights: None for random weights, or the path of a weights file written by Keras
            (.weights.h5, .h5). No Keras file is published; `fcn_keras.surgery.caffe` reads
            Caffe's files.
        input_tensor: A Keras tensor to use as the image.
        input_shape: (height, width, 3). The default is (224, 224, 3) with top, any size without.
        pooling: Global pooling without top: None, "avg" or "max".
        classes: Number of classes, with top.
        classifier_activation: Activation of the classifier; None for logits.
        name: Name of the model.

    Returns:
        A `keras.Model`: `[b, h, w, 3]` -> `[b, classes]`, or `[b, rows, columns, 1024]`, or
        `[b, 1024]`.

    Raises:
        ModelError: An argument is unknown or of another type, or the image size is unknown or too
            small for the top.
        WeightsError: The weights cannot be read or loaded.
    """
    classes = checked_classes(include_top, weights, pooling, classes, classifier_activation, name)
    image = image_input(input_tensor, input_shape, include_top, 224, smallest=(1, 223))
    x = features(image)
    if include_top:
        x = layers.AveragePooling2D(7, 1, name="pool5_7x7_s1")(x)
        x = layers.Dropout(0.4, name="pool5_drop_7x7_s1")(x)
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(classes, activation=classifier_activation, name="loss3_classifier")(x)
    return finish(image, x, include_top, weights, pooling, name, "bvlc_googlenet")


def features(
    x: keras.KerasTensor, incomplete4: Literal["first", "last"] = "last"
) -> keras.KerasTensor:
    """Builds the layers up to the last inception module, at stride 32.

    Args:
        x: `[b, h, w, 3]`, preprocessed.
        incomplete4: Position of pool4's incomplete window: "last" as in Caffe, or "first".

    Returns:
        `[b, ceil(h / 32), ceil(w / 32), 1024]` if h and w are even.
    """
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(64, 7, strides=2, activation="relu", name="conv1_7x7_s2")(x)
    x = CeilMaxPooling2D(3, 2, name="pool1_3x3_s2")(x)
    x = LocalResponseNormalization(name="pool1_norm1")(x)
    x = _convolution(x, 64, 1, "conv2_3x3_reduce")
    x = _convolution(x, 192, 3, "conv2_3x3")
    x = LocalResponseNormalization(name="conv2_norm2")(x)
    x = CeilMaxPooling2D(3, 2, name="pool2_3x3_s2")(x)
    x = _inception(_inception(x, "3a"), "3b")
    x = CeilMaxPooling2D(3, 2, name="pool3_3x3_s2")(x)
    for module in ("4a", "4b", "4c", "4d", "4e"):
        x = _inception(x, module)
    x = CeilMaxPooling2D(3, 2, incomplete4, name="pool4_3x3_s2")(x)
    return _inception(_inception(x, "5a"), "5b")


def _inception(x: keras.KerasTensor, module: str) -> keras.KerasTensor:
    """Builds an inception module with four parallel branches."""
    name = f"inception_{module}"
    ones, (reduce3, threes), (reduce5, fives), projection = INCEPTION[module]
    pooled = layers.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(x)
    branches = [
        _convolution(x, ones, 1, f"{name}_1x1"),
        _convolution(_convolution(x, reduce3, 1, f"{name}_3x3_reduce"), threes, 3, f"{name}_3x3"),
        _convolution(_convolution(x, reduce5, 1, f"{name}_5x5_reduce"), fives, 5, f"{name}_5x5"),
        _convolution(pooled, projection, 1, f"{name}_pool_proj"),
    ]
    return layers.Concatenate(name=f"{name}_output")(branches)


def _convolution(x: keras.KerasTensor, filters: int, kernel: int, name: str) -> keras.KerasTensor:
    return layers.Conv2D(filters, kernel, padding="same", activation="relu", name=name)(x)
