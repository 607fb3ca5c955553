"""Caffe's layers that Keras does not have: preprocessing, pooling, normalization, groups.

Feature maps are `[b, h, w, c]` (channels last), of any height and width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from fcn_keras.arguments import number, numbers_of, whole
from fcn_keras.errors import ModelError
from fcn_keras.layers.dilated_pooling import size_pair

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable(package="fcn_keras")
class CaffePreprocessing(keras.layers.Layer):
    """Converts RGB (0..255) to BGR minus a mean, the input of Caffe models."""

    def __init__(self, mean: Sequence[float] = CAFFE_MEAN_BGR, swap: bool = True, **kwargs: Any):
        """Creates the layer, in float32 under any policy: bfloat16 would round the image.

        Args:
            mean: Subtracted from the first three channels, in output order.
            swap: Convert RGB to BGR; False keeps the channel order (HHA).
            **kwargs: Arguments of `keras.layers.Layer`.

        Raises:
            ModelError: The mean is not three numbers.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        colours = numbers_of(mean, 3)
        if colours is None:
            raise ModelError(
                f"mean={mean!r}: must be three numbers, such as fcn_keras.MEANS['voc']."
            )
        self.mean = colours
        self.swap = bool(swap)

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]`, any type -> float32 `[b, h, w, c]`, colours about -124..151.

        The values of channels after the third are unchanged, and so are those of images with one
        or two channels.
        """
        image = tf.cast(image, self.compute_dtype)
        if image.shape[-1] < 3:
            return image
        colours = image[..., 2::-1] if self.swap else image[..., :3]
        colours = colours - np.array(self.mean, "float32")
        return ops.concatenate([colours, image[..., 3:]], -1) if image.shape[-1] > 3 else colours

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "mean": self.mean, "swap": self.swap}


@keras.saving.register_keras_serializable(package="fcn_keras")
class CeilMaxPooling2D(keras.layers.MaxPooling2D):
    """Max pooling that keeps an incomplete last window, as Caffe does, so sizes round up.

    Windows start at the first pixel. With Keras' `padding="same"`, windows on odd sizes extend
    beyond both edges.
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = 2,
        strides: int | tuple[int, int] | None = None,
        incomplete: Literal["first", "last"] = "last",
        **kwargs: Any,
    ):
        """Creates the layer.

        Args:
            pool_size: Window size: one number or (rows, columns).
            strides: Strides: one number or (rows, columns); None for the window size.
            incomplete: Position of the incomplete window, if there is one: "first" or "last".
            **kwargs: Arguments of `keras.layers.MaxPooling2D`.

        Raises:
            ModelError: A size is not an integer of at least 1, or a pair of them, `incomplete` is
                unknown, or another padding or order of axes is given.
        """
        window = size_pair("pool_size", pool_size)
        steps = window if strides is None else size_pair("strides", strides)
        super().__init__(window, steps, **kwargs)
        if incomplete not in ("first", "last"):
            raise ModelError(f"incomplete={incomplete!r}: must be 'first' or 'last'.")
        if (self.padding, self.data_format) != ("valid", "channels_last"):
            raise ModelError(
                f"padding={self.padding!r}, data_format={self.data_format!r}: must be 'valid' and "
                "'channels_last'. The layer itself pads for the incomplete window."
            )
        self.incomplete = incomplete

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> `[b, ceil((h - pool) / stride) + 1, ..., c]`."""
        pads = []
        for size, *window in zip(
            tf.unstack(tf.shape(x)[1:3]), self.pool_size, self.strides, strict=True
        ):
            cells = tf.maximum(*missing_cells(size, *window))
            pads.append((0, cells) if self.incomplete == "last" else (cells, 0))
        return super().call(tf.pad(x, [(0, 0), *pads, (0, 0)], constant_values=x.dtype.min))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Rounds sizes up."""
        windows = zip(shape[1:3], self.pool_size, self.strides, strict=True)
        padded = [size and size + max(missing_cells(size, *window)) for size, *window in windows]
        return super().compute_output_shape((shape[0], *padded, shape[3]))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "incomplete": self.incomplete}


@keras.saving.register_keras_serializable(package="fcn_keras")
class GroupedConv2D(keras.layers.Conv2D):
    """A grouped convolution that runs one convolution per group.

    Keras compiles grouped convolutions with XLA, again for each image size.
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

    The sum runs over the `size` channels around each channel. TensorFlow's operation does not
    divide `alpha` by `size`.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, **kwargs: Any):
        """Creates the layer; the defaults are those of CaffeNet and GoogLeNet.

        Args:
            size: Number of channels in a window; odd.
            alpha: Scale of the sum of squares.
            beta: Exponent.
            **kwargs: Arguments of `keras.layers.Layer`.

        Raises:
            ModelError: The size is not odd and positive, or another argument is not a number.
        """
        super().__init__(**kwargs)
        channels, scale, exponent = whole(size), number(alpha), number(beta)
        if channels is None or channels < 1 or channels % 2 == 0:
            raise ModelError(
                f"size={size!r}: must be an odd integer of at least 1, as in Caffe: the window has "
                "as many channels before as after each channel."
            )
        if scale is None or exponent is None:
            raise ModelError(f"alpha={alpha!r}, beta={beta!r}: must be numbers.")
        self.size, self.alpha, self.beta = channels, scale, exponent

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]`, any type -> `[b, h, w, c]` in the layer's precision."""
        normalised = tf.nn.local_response_normalization(
            tf.cast(x, "float32"),  # The only kernel that CPU and GPU share.
            depth_radius=self.size // 2,
            alpha=self.alpha / self.size,
            beta=self.beta,
        )
        return tf.cast(normalised, self.compute_dtype)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the input shape."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "size": self.size,
            "alpha": self.alpha,
            "beta": self.beta,
        }


def missing_cells(
    size: int | tf.Tensor, pool: int, stride: int
) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Returns two numbers whose maximum is how many cells complete the last window.

    The first applies to a map smaller than the window, the second to a larger one.
    """
    return pool - size, (pool - size) % stride
