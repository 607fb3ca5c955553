"""Backbones: an image becomes feature maps at strides 8, 16 and 32, the last fully convolutional.

A builder takes the image tensor (RGB, 0..255, `[b, h, w, 3]`), owns its scaling, pads it to a
multiple of 32 and returns `{8: pool3, 16: pool4, 32: fc7}`, each `[b, H/s, W/s, c]`, where H and W
are the padded sizes. Convolutions are centred (`padding="same"`), so that a cell of stride s looks
at the s x s pixels it stands for.
"""

import logging
import warnings
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers

from fcn_keras.convolutionalize import conv_weights
from fcn_keras.errors import ModelError, WeightsError
from fcn_keras.layers import CAFFE_MEAN_BGR, CaffePreprocessing, PadToMultiple

VGG16_FILES = {
    True: (
        "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "64373286793e3c8b2b4e3219cbf3544b",
    ),
    False: (
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
}
VGG16_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
VGG16_TOP_WIDTH = 4096

# What the reference subtracts, BGR; the channels of HHA are not swapped.
MEANS = {
    "imagenet": CAFFE_MEAN_BGR,  # keras.applications'
    "voc": (104.00699, 116.66877, 122.67892),  # Also PASCAL-Context.
    "nyudv2": (116.190, 97.203, 92.318),
    "nyudv2_hha": (132.431, 94.076, 118.477),
    "siftflow": (114.578, 115.294, 108.353),
}

logger = logging.getLogger(__name__)


def vgg16(image, *, weights, head_width, dropout, geometry="same", mean=CAFFE_MEAN_BGR, swap=True):
    """VGG16 of keras.applications; its fc1 and fc2 become the convolutions fc6 and fc7.

    Args:
        image: `[b, h, w, c]`; the first three channels are RGB, 0..255, if there are so many.
        weights: "imagenet", the path of a keras.applications VGG16 weights file, or None. The
            filters of channels beyond the colours start as the mean of the colours' filters.
        head_width: channels of fc6 and fc7; the classifier's own are 4096.
        dropout: share of fc6's and fc7's outputs dropped in training.
        geometry: "same", or "reference": padding 100 before conv1_1, and no padding of fc6.
        mean: subtracted from the first three channels, in the order BGR, or RGB without `swap`.
        swap: turn RGB into BGR.

    Raises:
        WeightsError: the weights cannot be had or read.
    """
    x = CaffePreprocessing(mean, swap, name="preprocessing")(image)
    if geometry == "reference":
        x = layers.ZeroPadding2D(99, name="pad")(x)  # conv1_1 itself pads the hundredth pixel.
    else:
        x = PadToMultiple(32, name="pad")(x)
    taps = {}
    trunk = keras.applications.VGG16(include_top=False, weights=None)
    for layer in trunk.layers[1:]:
        config = layer.get_config()
        if isinstance(layer, layers.MaxPooling2D):
            config["padding"] = "same"  # Rounds odd sizes up, as Caffe does; even ones alike.
        x = type(layer).from_config(config)(x)
        taps[layer.name] = x
    fc7 = _top(x, 7, head_width, dropout, "valid" if geometry == "reference" else "same")
    if weights is not None:
        _load_vgg16(keras.Model(image, fc7), weights, head_width)
    return {8: taps["block3_pool"], 16: taps["block4_pool"], 32: fc7}


def tiny(image, *, weights, head_width, dropout, **others):
    """A net of five small blocks with batch normalisation, for tests and the quickstart."""
    _refuse("tiny", others)
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
    return {8: taps[8], 16: taps[16], 32: _top(x, 3, min(head_width, 128), dropout)}


BACKBONES = {"vgg16": vgg16, "tiny": tiny}


def _refuse(backbone, options):
    """Options that only the paper's classifiers have."""
    for name, value in options.items():
        raise ModelError(
            f"{name}={value!r}: the backbone {backbone!r} has no such choice. Leave it out, or use "
            "backbone='vgg16'."
        )


def _top(x, kernel, width, dropout, padding="same"):
    for name, size in (("6", kernel), ("7", 1)):
        x = layers.Conv2D(
            width,
            size,
            padding=padding,
            activation="relu",
            kernel_initializer="he_normal",
            name=f"fc{name}",
        )(x)
        x = layers.Dropout(dropout, name=f"drop{name}")(x)
    return x


def _load_vgg16(net, weights, head_width):
    wide = head_width == VGG16_TOP_WIDTH
    if str(weights) == "imagenet":
        classifier = _downloaded_vgg16(include_top=wide)
    else:
        classifier = _vgg16_from_file(Path(weights))
    for layer in classifier.layers:
        if layer.name.startswith("block") and layer.weights:
            _set_widened(net.get_layer(layer.name), *layer.get_weights())

    if len(classifier.layers) > 19 and wide:  # Five blocks and the input are 19, the top is 4 more.
        for dense, conv in (("fc1", "fc6"), ("fc2", "fc7")):
            conv = net.get_layer(conv)
            conv.set_weights(conv_weights(classifier.get_layer(dense), conv.kernel.shape))
    else:
        why = (
            f"{weights} has no fully connected layers"
            if wide
            else f"the classifier's are {VGG16_TOP_WIDTH} wide, head_width is {head_width}"
        )
        logger.warning("fc6 and fc7 start from He initialisation and must be trained: %s.", why)


def _set_widened(conv, kernel, bias):
    """Sets a convolution; input channels that `kernel` lacks get the mean over those it has."""
    channels = conv.kernel.shape[2]
    known = kernel.shape[2] if channels >= kernel.shape[2] else 0
    mean = np.repeat(kernel.mean(axis=2, keepdims=True), channels - known, axis=2)
    conv.set_weights([np.concatenate([kernel[:, :, :known], mean], axis=2), bias])


def _downloaded_vgg16(include_top):
    try:
        return keras.applications.VGG16(weights="imagenet", include_top=include_top)
    except Exception as error:  # Keras raises a bare Exception when it cannot reach the network.
        if "URL fetch failure" not in str(error):
            raise
        name, md5 = VGG16_FILES[include_top]
        raise WeightsError(
            f"weights='imagenet': cannot download {VGG16_URL}{name} ({error}). Download it where "
            f"there is a network (MD5 {md5}) and give its path: weights=PATH (command line: "
            "--weights PATH); or start untrained: weights=None (--weights none)."
        ) from None


def _vgg16_from_file(path):
    if not path.is_file():
        raise WeightsError(
            f"weights={str(path)!r}: no such file. Give 'imagenet', None (command line: none) or "
            "the path of a keras.applications VGG16 weights file (.h5 or .weights.h5)."
        )
    try:
        classes = _classes_in(path)
        with warnings.catch_warnings():
            # Keras only warns where it leaves layers at random.
            warnings.simplefilter("error", UserWarning)
            return keras.applications.VGG16(
                weights=str(path), include_top=classes is not None, classes=classes or 1000
            )
    except OSError as error:
        raise WeightsError(
            f"{path}: corrupt, or not an HDF5 file ({error}). Download it again; a "
            "keras.applications VGG16 weights file ends in .h5 or .weights.h5."
        ) from None
    except (ValueError, KeyError, UserWarning) as error:
        raise WeightsError(
            f"{path}: not the weights of keras.applications' VGG16 ({_first_line(error)})."
        ) from None


def _classes_in(path):
    """Width of the file's last Dense layer; None for a file without top. Both HDF5 layouts."""
    dense = []

    def visit(_, item):
        if isinstance(item, h5py.Dataset) and item.ndim == 2:
            dense.append(item)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
        if not dense:
            return None
        if len(dense) != 3:
            raise ValueError(f"{len(dense)} fully connected layers, VGG16 has 3")
        # fc1 is 25088 x w, fc2 w x w, predictions w x classes: the smallest is the last.
        return min(dense, key=lambda item: item.size).shape[-1]


def _first_line(error):
    return str(error).strip().splitlines()[0]
