"""Caffe's layers in float64 NumPy, on maps `[h, w, c]`, with the weights of a Keras model."""

import numpy as np


class Caffe:
    def __init__(self, model=None):
        self.weights = {layer.name: layer.get_weights() for layer in model.layers} if model else {}

    def conv(self, x, name, pad=0, stride=1, groups=1):
        kernel, bias = (w.astype("float64") for w in self.weights[name])
        x = np.pad(x, [(pad, pad), (pad, pad), (0, 0)])
        rows, columns = ((x.shape[i] - kernel.shape[i]) // stride + 1 for i in (0, 1))
        parts = zip(np.split(x, groups, 2), np.split(kernel, groups, 3), strict=True)
        out = []
        for part, filters in parts:
            y = 0
            for i, j in np.ndindex(filters.shape[:2]):
                ends = i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1
                y = y + part[i : ends[0] : stride, j : ends[1] : stride] @ filters[i, j]
            out.append(y)
        return np.concatenate(out, -1) + bias

    def relu_conv(self, *args, **kwargs):
        return np.maximum(self.conv(*args, **kwargs), 0)

    def dense(self, x, name):
        kernel, bias = self.weights[name]
        return x.reshape(-1) @ kernel.astype(float) + bias

    @staticmethod
    def pool(x, size=3, stride=2, pad=0):
        """Max pooling; the size is rounded up."""
        count = [-(-(n + 2 * pad - size) // stride) + 1 for n in x.shape[:2]]
        x = np.pad(x, [(pad, pad + size), (pad, pad + size), (0, 0)], constant_values=-np.inf)
        windows = [
            x[i : i + count[0] * stride : stride, j : j + count[1] * stride : stride]
            for i, j in np.ndindex(size, size)
        ]
        return np.maximum.reduce([w[: count[0], : count[1]] for w in windows])

    @staticmethod
    def lrn(x, size=5, alpha=1e-4, beta=0.75):
        squares = np.pad(x**2, [(0, 0), (0, 0), (size // 2, size // 2)])
        sums = sum(squares[..., i : i + x.shape[-1]] for i in range(size))
        return x / (1 + alpha / size * sums) ** beta

    @staticmethod
    def deconv(x, size, stride):
        """Deconvolution with the bilinear filter of that size, channel by channel."""
        half = (size + 1) // 2
        tent = 1 - np.abs(np.arange(size) - (half - 1 if size % 2 else half - 0.5)) / half
        rows, columns = ((n - 1) * stride + size for n in x.shape[:2])
        out = np.zeros((rows, columns, x.shape[2]))
        for i, j in np.ndindex(x.shape[:2]):
            window = out[i * stride : i * stride + size, j * stride : j * stride + size]
            window += np.outer(tent, tent)[..., None] * x[i, j]
        return out

    @staticmethod
    def crop(x, like, offset):
        rows, columns = like.shape[:2]
        window = x[offset : offset + rows, offset : offset + columns]
        assert window.shape[:2] == (rows, columns)
        return window
