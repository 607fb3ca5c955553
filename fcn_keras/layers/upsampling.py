"""Bilinear upsampling of scores, the paper's transposed convolution (section 3.3)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="fcn_keras")
class BilinearUpsampling(keras.layers.Layer):
    """Upsamples scores by a transposed convolution with a bilinear kernel (section 3.3).

    With `fade=False` each cell becomes `factor x factor` pixels, with half-pixel centres, and edge
    cells are repeated outside the map. With `fade=True` the map is zero outside, so scores fade to
    zero at the edges and the output includes the kernel's overhang, as in the reference
    implementation.

    With `learn=False` the layer has no weights. If the kernel size is twice the factor, it then
    runs as a resize, which is 10 times faster. With `learn=True` the kernel is trained and starts
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
            ValueError: Without `fade`, the factor is odd or the kernel size not twice the factor.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        self.factor, self.learn, self.fade = factor, learn, fade
        self.kernel_size = kernel_size or 2 * factor
        if not fade and (factor % 2 or self.kernel_size != 2 * factor):
            raise ValueError(
                f"factor={factor}, kernel_size={kernel_size}: without fade, the factor must be "
                "even and the kernel size twice the factor. Use fade=True for other sizes."
            )

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
        half = self.factor // 2
        if self.learn or self.kernel_size != 2 * self.factor:
            if not self.fade:
                x = ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="symmetric")
            size, channels = self.kernel_size, x.shape[-1]
            shape = (size, size, channels, channels)
            kernel = self.kernel if self.learn else Bilinear()(shape, "float32")
            x = ops.conv_transpose(x, kernel, strides=self.factor, padding="valid")
            edge = 0 if self.fade else self.factor + half
        else:
            if self.fade:
                x = ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
            # Unlike keras.ops.image.resize, tf.image.resize supports unknown sizes in a graph.
            x = tf.image.resize(x, tf.shape(x)[1:3] * self.factor, "bilinear")
            edge = half if self.fade else 0
        return x[:, edge:-edge, edge:-edge] if edge else x

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
