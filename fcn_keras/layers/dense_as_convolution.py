"""Dense layers as convolutions (section 3.1): weights, and speed on CPUs."""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import keras
import numpy as np
import tensorflow as tf

_constant_weights = ContextVar("constant_weights", default=False)


@contextlib.contextmanager
def constant_weights() -> Iterator[None]:
    """Makes every `PatchConv2D` a plain convolution, for graphs whose weights are constants."""
    token = _constant_weights.set(True)
    try:
        yield
    finally:
        _constant_weights.reset(token)


@keras.saving.register_keras_serializable(package="fcn_keras")
class PatchConv2D(keras.layers.Conv2D):
    """A convolution that is fast on a CPU if its kernel is larger than its map: fc6, fc7.

    On a CPU, it multiplies the map's patches by the kernel in its stored layout. A plain
    convolution repacks the kernel for the forward pass and both gradients, which takes longer than
    the multiplication for the 103 million weights of fc6. With a GPU, and where weights are
    constants, which are repacked only once, this layer is a plain convolution.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> `[b, rows, columns, filters]`."""
        is_plain = _constant_weights.get() or tf.config.list_logical_devices("GPU")
        if is_plain or self.groups != 1:
            return super().call(inputs)
        patches = tf.image.extract_patches(
            # Not in bfloat16, because the gradient sums over all patches that contain a cell.
            tf.cast(inputs, self.variable_dtype),
            (1, *self.kernel_size, 1),
            (1, *self.strides, 1),
            (1, *self.dilation_rate, 1),
            self.padding.upper(),
        )
        rows = tf.reshape(tf.cast(patches, inputs.dtype), (-1, patches.shape[-1]))
        x = tf.matmul(rows, tf.reshape(self.kernel, (-1, self.filters)))
        x = tf.reshape(x, (*tf.unstack(tf.shape(patches)[:3]), self.filters))
        return self.activation(x + self.bias if self.use_bias else x)


def conv_weights(dense: keras.layers.Dense, kernel_shape: Sequence[int]) -> list[np.ndarray]:
    """Returns a Dense layer's weights in the shape of a convolution.

    `kernel_shape` is `[rows, columns, channels, units]`. `Flatten` runs over rows, then columns,
    then channels, so the kernel is only reshaped, not transposed.
    """
    kernel, *bias = dense.get_weights()
    return [kernel.reshape(kernel_shape), *bias]
