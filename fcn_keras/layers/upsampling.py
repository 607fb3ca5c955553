"""Bilinear upsampling of scores, the paper's transposed convolution (section 3.3)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from fcn_keras.arguments import whole
from fcn_keras.errors import ModelError

_AROUND = ((0, 0), (1, 1), (1, 1), (0, 0))  # One cell around a map.


@keras.saving.register_keras_serializable(package="fcn_keras")
class BilinearUpsampling(keras.layers.Layer):
    """Upsamples scores by a transposed convolution with a bilinear kernel (section 3.3).

    With `fade=False` each cell becomes `factor x factor` pixels, with half-pixel centres, and edge
    cells are repeated outside the map. With `fade=True` the map is zero outside, so scores fade to
    zero at the edges and the output includes the kernel's overhang, as in the reference
    implementation.

    With `learn=False` the layer has no weights and upsamples each channel on its own. If the kernel
    size is twice an even factor, or one less than twice the factor, it runs as a resize, which is
    10 times faster. With `learn=True` the kernel connects all channels, is trained and starts
    bilinear.
    """

    def __init__(
        self,
        factor: int,
        learn: bool = False,
        fade: bool = False,
        kernel_size: int | None = None,
        **kwargs: Any,
    ):
        """Creates the layer, in float32 under any policy, since it computes logits.

        Args:
            factor: Stride of the transposed convolution; even unless `fade`.
            learn: Train the kernel.
            fade: Treat the map as zero outside instead of repeating its edge cells.
            kernel_size: Kernel size, only with `fade`; None for twice the factor.
            **kwargs: Arguments of `keras.layers.Layer`.

        Raises:
            ModelError: The factor is not a positive integer, or the kernel smaller than the factor;
                without `fade`, the factor is odd or the kernel size not twice the factor.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        self.input_spec = keras.InputSpec(ndim=4)
        stride = whole(factor)
        if stride is None or stride < 1:
            raise ModelError(f"factor={factor!r}: must be an integer of at least 1.")
        size = 2 * stride if kernel_size is None else whole(kernel_size)
        if size is None or size < stride:
            raise ModelError(
                f"kernel_size={kernel_size!r}: must be an integer of at least the factor, {stride}."
            )
        if not fade and (stride % 2 or size != 2 * stride):
            raise ModelError(
                f"factor={factor}, kernel_size={kernel_size}: without fade, the factor must be "
                "even and the kernel size twice the factor. Use fade=True for other sizes."
            )
        self.factor, self.kernel_size = stride, size
        self.learn, self.fade = bool(learn), bool(fade)

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Creates the kernel `[k, k, c, c]` if it is learned: bilinear on the channel diagonal."""
        if self.learn:
            self.kernel = self.add_weight(
                shape=(self.kernel_size, self.kernel_size, shape[-1], shape[-1]),
                initializer=Bilinear(),
                name="kernel",
            )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> float32 `[b, factor * h, factor * w, c]`.

        With `fade` the output is `[b, factor * (h - 1) + kernel_size, ..., c]`.
        """
        x = tf.cast(x, self.compute_dtype)
        if self.learn:
            return self._transposed(x)
        if self.kernel_size == 2 * self.factor and self.factor % 2 == 0:
            return self._resized(x)
        if self.kernel_size == 2 * self.factor - 1:
            return self._resized_between_cells(x)
        return self._transposed_by_channel(x)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Multiplies height and width by the factor; `fade` adds the kernel's overhang."""
        more = self.kernel_size - self.factor if self.fade else 0
        return (shape[0], *[s and s * self.factor + more for s in shape[1:3]], shape[3])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "factor": self.factor,
            "learn": self.learn,
            "fade": self.fade,
            "kernel_size": self.kernel_size,
        }

    def _transposed(self, x: tf.Tensor) -> tf.Tensor:
        """Applies the learned kernel."""
        if self.fade:
            return ops.conv_transpose(x, self.kernel, strides=self.factor, padding="valid")
        x = ops.pad(x, _AROUND, mode="symmetric")
        x = ops.conv_transpose(x, self.kernel, strides=self.factor, padding="valid")
        edge = self.factor + self.factor // 2
        return x[:, edge:-edge, edge:-edge]

    def _resized(self, x: tf.Tensor) -> tf.Tensor:
        """Interpolates at the centres of pixels, as a kernel of twice an even factor does."""
        if self.fade:
            x = ops.pad(x, _AROUND)
        # Unlike keras.ops.image.resize, tf.image.resize supports unknown sizes in a graph.
        x = tf.image.resize(x, tf.shape(x)[1:3] * self.factor, "bilinear")
        edge = self.factor // 2
        return x[:, edge:-edge, edge:-edge] if self.fade else x

    def _resized_between_cells(self, x: tf.Tensor) -> tf.Tensor:
        """Interpolates with cells on pixels, as an odd kernel of twice the factor less one does."""
        size = (tf.shape(x)[1:3] + 1) * self.factor + 1
        x = tf.raw_ops.ResizeBilinear(images=ops.pad(x, _AROUND), size=size, align_corners=True)
        return x[:, 1:-1, 1:-1]  # The padding's own cells.

    def _transposed_by_channel(self, x: tf.Tensor) -> tf.Tensor:
        """Applies the filter to one channel at a time, as images of a batch."""
        (batch, height, width), channels = tf.unstack(tf.shape(x)[:3]), x.shape[-1]
        maps = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (batch * channels, height, width, 1))
        kernel = tf.constant(bilinear_filter(self.kernel_size)[..., None, None], x.dtype)
        maps = ops.conv_transpose(maps, kernel, strides=self.factor, padding="valid")
        rows, columns = tf.unstack(tf.shape(maps)[1:3])
        return tf.transpose(tf.reshape(maps, (batch, channels, rows, columns)), (0, 2, 3, 1))


@keras.saving.register_keras_serializable(package="fcn_keras")
class Bilinear(keras.initializers.Initializer):
    """Initialises a kernel with bilinear filters on the channel diagonal (section 3.3)."""

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        """Returns a kernel `[k, k, c, c]`."""
        kernel = np.einsum("ij,ab->ijab", bilinear_filter(shape[0]), np.eye(shape[2], shape[3]))
        return ops.convert_to_tensor(kernel, dtype=dtype)


def bilinear_filter(size: int) -> np.ndarray:
    """Returns the reference's bilinear filter `[size, size]`.

    It is a tent of half width `(size + 1) // 2`.
    """
    half = (size + 1) // 2
    centre = half - 1 if size % 2 else half - 0.5
    tent = 1 - np.abs(np.arange(size) - centre) / half
    return np.outer(tent, tent)
