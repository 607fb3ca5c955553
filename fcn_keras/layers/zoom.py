"""A net that looks at its image enlarged: its strides are finer by the zoom, in the image's pixels.

At zoom 1.5 the cells of stride 8 stand for 5.3 pixels of the image, and the receptive field shrinks
alike; time and memory grow by 2.25. Both layers are bilinear, compute in float32 and have no
weights, so that a net of one zoom takes the weights of another.
"""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="fcn_keras")
class Zoom(keras.layers.Layer):
    """Images enlarged, or made smaller, by a factor; sizes are rounded."""

    def __init__(self, factor: float, **kwargs: Any):
        """float32 whatever the policy: 8 bits of mantissa would round the image."""
        super().__init__(**{"dtype": "float32", **kwargs})
        self.factor = factor

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> float32 `[b, factor * h, factor * w, c]`."""
        size = tf.round(self.factor * tf.cast(tf.shape(image)[1:3], "float32"))
        return tf.image.resize(image, tf.maximum(tf.cast(size, "int32"), 1))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Height and width are left open: they are rounded as numbers of the device."""
        return (shape[0], None, None, shape[3])

    def get_config(self) -> dict[str, Any]:
        """The factor."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="fcn_keras")
class ResizeLike(keras.layers.Layer):
    """Brings a map to the height and width of another."""

    def __init__(self, **kwargs: Any):
        """float32 whatever the policy, since these are the logits."""
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, x: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
        """`x` `[b, H, W, c]`, `reference` `[b, h, w, *]` -> `[b, h, w, c]`."""
        return tf.image.resize(x, tf.shape(reference)[1:3])

    def compute_output_shape(
        self, x_shape: tuple[int | None, ...], reference_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Height and width of the reference, channels of `x`."""
        return (x_shape[0], *reference_shape[1:3], x_shape[3])
