"""A backbone of the user's own: a Keras model that gives features of strides 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.layers.alignment import PadToMultiple
from fcn_keras.models.backbones import top

TRIED = 256  # Pixels of the image that tells the strides.


def own_backbone(
    backbone: keras.Model,
    image: keras.KerasTensor,
    *,
    weights: str | None,
    head_width: int | None,
    dropout: float,
    **others: object,
) -> dict[int, keras.KerasTensor]:
    """The features of a model, which is used as it is, with its own preprocessing and weights.

    Args:
        backbone: image `[b, h, w, c]` -> features: a list, a dict by stride, or a KerasHub
            backbone, whose `pyramid_outputs` are taken. Features of other strides are left out.
        image: `[b, h, w, c]`; padded with zeros to a multiple of 32.
        weights: "imagenet" or None; either way the model keeps the weights that it has.
        head_width: channels of new layers fc6 and fc7 on the map of stride 32; None for none.
        dropout: share of the values in front of the scores of stride 32 that are dropped in
            training.
        **others: refused; what the paper's classifiers take beyond these.

    Returns:
        `{8: , 16: , 32: }`, each `[b, H/s, W/s, c]`, with the strides that there are.

    Raises:
        ModelError: it is no functional model of one such image, its outputs are no maps, two have
            the same stride, or an option is not for a backbone of one's own.
    """
    for name, value in others.items():
        raise ModelError(
            f"{name}={value!r}: a backbone of your own has no such choice. Leave it out."
        )
    if weights not in ("imagenet", None):
        raise ModelError(
            f"weights={str(weights)!r}: a backbone of your own keeps the weights that it has. Load "
            "them into it (load_weights), and leave weights out."
        )
    maps = _by_stride(_features(backbone, image.shape[-1]))
    strides = [stride for stride in (8, 16, 32) if stride in maps]
    # A list: Keras' files would turn the strides into texts, in another order.
    net = keras.Model(backbone.inputs[0], [maps[s] for s in strides], name=backbone.name)
    found = keras.tree.flatten(net(PadToMultiple(32, name="pad")(image)))
    found = dict(zip(strides, found, strict=True))
    if head_width is None:
        found[32] = layers.Dropout(dropout, name="drop")(found[32])
    else:
        found[32] = top(found[32], 7, head_width, dropout)
    return found


def _features(backbone: keras.Model, channels: int) -> keras.Model:
    """The maps that a model gives, flat; checks that it takes one image of so many channels."""
    if not hasattr(backbone, "inputs"):
        raise ModelError(
            f"backbone={backbone.name!r}: has no graph of layers. Give a functional keras.Model, "
            "keras.Model(image, features)."
        )
    shapes = [tuple(tensor.shape) for tensor in backbone.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ModelError(
            f"backbone={backbone.name!r}: takes {shapes}, must take one image [b, h, w, c]."
        )
    if shapes[0][-1] != channels:
        raise ModelError(
            f"backbone={backbone.name!r}: takes images of {shapes[0][-1]} channels, the net's has "
            f"{channels}. Give input_shape=(None, None, {shapes[0][-1]})."
        )
    if shapes[0][1:3] != (None, None):
        raise ModelError(
            f"backbone={backbone.name!r}: takes images of {shapes[0][1]} x {shapes[0][2]} pixels "
            "only. Build it for any size: input_shape=(None, None, channels)."
        )
    outputs = getattr(backbone, "pyramid_outputs", None) or backbone.output
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    flat = keras.tree.flatten(outputs)
    for tensor in flat:
        if len(tensor.shape) != 4:
            raise ModelError(
                f"backbone={backbone.name!r}: its output {tensor.name!r} is {tuple(tensor.shape)}, "
                "not a map of features [b, h, w, c]. Leave out pooling and the classifier's top."
            )
    return keras.Model(backbone.inputs[0], flat)


def _by_stride(features: keras.Model) -> dict[int, keras.KerasTensor]:
    """The maps by the strides they have, which an image of `TRIED` pixels tells."""
    channels = features.inputs[0].shape[-1]
    shapes = features.compute_output_shape((1, TRIED, TRIED, channels))
    maps: dict[int, keras.KerasTensor] = {}
    for tensor, (_, height, width, _) in zip(features.outputs, shapes, strict=True):
        stride, rest = divmod(TRIED, height)
        if rest or height != width:
            raise ModelError(
                f"backbone: its output {tensor.name!r} is {height} x {width} for an image of "
                f"{TRIED} x {TRIED}: no whole stride. Use padding='same' in its layers."
            )
        if stride in maps:
            raise ModelError(
                f"backbone: its outputs {maps[stride].name!r} and {tensor.name!r} both have stride "
                f"{stride}. Give one map for each stride: the last."
            )
        maps[stride] = tensor
    if 32 not in maps:
        found = ", ".join(map(str, sorted(maps)))
        raise ModelError(f"backbone: has features of strides {found}, must have one of stride 32.")
    return maps
