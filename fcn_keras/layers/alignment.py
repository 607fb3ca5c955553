"""Padding and cropping that align the logits with the image's pixels.

Feature maps are `[b, h, w, c]` (channels last), of any height and width.
"""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="fcn_keras")
class PadToMultiple(keras.layers.Layer):
    """Pads height and width with zeros to the next multiple of `multiple`, half on each side.

    An odd pixel goes to the bottom or right. After mean subtraction, zero is the mean colour.
    """

    def __init__(self, multiple: int, **kwargs: Any):
        """Creates the layer.

        Args:
            multiple: Height and width are padded to multiples of this, in pixels.
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> `[b, H, W, c]`."""
        pads = [_split(-size % self.multiple) for size in tf.unstack(tf.shape(x)[1:3])]
        return tf.pad(x, [(0, 0), *pads, (0, 0)])

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Rounds known sizes up to the multiple."""
        up = [s and s + -s % self.multiple for s in shape[1:3]]
        return (shape[0], *up, shape[3])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "multiple": self.multiple}


def _split(total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return total // 2, total - total // 2


@keras.saving.register_keras_serializable(package="fcn_keras")
class CropLike(keras.layers.Layer):
    """Crops `x` to the height and width of a reference map."""

    def __init__(self, offset: int | None = None, **kwargs: Any):
        """Creates the layer, in float32 under any policy, since it crops scores and logits.

        Args:
            offset: Top and left of the crop; None undoes the padding of `PadToMultiple`.
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        self.offset = offset

    def call(self, x: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
        """`x` `[b, H, W, c]`, `reference` `[b, h, w, *]`, H >= h, W >= w -> `[b, h, w, c]`."""
        tall, wide = tf.unstack(tf.shape(x)[1:3])
        height, width = tf.unstack(tf.shape(reference)[1:3])
        top, left = (tall - height) // 2, (wide - width) // 2
        if self.offset is not None:
            top = left = self.offset
        return x[:, top : top + height, left : left + width]

    def compute_output_shape(
        self, x_shape: tuple[int | None, ...], reference_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Takes height and width from the reference and the channels from `x`."""
        return (x_shape[0], *reference_shape[1:3], x_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "offset": self.offset}
