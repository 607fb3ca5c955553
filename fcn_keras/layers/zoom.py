"""Layers of models that enlarge their image, which makes strides finer in image pixels.

At zoom 1.5 a cell of stride 8 covers 5.3 image pixels, the receptive field shrinks by the same
factor, and time and memory grow by 2.25. Both layers are bilinear, compute in float32 and have no
weights, so models with different zooms can share weights.
"""

from typing import Any

import keras
import tensorflow as tf

from fcn_keras.arguments import number
from fcn_keras.errors import ModelError


@keras.saving.register_keras_serializable(package="fcn_keras")
class Zoom(keras.layers.Layer):
    """Resizes images by a factor; sizes are rounded."""

    def __init__(self, factor: float, **kwargs: Any):
        """Creates the layer, in float32 under any policy: bfloat16 would round the image.

        Raises:
            ModelError: The factor is not a number above 0.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        scale = number(factor)
        if scale is None or scale <= 0:
            raise ModelError(f"factor={factor!r}: must be a number above 0.")
        self.factor = scale

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> float32 `[b, factor * h, factor * w, c]`."""
        image = tf.cast(image, self.compute_dtype)  # An unchanged size would keep the type.
        size = tf.round(self.factor * tf.cast(tf.shape(image)[1:3], "float32"))
        return tf.image.resize(image, tf.maximum(tf.cast(size, "int32"), 1))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Leaves height and width unknown, since the device rounds them."""
        return (shape[0], None, None, shape[3])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="fcn_keras")
class ResizeLike(keras.layers.Layer):
    """Resizes a map to the height and width of another."""

    def __init__(self, **kwargs: Any):
        """Creates the layer, in float32 under any policy, since it resizes logits."""
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, x: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
        """`x` `[b, H, W, c]`, `reference` `[b, h, w, *]` -> `[b, h, w, c]`."""
        return tf.image.resize(tf.cast(x, self.compute_dtype), tf.shape(reference)[1:3])

    def compute_output_shape(
        self, x_shape: tuple[int | None, ...], reference_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Takes height and width from the reference and the channels from `x`."""
        return (x_shape[0], *reference_shape[1:3], x_shape[3])
