"""The function that every format is converted from: images -> mask, scaling and argmax inside."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.layers.alignment import PadToMultiple
from fcn_keras.layers.caffe import CeilMaxPooling2D
from fcn_keras.prediction.frozen import logits_with, named_weights
from fcn_keras.prediction.signature import class_ids

LARGE = 1 << 13  # Bytes of a weight, above which converters are not given it.


def prepared(model: keras.Model) -> keras.Model:
    """The model with maps that all have a known number of channels.

    TensorFlow forgets the channels behind a padding whose size depends on the image, and LiteRT
    then has no convolution. OpenVINO 2026.4 merges a constant padding with a convolution's own one,
    and gets the sum wrong. So a reshape that changes nothing follows each of them.
    """

    def copied(layer: keras.Layer) -> keras.Layer:
        kind = type(layer)
        if isinstance(layer, PadToMultiple | CeilMaxPooling2D | keras.layers.ZeroPadding2D):
            kind = type(kind.__name__, (_Reshaped, kind), {})
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=copied, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def endpoint_of(
    model: keras.Model, with_logits: bool, large: float = math.inf
) -> tuple[tf.types.experimental.PolymorphicFunction, dict[str, np.ndarray]]:
    """A function of one image batch: its named outputs are the file's.

    Weights are constants in it, but for those of more than `large` bytes: it takes these too, and
    they are put in when it is converted. Converters copy constants so often that VGG16 takes 20 GB.

    Returns:
        A `tf.function`, and the large weights: arrays by the name of the input.
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


class _Reshaped:
    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = super().call(x)  # type: ignore[misc]  # Of the layer it is mixed into.
        return tf.reshape(y, (*tf.unstack(tf.shape(y)[:3]), x.shape[-1]))
