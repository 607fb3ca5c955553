"""A model's `tf.function` with its inputs and outputs: images of any size, class ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def input_signature(
    model: keras.Model, kinds: Iterable[str] | None = None
) -> tf.TensorSpec | list[tf.TensorSpec] | dict[str, tf.TensorSpec]:
    """Returns the input signature of a model's `tf.function`: images of any number and size.

    Args:
        model: A Keras model.
        kinds: Dtypes of its inputs; by default uint8 for three channels, else float32.
    """
    kinds = iter(kinds or ())

    def spec(image: keras.KerasTensor) -> tf.TensorSpec:
        channels = image.shape[-1]
        kind = next(kinds, "uint8" if channels == 3 else "float32")
        return tf.TensorSpec((None, None, None, channels), kind, name=image.name)

    return keras.tree.map_structure(spec, model.input)


def traced(
    model: keras.Model, kinds: tuple[str, ...], finish: Callable[[tf.Tensor], tf.Tensor]
) -> tf.types.experimental.PolymorphicFunction:
    """Returns a traced function that applies `finish` to the logits of an image batch of any size.

    It is faster than `model.predict`, and is traced once for all sizes. The model holds it, hidden
    from Keras's tracking of attributes, so that both are freed together.

    Args:
        model: A functional Keras model.
        kinds: The dtype of each image, uint8 or float32.
        finish: A function of one map of logits `[b, h, w, classes]`.
    """
    functions: dict[Any, Any] = vars(model).setdefault("_fcn_keras_traced", {})
    if (kinds, finish) not in functions:

        @tf.function(input_signature=[input_signature(model, kinds)])
        def traced(images: tf.Tensor | dict[str, tf.Tensor]) -> tf.Tensor | dict[str, tf.Tensor]:
            return keras.tree.map_structure(finish, model(images, training=False))

        functions[kinds, finish] = traced
    return functions[kinds, finish]


def as_input(
    model: keras.Model, images: Iterable[tf.Tensor | np.ndarray]
) -> tf.Tensor | list[tf.Tensor] | dict[str, tf.Tensor]:
    """Packs a flat list of images, in the order of `input_signature`, into the model's structure.

    Args:
        model: A Keras model.
        images: One batch `[b, h, w, c]` per input.
    """
    return keras.tree.pack_sequence_as(model.input, list(images))


def class_ids(logits: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Computes the class of the highest logit or probability: `[..., classes]` -> `[...]`.

    Class ids are uint8, or uint16 above 255 classes.
    """
    kind = tf.uint8 if logits.shape[-1] <= 255 else tf.uint16
    return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), kind)
