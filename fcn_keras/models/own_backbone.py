"""Custom backbones: any Keras model that outputs features of strides 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.layers.alignment import PadToMultiple
from fcn_keras.models.backbones import top

PROBE_SIZE = 256  # Height and width of the image that determines the strides.


def own_backbone(
    backbone: keras.Model,
    image: keras.KerasTensor,
    *,
    weights: str | None,
    head_width: int | None,
    dropout: float,
    **others: object,
) -> dict[int, keras.KerasTensor]:
    """Builds the features of a custom model, which keeps its preprocessing and weights.

    Args:
        backbone: Image `[b, h, w, c]` -> features: a list, a dict by stride, or a KerasHub
            backbone with `pyramid_outputs`. Features of other strides are ignored.
        image: `[b, h, w, c]`; padded with zeros to a multiple of 32.
        weights: "imagenet" or None; the model keeps its weights in both cases.
        head_width: Channels of new layers fc6 and fc7 on the map of stride 32; None for no layers.
        dropout: Fraction of the inputs of the stride-32 scores dropped in training.
        **others: Options that only the paper's classifiers support; rejected.

    Returns:
        `{8: , 16: , 32: }`, each `[b, H/s, W/s, c]`, for the strides that the model has.

    Raises:
        ModelError: The model is not functional or does not take one such image, an output is not
            a feature map, two outputs have the same stride, or an option is not supported.
    """
    for name, value in others.items():
        raise ModelError(f"{name}={value!r}: a custom backbone does not support it. Leave it out.")
    if weights not in ("imagenet", None):
        raise ModelError(
            f"weights={str(weights)!r}: a custom backbone keeps its own weights. Load them with "
            "its load_weights method, and leave weights out."
        )
    maps = _by_stride(_features(backbone, image.shape[-1]))
    strides = [stride for stride in (8, 16, 32) if stride in maps]
    # A list, since Keras' files turn dict keys into strings and reorder them.
    net = keras.Model(backbone.inputs[0], [maps[s] for s in strides], name=backbone.name)
    found = keras.tree.flatten(net(PadToMultiple(32, name="pad")(image)))
    found = dict(zip(strides, found, strict=True))
    if head_width is None:
        found[32] = layers.Dropout(dropout, name="drop")(found[32])
    else:
        found[32] = top(found[32], 7, head_width, dropout)
    return found


def _features(backbone: keras.Model, channels: int) -> keras.Model:
    """Returns a model of the flattened outputs; checks the input image and the outputs."""
    if not hasattr(backbone, "inputs"):
        raise ModelError(
            f"backbone={backbone.name!r}: has no layer graph. Use a functional model: "
            "keras.Model(image, features)."
        )
    shapes = [tuple(tensor.shape) for tensor in backbone.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ModelError(
            f"backbone={backbone.name!r}: must take one image [b, h, w, c], found inputs {shapes}. "
            "Use a model with one image input."
        )
    if shapes[0][-1] != channels:
        raise ModelError(
            f"backbone={backbone.name!r}: takes images with {shapes[0][-1]} channels, but "
            f"input_shape has {channels}. Use input_shape=(None, None, {shapes[0][-1]})."
        )
    if shapes[0][1:3] != (None, None):
        raise ModelError(
            f"backbone={backbone.name!r}: must take images of any size, found {shapes[0][1]} x "
            f"{shapes[0][2]} pixels. Build it with input_shape=(None, None, channels)."
        )
    outputs = getattr(backbone, "pyramid_outputs", None) or backbone.output
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    flat = keras.tree.flatten(outputs)
    for tensor in flat:
        if len(tensor.shape) != 4:
            raise ModelError(
                f"backbone={backbone.name!r}: the output {tensor.name!r} must be a feature map "
                f"[b, h, w, c], found {tuple(tensor.shape)}. Leave out pooling and the "
                "classifier's top."
            )
    return keras.Model(backbone.inputs[0], flat)


def _by_stride(features: keras.Model) -> dict[int, keras.KerasTensor]:
    """Returns the maps by stride, found with an image of `PROBE_SIZE` x `PROBE_SIZE` pixels."""
    channels = features.inputs[0].shape[-1]
    shapes = features.compute_output_shape((1, PROBE_SIZE, PROBE_SIZE, channels))
    maps: dict[int, keras.KerasTensor] = {}
    for tensor, (_, height, width, _) in zip(features.outputs, shapes, strict=True):
        stride, rest = divmod(PROBE_SIZE, height)
        if rest or height != width:
            raise ModelError(
                f"backbone: the output {tensor.name!r} must have an integer stride, found "
                f"{height} x {width} for an image of {PROBE_SIZE} x {PROBE_SIZE}. Use "
                "padding='same' in its layers."
            )
        if stride in maps:
            raise ModelError(
                f"backbone: the outputs {maps[stride].name!r} and {tensor.name!r} both have stride "
                f"{stride}. Output one map per stride: the last."
            )
        maps[stride] = tensor
    if 32 not in maps:
        found = ", ".join(map(str, sorted(maps)))
        raise ModelError(
            f"backbone: must have an output of stride 32, found strides {found}. Add that output."
        )
    return maps
