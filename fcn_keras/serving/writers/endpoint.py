"""The function that is converted to every format: images -> mask, with preprocessing and argmax."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.layers.alignment import PadToMultiple
from fcn_keras.layers.caffe import CeilMaxPooling2D
from fcn_keras.prediction.frozen import logits_with, named_weights
from fcn_keras.prediction.signature import class_ids

LARGE_WEIGHT = 1 << 13  # Bytes; converters do not get the values of larger weights.


def with_static_channels(model: keras.Model) -> keras.Model:
    """Copies a model so that all of its feature maps have a known number of channels.

    TensorFlow loses the number of channels behind a padding whose size depends on the image, and
    LiteRT then finds no convolution. OpenVINO 2026.4 merges a constant padding with the following
    convolution's own padding and gets the sum wrong. A reshape that changes nothing after each of
    these layers avoids both.
    """

    def copied(layer: keras.Layer) -> keras.Layer:
        kind = type(layer)
        if isinstance(layer, PadToMultiple | CeilMaxPooling2D | keras.layers.ZeroPadding2D):
            kind = type(kind.__name__, (_KeepChannels, kind), {})
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=copied, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def make_endpoint(
    model: keras.Model, with_logits: bool, large: float = math.inf
) -> tuple[tf.types.experimental.PolymorphicFunction, dict[str, np.ndarray]]:
    """Builds a function of one image batch, whose named outputs are those of the file.

    Weights of more than `large` bytes are inputs of the function, the others constants. The caller
    inserts the large ones after the conversion, because converters copy constants so often that
    VGG16 takes 20 GB.

    Returns:
        A `tf.function`, and the large weights: arrays by input name.
    """
    weights = dict(named_weights(model))
    kernels = {name: array for name, array in weights.items() if array.nbytes > large}
    specs = [tf.TensorSpec(array.shape, array.dtype, name) for name, array in kernels.items()]
    image_spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name="image")

    @tf.function(input_signature=[image_spec, *specs])
    def endpoint(image: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        by_name = dict(zip(kernels, given, strict=True))
        tensors = [
            by_name[name] if name in by_name else tf.constant(array)
            for name, array in weights.items()
        ]
        (logits,) = logits_with(model, tensors, [image])
        mask = {"mask": class_ids(logits)}
        return {**mask, "logits": logits} if with_logits else mask

    return endpoint, kernels


class _KeepChannels:
    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = super().call(x)  # type: ignore[misc]  # The layer's own method; this is a mixin.
        return tf.reshape(y, (*tf.unstack(tf.shape(y)[:3]), x.shape[-1]))
