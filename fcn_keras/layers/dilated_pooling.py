"""Dilated pooling, for strides refined after training (section 3.2)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from fcn_keras.arguments import whole
from fcn_keras.errors import ModelError


@keras.saving.register_keras_serializable(package="fcn_keras")
class DilatedPooling2D(keras.layers.Layer):
    """Max or average pooling over cells `dilation_rate` apart, which Keras does not offer.

    Both ignore the padding, so every window must contain at least one cell of the map.
    """

    def __init__(
        self,
        pool_size: int | Sequence[int],
        *,
        strides: int | Sequence[int] = 1,
        padding: Sequence[Sequence[int]] = ((0, 0), (0, 0)),
        dilation_rate: int | Sequence[int] = 1,
        average: bool = False,
        **kwargs: Any,
    ):
        """Creates the layer; sizes are one number or (rows, columns).

        Args:
            pool_size: Number of cells in a window.
            strides: Cells from one window to the next.
            padding: ((top, bottom), (left, right)), as in `ZeroPadding2D`.
            dilation_rate: Distance between the cells of a window.
            average: Average pooling instead of max pooling.
            **kwargs: Arguments of `keras.layers.Layer`.

        Raises:
            ModelError: A size is not an integer of at least 1, or a pair of them.
        """
        super().__init__(**kwargs)
        self.pool_size = size_pair("pool_size", pool_size)
        self.strides = size_pair("strides", strides)
        self.dilation_rate = size_pair("dilation_rate", dilation_rate)
        self.padding = tuple(tuple(pads) for pads in padding)
        self.average = average

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`[b, h, w, c]`, any type -> `[b, rows, columns, c]` in the layer's precision."""
        x = ops.cast(x, self.compute_dtype)  # Integers have no lowest value, and sums overflow.
        if not self.average:
            lowest = np.array(-np.inf, "float32")
            return self._windows(self._padded(x, lowest), ops.maximum)
        sums = self._windows(self._padded(x, 0), ops.add)
        if not any(sum(self.padding, ())):
            return sums / float(np.prod(self.pool_size))
        return sums / self._windows(self._padded(ops.ones_like(x[:1, ..., :1]), 0), ops.add)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of valid windows over the padded map."""
        sizes = [
            size and (size + sum(pads) - (window - 1) * rate - 1) // stride + 1
            for size, pads, window, rate, stride in zip(
                shape[1:3],
                self.padding,
                self.pool_size,
                self.dilation_rate,
                self.strides,
                strict=True,
            )
        ]
        return (shape[0], *sizes, shape[3])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "average": self.average,
        }

    def _padded(self, x: tf.Tensor, value: float | np.ndarray) -> tf.Tensor:
        pads = [(0, 0), *self.padding, (0, 0)]
        return ops.pad(x, pads, constant_values=value) if any(sum(self.padding, ())) else x

    def _windows(
        self, x: tf.Tensor, combine: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    ) -> tf.Tensor:
        """Combines the cells of each window, first along columns, then along rows."""
        for axis in (2, 1):
            window, stride = self.pool_size[axis - 1], self.strides[axis - 1]
            rate = self.dilation_rate[axis - 1]
            # Number of positions where a window can start.
            starts = ops.shape(x)[axis] - (window - 1) * rate
            before = (slice(None),) * axis
            parts = [
                x[(*before, slice(i * rate, i * rate + starts, stride))] for i in range(window)
            ]
            x = functools.reduce(combine, parts)
        return x


def size_pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Returns one number or (rows, columns) as a pair.

    Raises:
        ModelError: It is neither, or a number is below 1.
    """
    pair = value if isinstance(value, list | tuple) else (value, value)
    sizes = [size for size in map(whole, pair) if size is not None and size >= 1]
    if len(pair) != 2 or len(sizes) != 2:
        raise ModelError(
            f"{name}={value!r}: must be an integer of at least 1, or a pair (rows, columns)."
        )
    return sizes[0], sizes[1]
