"""Bilinear upsampling of scores: the paper's transposed convolution (section 3.3)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="fcn_keras")
class BilinearUpsampling(keras.layers.Layer):
    """Upsamples scores: the transposed convolution with a bilinear kernel (section 3.3).

    With `fade=False` each cell becomes `factor x factor` pixels, with half-pixel centres, and the
    edge cells are repeated outside. With `fade=True` nothing is outside, so that scores fade to
    zero there and the map grows by the kernel's overhang: the reference implementation's layer.

    With `learn=False` the layer has no weights, and where the kernel's size is twice the factor it
    runs as a resize, which is 10 times faster; with `learn=True` the kernel is trained, starting
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
        """float32 whatever the policy, since these are the logits.

        Args:
            factor: stride of the transposed convolution; even unless `fade`.
            learn: train the kernel.
            fade: do not repeat the edge cells outside the map.
            kernel_size: only with `fade`; None for twice the factor.
            **kwargs: as of any layer.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        self.factor, self.learn, self.fade = factor, learn, fade
        self.kernel_size = kernel_size or 2 * factor
        if not fade and (factor % 2 or self.kernel_size != 2 * factor):
            raise ValueError(
                f"BilinearUpsampling: factor={factor}, kernel_size={kernel_size}: without fade "
                "the factor is even and the kernel twice the factor."
            )

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Adds the kernel `[k, k, c, c]`, bilinear on the channel diagonal, if it is learned."""
        if self.learn:
            self.kernel = self.add_weight(
                shape=(self.kernel_size, self.kernel_size, shape[-1], shape[-1]),
                initializer=Bilinear(),
                name="kernel",
            )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]` -> float32 `[b, factor * h, factor * w, c]`.

        With `fade`, `[b, factor * (h - 1) + kernel_size, ..., c]`.
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
            # keras.ops.image.resize cannot do unknown sizes in a graph; tf.image.resize can.
            x = tf.image.resize(x, tf.shape(x)[1:3] * self.factor, "bilinear")
            edge = half if self.fade else 0
        return x[:, edge:-edge, edge:-edge] if edge else x

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Height and width times the factor; with `fade`, plus the kernel's overhang."""
        more = self.kernel_size - self.factor if self.fade else 0
        return (shape[0], *[s and s * self.factor + more for s in shape[1:3]], shape[3])

    def get_config(self) -> dict[str, Any]:
        """All arguments."""
        return {
            **super().get_config(),
            "factor": self.factor,
            "learn": self.learn,
            "fade": self.fade,
            "kernel_size": self.kernel_size,
        }


@keras.saving.register_keras_serializable(package="fcn_keras")
class Bilinear(keras.initializers.Initializer):
    """The bilinear filter of any size on the channel diagonal, zero elsewhere (section 3.3)."""

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        """A kernel `[k, k, c, c]`."""
        kernel = np.einsum("ij,ab->ijab", bilinear_filter(shape[0]), np.eye(shape[2], shape[3]))
        return ops.convert_to_tensor(kernel, dtype=dtype)


def bilinear_filter(size: int) -> np.ndarray:
    """The reference's bilinear filter `[size, size]`: a tent of half width `(size + 1) // 2`."""
    half = (size + 1) // 2
    centre = half - 1 if size % 2 else half - 0.5
    tent = 1 - np.abs(np.arange(size) - centre) / half
    return np.outer(tent, tent)
