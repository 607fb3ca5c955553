"""Backbones: turn an image into feature maps at strides 8, 16 and 32.

A builder takes the image tensor (RGB, 0..255, `[b, h, w, 3]`), does its own preprocessing, pads the
image to a multiple of 32 and returns `{8: pool3, 16: pool4, 32: fc7}`, each `[b, H/s, W/s, c]`,
where H and W are the padded sizes. Convolutions are centred (`padding="same"`), so a cell of
stride s is centred on the s x s pixels it represents. The paper scores AlexNet and GoogLeNet at
stride 32 only, so they return `{32: ...}`. Models of `fcn_keras.models.applications` pad in their
own way.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import keras
from keras import layers

from fcn_keras.errors import WeightsError
from fcn_keras.layers.alignment import PadToMultiple
from fcn_keras.layers.caffe import CAFFE_MEAN_BGR, CaffePreprocessing
from fcn_keras.layers.dense_as_convolution import PatchConv2D, conv_weights
from fcn_keras.models.applications import APPLICATIONS, application, reject
from fcn_keras.models.classifiers import alexnet as caffenet
from fcn_keras.models.classifiers import googlenet as inception
from fcn_keras.models.classifiers.alexnet import AlexNet
from fcn_keras.models.classifiers.googlenet import GoogLeNet
from fcn_keras.models.imagenet import load_imagenet_weights

VGG16_MD5 = ("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc")
TOP_WIDTH = 4096  # Of AlexNet and VGG16.

# Means that the reference subtracts, BGR; HHA channels are not swapped.
MEANS = {
    "imagenet": CAFFE_MEAN_BGR,  # As in keras.applications.
    "voc": (104.00699, 116.66877, 122.67892),  # Also PASCAL-Context.
    "nyudv2": (116.190, 97.203, 92.318),
    "nyudv2_hha": (132.431, 94.076, 118.477),
    "siftflow": (114.578, 115.294, 108.353),
}

logger = logging.getLogger(__name__)


def vgg16(
    image: keras.KerasTensor,
    *,
    weights: str | None,
    head_width: int,
    dropout: float,
    geometry: Literal["same", "reference"] = "same",
    mean: tuple[float, float, float] = CAFFE_MEAN_BGR,
    swap: bool = True,
) -> dict[int, keras.KerasTensor]:
    """Builds VGG16 of keras.applications, with fc1 and fc2 as the convolutions fc6 and fc7.

    Args:
        image: `[b, h, w, c]`; with three or more channels, the first three are RGB, 0..255.
        weights: "imagenet", the path of a keras.applications VGG16 weights file, or None. Filters
            of channels after the third start as the mean of the colour filters.
        head_width: Channels of fc6 and fc7; the classifier has 4096.
        dropout: Fraction of the outputs of fc6 and fc7 dropped in training.
        geometry: "same", or "reference": padding 100 before conv1_1, and fc6 without padding.
        mean: Subtracted from the first three channels, in BGR order, or RGB without `swap`.
        swap: Convert RGB to BGR.

    Raises:
        WeightsError: The weights cannot be downloaded or read.
    """
    x = CaffePreprocessing(mean, swap, name="preprocessing")(image)
    if geometry == "reference":
        x = layers.ZeroPadding2D(99, name="pad")(x)  # conv1_1 pads one more pixel.
    else:
        x = PadToMultiple(32, name="pad")(x)
    taps = {}
    trunk = keras.applications.VGG16(include_top=False, weights=None)
    for layer in trunk.layers[1:]:
        config = layer.get_config()
        if isinstance(layer, layers.MaxPooling2D):
            config["padding"] = "same"  # Rounds odd sizes up, as Caffe does.
        x = type(layer).from_config(config)(x)
        taps[layer.name] = x
    fc7 = top(x, 7, head_width, dropout, "valid" if geometry == "reference" else "same")
    if weights is not None:
        classifier = load_imagenet_weights(
            keras.Model(image, x),
            keras.applications.VGG16,
            weights,
            include_top=head_width == TOP_WIDTH,
            hashes=VGG16_MD5,
        )
        net = keras.Model(image, fc7)
        _load_top_weights(net, classifier, {"fc6": "fc1", "fc7": "fc2"}, weights, head_width)
    return {8: taps["block3_pool"], 16: taps["block4_pool"], 32: fc7}


def alexnet(
    image: keras.KerasTensor,
    *,
    weights: str | None,
    head_width: int,
    dropout: float,
    geometry: Literal["same", "reference"] = "same",
    mean: tuple[float, float, float] = CAFFE_MEAN_BGR,
    swap: bool = True,
) -> dict[int, keras.KerasTensor]:
    """Builds AlexNet (CaffeNet) with fc6 and fc7 as convolutions; stride 32 only.

    Args:
        image: `[b, h, w, 3]`, RGB, 0..255.
        weights: The path of a weights file of `fcn_keras.AlexNet`, or None.
        head_width: Channels of fc6 and fc7; the classifier has 4096.
        dropout: Fraction of the outputs of fc6 and fc7 dropped in training.
        geometry: "same", or "reference": padding 100, fc6 without padding.
        mean: As in `vgg16`.
        swap: As in `vgg16`.

    Raises:
        WeightsError: The weights cannot be read.
    """
    x = CaffePreprocessing(mean, swap, name="preprocessing")(image)
    if geometry == "reference":
        pool5 = caffenet.features(x, padding=(100, 100))
        x = pool5
    else:
        x = PadToMultiple(32, name="pad")(x)
        pool5 = caffenet.features(x, padding=(3, 4))
        # The pools' incomplete windows shift the cells 14.5 pixels down and right; the even kernel
        # of fc6 shifts them back by 16.
        x = layers.ZeroPadding2D(((3, 2), (3, 2)), name="pad6")(pool5)
    fc7 = top(x, 6, head_width, dropout, padding="valid")
    if weights is not None:
        classifier = load_imagenet_weights(keras.Model(image, pool5), AlexNet, weights)
        net = keras.Model(image, fc7)
        _load_top_weights(net, classifier, {"fc6": "fc6", "fc7": "fc7"}, weights, head_width)
    return {32: fc7}


def googlenet(
    image: keras.KerasTensor,
    *,
    weights: str | None,
    head_width: int,
    dropout: float,
    mean: tuple[float, float, float] = CAFFE_MEAN_BGR,
    swap: bool = True,
    **others: object,
) -> dict[int, keras.KerasTensor]:
    """Builds GoogLeNet without its average pooling; stride 32 only.

    Args:
        image: `[b, h, w, 3]`, RGB, 0..255.
        weights: The path of a weights file of `fcn_keras.GoogLeNet`, or None.
        head_width: Ignored, since the classifier has a single fully connected layer.
        dropout: Fraction of the last module's outputs dropped in training.
        mean: As in `vgg16`.
        swap: As in `vgg16`.
        **others: Unsupported options, rejected; the authors released no reference geometry.

    Raises:
        ModelError: An unsupported option is given.
        WeightsError: The weights cannot be read.
    """
    reject("googlenet", others)
    x = CaffePreprocessing(mean, swap, name="preprocessing")(image)
    x = PadToMultiple(32, name="pad")(x)
    # The first padding and three pools shift the cells 6.5 pixels down and right. Pool4 shifts them
    # by 8 either way: with its incomplete window first, a shift of 1.5 up and left remains.
    x = inception.features(x, incomplete4="first")
    if weights is not None:
        load_imagenet_weights(keras.Model(image, x), GoogLeNet, weights)
    return {32: layers.Dropout(dropout, name="pool5_drop_7x7_s1")(x)}


def tiny(
    image: keras.KerasTensor,
    *,
    weights: str | None,
    head_width: int,
    dropout: float,
    **others: object,
) -> dict[int, keras.KerasTensor]:
    """Builds five small blocks with batch normalisation, for tests and the quickstart."""
    reject("tiny", others)
    if weights is not None:
        raise WeightsError(
            f"weights={str(weights)!r}: the tiny backbone has no pretrained weights. "
            "Use weights=None (command line: --weights none)."
        )
    x = layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="preprocessing")(image)
    x = PadToMultiple(32, name="pad")(x)
    taps = {}
    for block, width in enumerate((16, 24, 32, 48, 64), start=1):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"block{block}_conv")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"block{block}_norm")(x)
        x = layers.ReLU(name=f"block{block}_relu")(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
        taps[2**block] = x
    return {8: taps[8], 16: taps[16], 32: top(x, 3, min(head_width, 128), dropout)}


BACKBONES: dict[str, Callable[..., dict[int, keras.KerasTensor]]] = {
    "vgg16": vgg16,
    "alexnet": alexnet,
    "googlenet": googlenet,
    **{name: partial(application, name) for name in APPLICATIONS},
    "tiny": tiny,
}


def top(
    x: keras.KerasTensor,
    kernel: int,
    width: int,
    dropout: float,
    padding: Literal["same", "valid"] = "same",
) -> keras.KerasTensor:
    """Adds the convolutions fc6 and fc7, with He initialisation.

    `[b, h, w, c]` -> `[b, h, w, width]`; padding "valid" removes `kernel - 1` rows and columns.
    """
    for name, size in (("6", kernel), ("7", 1)):
        x = PatchConv2D(
            width,
            size,
            padding=padding,
            activation="relu",
            kernel_initializer="he_normal",
            name=f"fc{name}",
        )(x)
        x = layers.Dropout(dropout, name=f"drop{name}")(x)
    return x


def _load_top_weights(
    net: keras.Model,
    classifier: keras.Model,
    dense_of: Mapping[str, str],
    weights: str,
    head_width: int,
) -> None:
    """Copies the weights of the classifier's Dense layers to fc6 and fc7, if they fit."""
    names = {layer.name for layer in classifier.layers}
    if head_width == TOP_WIDTH and names.issuperset(dense_of.values()):
        for conv, dense in dense_of.items():
            conv = net.get_layer(conv)
            conv.set_weights(conv_weights(classifier.get_layer(dense), conv.kernel.shape))
    else:
        why = (
            f"{weights} has no fully connected layers"
            if head_width == TOP_WIDTH
            else f"the classifier's layers have {TOP_WIDTH} channels, head_width is {head_width}"
        )
        logger.warning("fc6 and fc7 start from He initialisation and must be trained: %s.", why)
