"""Modern backbones: keras.applications models as features at strides 8, 16 and 32.

These models are already fully convolutional: stride 32 is the map that the classifier averages.
Each model pads in its own way: a cell of stride s is centred on its s x s pixels in ConvNeXt, but
(s - 1) / 2 pixels further up and left in ResNet50, and down and right in MobileNetV2 and
EfficientNetV2.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.layers.alignment import PadToMultiple
from fcn_keras.layers.caffe import CaffePreprocessing
from fcn_keras.models.imagenet import load_imagenet_weights


class Application(NamedTuple):
    """How to turn a keras.applications model into features."""

    build: Callable[..., keras.Model]
    # RGB 0..255 -> the model's training input; zero is a mean colour.
    preprocessing: Callable[..., keras.Layer]
    next_stages: tuple[str, str]  # Layers whose inputs are the last maps of stride 8, 16.
    options: dict[str, Any]  # More arguments of `build`.
    hashes: tuple[str, str] | None  # ImageNet weights with and without top, if published.


def application(
    name: str,
    image: keras.KerasTensor,
    *,
    weights: str | None,
    head_width: int,
    dropout: float,
    **others: object,
) -> dict[int, keras.KerasTensor]:
    """Builds the features of one of `APPLICATIONS`.

    Args:
        name: A key of `APPLICATIONS`.
        image: `[b, h, w, 3]`, RGB, 0..255.
        weights: "imagenet", the path of this model's keras.applications weights file (with or
            without top), or None.
        head_width: Ignored, since there are no fc6 and fc7.
        dropout: Fraction of the last map's values dropped in training.
        **others: Options that only the paper's classifiers support; rejected.

    Returns:
        `{8: , 16: , 32: }`, each `[b, H/s, W/s, c]`: the last map of each stride.

    Raises:
        ModelError: An unsupported option is given, or the image does not have 3 channels.
        WeightsError: The weights cannot be downloaded or read.
    """
    reject(name, others)
    if image.shape[-1] != 3:
        raise ModelError(
            f"backbone={name!r}: images must have 3 channels, found {image.shape[-1]}. Use "
            "backbone='vgg16'."
        )
    build, preprocessing, next_stages, options, hashes = APPLICATIONS[name]
    x = preprocessing(dtype="float32", name="preprocessing")(image)
    x = PadToMultiple(32, name="pad")(x)
    net = build(include_top=False, weights=None, **options)
    inputs, last = _rebuild(net, x)
    if weights is not None:
        load_imagenet_weights(keras.Model(image, last), build, weights, hashes=hashes)
    return {
        8: inputs[next_stages[0]],
        16: inputs[next_stages[1]],
        32: layers.Dropout(dropout, name="drop")(last),
    }


def reject(backbone: str, options: Mapping[str, object]) -> None:
    """Raises a `ModelError` if there are options that this backbone does not support."""
    for name, value in options.items():
        raise ModelError(
            f"{name}={value!r}: the backbone {backbone!r} does not support it. Leave it out, or "
            "use backbone='vgg16'."
        )


def _minus_one_to_one(**kwargs: Any) -> keras.Layer:
    return layers.Rescaling(1 / 127.5, offset=-1, **kwargs)


def _standardised(**kwargs: Any) -> keras.Layer:
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return layers.Normalization(
        mean=[255 * m for m in mean], variance=[(255 * d) ** 2 for d in deviation], **kwargs
    )


APPLICATIONS = {
    "resnet50": Application(
        keras.applications.ResNet50,
        CaffePreprocessing,
        ("conv4_block1_1_conv", "conv5_block1_1_conv"),
        {},
        ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    ),
    "mobilenet_v2": Application(
        keras.applications.MobileNetV2,
        _minus_one_to_one,
        ("block_6_pad", "block_13_pad"),
        {},
        None,
    ),
    "efficientnet_v2_b0": Application(
        keras.applications.EfficientNetV2B0,
        _standardised,
        ("block4a_dwconv2", "block6a_dwconv2"),
        {"include_preprocessing": False},  # Ours runs before the padding.
        ("21ecbf6da12460d5c40bb2f29ceb2188", "893217f2bb855e2983157299931e43ff"),
    ),
    "convnext_tiny": Application(
        keras.applications.ConvNeXtTiny,
        _standardised,
        ("convnext_tiny_downsampling_block_1", "convnext_tiny_downsampling_block_2"),
        {"include_preprocessing": False},
        (
            "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
            "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        ),
    ),
}


def _rebuild(
    net: keras.Model, x: keras.KerasTensor
) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor]:
    """Copies the layers of `net` onto `x`; returns each layer's input by name, and the output."""
    inputs, outputs = {}, {}

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        inputs[layer.name] = args[0]
        outputs[layer.name] = layer(*args, **kwargs)
        return outputs[layer.name]

    copy = keras.models.clone_model(net, input_tensors=x, clone_function=_copy, call_function=call)
    return inputs, outputs[copy.layers[-1].name]


def _copy(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config()
    if isinstance(layer, layers.LayerNormalization) and "layernorm" not in layer.name:
        config["name"] = "norm"  # The number in Keras' name depends on earlier models.
    if isinstance(layer, layers.Conv2D) and layer.groups == layer.filters > 1:
        # ConvNeXt. Keras compiles grouped convolutions with XLA, again for each image size.
        kept = ("name", "dtype", "kernel_size", "padding", "use_bias")
        return layers.DepthwiseConv2D(**{key: config[key] for key in kept})
    return type(layer).from_config(config)
