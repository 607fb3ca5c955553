"""What a `tf.function` of a model takes and gives: images of any size, class ids."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf


def input_signature(
    model: keras.Model, kinds: Iterable[str] | None = None
) -> tf.TensorSpec | list[tf.TensorSpec] | dict[str, tf.TensorSpec]:
    """What a `tf.function` of the model takes: images of any number and size.

    Args:
        model: a Keras model.
        kinds: dtypes of its inputs; by default uint8 where there are three channels, else float32.
    """
    kinds = iter(kinds or ())

    def spec(image: keras.KerasTensor) -> tf.TensorSpec:
        channels = image.shape[-1]
        kind = next(kinds, "uint8" if channels == 3 else "float32")
        return tf.TensorSpec((None, None, None, channels), kind, name=image.name)

    return keras.tree.map_structure(spec, model.input)


def as_input(
    model: keras.Model, images: Iterable[tf.Tensor | np.ndarray]
) -> tf.Tensor | list[tf.Tensor] | dict[str, tf.Tensor]:
    """A flat list of images in the structure that the model takes, as `input_signature` flattens.

    Args:
        model: a Keras model.
        images: one batch `[b, h, w, c]` for each of its inputs.
    """
    return keras.tree.pack_sequence_as(model.input, list(images))


def class_ids(logits: tf.Tensor | np.ndarray) -> tf.Tensor:
    """The class of the highest logit or probability: `[..., classes]` -> `[...]`.

    Class ids are uint8, or uint16 above 255 classes.
    """
    kind = tf.uint8 if logits.shape[-1] <= 255 else tf.uint16
    return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), kind)
