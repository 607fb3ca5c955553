"""What Caffe computes and Keras does not: preprocessing, pooling, normalization, groups.

Feature maps are `[b, h, w, c]`, channels last, of any height and width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable(package="fcn_keras")
class CaffePreprocessing(keras.layers.Layer):
    """RGB 0..255 -> BGR minus a mean, as the Caffe models were trained."""

    def __init__(self, mean: Sequence[float] = CAFFE_MEAN_BGR, swap: bool = True, **kwargs: Any):
        """Always computes in float32: 8 bits of mantissa would round a float image.

        Args:
            mean: what is subtracted from the first three channels, in the order they come out.
            swap: RGB comes in and BGR comes out; otherwise the order is kept (HHA).
            **kwargs: as of any layer.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mean = tuple(float(value) for value in mean)
        self.swap = swap

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> `[b, h, w, c]`, colours about -124..151.

        Channels after the third stay as they are; with one or two channels, all do.
        """
        if image.shape[-1] < 3:
            return image
        colours = image[..., 2::-1] if self.swap else image[..., :3]
        colours = colours - np.array(self.mean, "float32")
        return ops.concatenate([colours, image[..., 3:]], -1) if image.shape[-1] > 3 else colours

    def get_config(self) -> dict[str, Any]:
        """The mean and the order of channels."""
        return {**super().get_config(), "mean": self.mean, "swap": self.swap}


@keras.saving.register_keras_serializable(package="fcn_keras")
class CeilMaxPooling2D(keras.layers.MaxPooling2D):
    """Max pooling that keeps the incomplete window at the end, as Caffe does: sizes round up.

    Where `padding="same"` of Keras lets windows hang over both edges (on odd sizes), this one
    starts them at the first pixel.
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = 2,
        strides: int | tuple[int, int] | None = None,
        incomplete: Literal["first", "last"] = "last",
        **kwargs: Any,
    ):
        """`incomplete="first"` puts the incomplete window, if there is one, at the start."""
        super().__init__(pool_size, strides, **kwargs)
        self.incomplete = incomplete

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> `[b, ceil((h - pool) / stride) + 1, ..., c]`."""
        pads = []
        for size, *window in zip(
            tf.unstack(tf.shape(x)[1:3]), self.pool_size, self.strides, strict=True
        ):
            cells = tf.maximum(*missing(size, *window))
            pads.append((0, cells) if self.incomplete == "last" else (cells, 0))
        return super().call(tf.pad(x, [(0, 0), *pads, (0, 0)], constant_values=x.dtype.min))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Rounds up."""
        windows = zip(shape[1:3], self.pool_size, self.strides, strict=True)
        padded = [size and size + max(missing(size, *window)) for size, *window in windows]
        return super().compute_output_shape((shape[0], *padded, shape[3]))

    def get_config(self) -> dict[str, Any]:
        """Those of max pooling, and the incomplete window's place."""
        return {**super().get_config(), "incomplete": self.incomplete}


@keras.saving.register_keras_serializable(package="fcn_keras")
class GroupedConv2D(keras.layers.Conv2D):
    """A convolution in few groups, done as one convolution for each.

    Keras compiles grouped convolutions with XLA, anew for each image size.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]`, `[k, k, c / groups, filters]` -> `[b, h, w, filters]`."""
        parts = zip(
            ops.split(inputs, self.groups, axis=-1),
            ops.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        convolve = super().convolution_op
        return ops.concatenate([convolve(x, k) for x, k in parts], axis=-1)


@keras.saving.register_keras_serializable(package="fcn_keras")
class LocalResponseNormalization(keras.layers.Layer):
    """Caffe's LRN across channels: `x / (1 + alpha / size * sum of size squares) ** beta`.

    The sum runs over the `size` channels around each one; TensorFlow's own operation has no
    division of `alpha`.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, **kwargs: Any):
        """`size` is odd; the defaults are those of CaffeNet and GoogLeNet."""
        super().__init__(**kwargs)
        self.size = size
        self.alpha = alpha
        self.beta = beta

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> `[b, h, w, c]`."""
        normalised = tf.nn.local_response_normalization(
            tf.cast(x, "float32"),  # TensorFlow has no other kernel on CPU and GPU alike.
            depth_radius=self.size // 2,
            alpha=self.alpha / self.size,
            beta=self.beta,
        )
        return tf.cast(normalised, x.dtype)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Size, alpha and beta."""
        return {
            **super().get_config(),
            "size": self.size,
            "alpha": self.alpha,
            "beta": self.beta,
        }


def missing(
    size: int | tf.Tensor, pool: int, stride: int
) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Two amounts whose larger one fills the last window: of a map smaller than it, or larger."""
    return pool - size, (pool - size) % stride
