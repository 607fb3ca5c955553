"""The custom Keras objects: input scaling, padding, bilinear upsampling, cropping, Caffe's layers.

Feature maps are `[b, h, w, c]`, channels last. All layers take any height and width, known or not.
"""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable(package="fcn_keras")
class CaffePreprocessing(keras.layers.Layer):
    """RGB 0..255 -> BGR minus a mean, as the Caffe models were trained."""

    def __init__(self, mean=CAFFE_MEAN_BGR, swap=True, **kwargs):
        """Always computes in float32: 8 bits of mantissa would round a float image.

        Args:
            mean: what is subtracted from the first three channels, in the order they come out.
            swap: RGB comes in and BGR comes out; otherwise the order is kept (HHA).
            **kwargs: as of any layer.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mean = tuple(float(value) for value in mean)
        self.swap = swap

    def call(self, image):
        """`[b, h, w, c]` -> `[b, h, w, c]`, colours about -124..151.

        Channels after the third stay as they are; with one or two channels, all do.
        """
        if image.shape[-1] < 3:
            return image
        colours = image[..., 2::-1] if self.swap else image[..., :3]
        colours = colours - np.array(self.mean, "float32")
        return ops.concatenate([colours, image[..., 3:]], -1) if image.shape[-1] > 3 else colours

    def get_config(self):
        """The mean and the order of channels."""
        return {**super().get_config(), "mean": self.mean, "swap": self.swap}


@keras.saving.register_keras_serializable(package="fcn_keras")
class PadToMultiple(keras.layers.Layer):
    """Pads height and width with zeros to the next multiple of `multiple`, half on each side.

    The odd pixel goes to the bottom and the right. After mean subtraction zero is the mean colour.
    """

    def __init__(self, multiple, **kwargs):
        """Pads to multiples of `multiple` pixels."""
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, x):
        """`[b, h, w, c]` -> `[b, H, W, c]`."""
        pads = [_split(-size % self.multiple) for size in tf.unstack(tf.shape(x)[1:3])]
        return tf.pad(x, [(0, 0), *pads, (0, 0)])

    def compute_output_shape(self, shape):
        """Rounds the known sizes up."""
        up = [s and s + -s % self.multiple for s in shape[1:3]]
        return (shape[0], *up, shape[3])

    def get_config(self):
        """The multiple."""
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable(package="fcn_keras")
class CropLike(keras.layers.Layer):
    """Takes a window of the reference's size out of `x`."""

    def __init__(self, offset=None, **kwargs):
        """float32 whatever the policy, since scores and logits are cropped.

        Args:
            offset: the window's top and left; None for where `PadToMultiple` had laid the image.
            **kwargs: as of any layer.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        self.offset = offset

    def call(self, x, reference):
        """`x` `[b, H, W, c]`, `reference` `[b, h, w, *]`, H >= h, W >= w -> `[b, h, w, c]`."""
        tall, wide = tf.unstack(tf.shape(x)[1:3])
        height, width = tf.unstack(tf.shape(reference)[1:3])
        top, left = (tall - height) // 2, (wide - width) // 2
        if self.offset is not None:
            top = left = self.offset
        return x[:, top : top + height, left : left + width]

    def compute_output_shape(self, x_shape, reference_shape):
        """Height and width of the reference, channels of `x`."""
        return (x_shape[0], *reference_shape[1:3], x_shape[3])

    def get_config(self):
        """The offset."""
        return {**super().get_config(), "offset": self.offset}


@keras.saving.register_keras_serializable(package="fcn_keras")
class DilatedPooling2D(keras.layers.Layer):
    """Max or average pooling over cells that lie `dilation_rate` apart, which Keras' cannot.

    Padding counts for nothing: it is below every maximum and in no average. So no window may lie in
    the padding alone.
    """

    def __init__(
        self,
        pool_size,
        *,
        strides=1,
        padding=((0, 0), (0, 0)),
        dilation_rate=1,
        average=False,
        **kwargs,
    ):
        """Sizes are numbers or pairs (rows, columns), `padding` is as in `ZeroPadding2D`."""
        super().__init__(**kwargs)
        self.pool_size, self.strides, self.dilation_rate = (
            (value, value) if isinstance(value, int) else tuple(value)
            for value in (pool_size, strides, dilation_rate)
        )
        self.padding = tuple(tuple(pads) for pads in padding)
        self.average = average

    def call(self, x):
        """`[b, h, w, c]` -> `[b, rows, columns, c]`."""
        if not self.average:
            lowest = np.array(-np.inf, "float32")
            return self._windows(self._padded(x, lowest), ops.maximum)
        sums = self._windows(self._padded(x, 0), ops.add)
        if not any(sum(self.padding, ())):
            return sums / float(np.prod(self.pool_size))
        return sums / self._windows(self._padded(ops.ones_like(x[:1, ..., :1]), 0), ops.add)

    def compute_output_shape(self, shape):
        """Sizes as of a valid window over the padded map."""
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

    def get_config(self):
        """All that the constructor takes."""
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "average": self.average,
        }

    def _padded(self, x, value):
        pads = [(0, 0), *self.padding, (0, 0)]
        return ops.pad(x, pads, constant_values=value) if any(sum(self.padding, ())) else x

    def _windows(self, x, combine):
        """Combines the cells of each window, along the columns and then along the rows."""
        for axis in (2, 1):
            window, stride = self.pool_size[axis - 1], self.strides[axis - 1]
            rate = self.dilation_rate[axis - 1]
            # The last window starts where its last cell still lies on the map.
            starts = ops.shape(x)[axis] - (window - 1) * rate
            before = (slice(None),) * axis
            parts = [
                x[(*before, slice(i * rate, i * rate + starts, stride))] for i in range(window)
            ]
            x = functools.reduce(combine, parts)
        return x


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

    def __init__(self, factor, learn=False, fade=False, kernel_size=None, **kwargs):
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

    def build(self, shape):
        """Adds the kernel `[k, k, c, c]`, bilinear on the channel diagonal, if it is learned."""
        if self.learn:
            self.kernel = self.add_weight(
                shape=(self.kernel_size, self.kernel_size, shape[-1], shape[-1]),
                initializer=Bilinear(),
                name="kernel",
            )

    def call(self, x):
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

    def compute_output_shape(self, shape):
        """Height and width times the factor; with `fade`, plus the kernel's overhang."""
        more = self.kernel_size - self.factor if self.fade else 0
        return (shape[0], *[s and s * self.factor + more for s in shape[1:3]], shape[3])

    def get_config(self):
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

    def __call__(self, shape, dtype=None):
        """A kernel `[k, k, c, c]`."""
        kernel = np.einsum("ij,ab->ijab", bilinear_filter(shape[0]), np.eye(shape[2], shape[3]))
        return ops.convert_to_tensor(kernel, dtype=dtype)


@keras.saving.register_keras_serializable(package="fcn_keras")
class LocalResponseNormalization(keras.layers.Layer):
    """Caffe's LRN across channels: `x / (1 + alpha / size * sum of size squares) ** beta`.

    The sum runs over the `size` channels around each one; TensorFlow's own operation has no
    division of `alpha`.
    """

    def __init__(self, size=5, alpha=1e-4, beta=0.75, **kwargs):
        """`size` is odd; the defaults are those of CaffeNet and GoogLeNet."""
        super().__init__(**kwargs)
        self.size = size
        self.alpha = alpha
        self.beta = beta

    def call(self, x):
        """`[b, h, w, c]` -> `[b, h, w, c]`."""
        normalised = tf.nn.local_response_normalization(
            tf.cast(x, "float32"),  # TensorFlow has no other kernel on CPU and GPU alike.
            depth_radius=self.size // 2,
            alpha=self.alpha / self.size,
            beta=self.beta,
        )
        return tf.cast(normalised, x.dtype)

    def compute_output_shape(self, shape):
        """That of the input."""
        return shape

    def get_config(self):
        """Size, alpha and beta."""
        return {
            **super().get_config(),
            "size": self.size,
            "alpha": self.alpha,
            "beta": self.beta,
        }


@keras.saving.register_keras_serializable(package="fcn_keras")
class CeilMaxPooling2D(keras.layers.MaxPooling2D):
    """Max pooling that keeps the incomplete window at the end, as Caffe does: sizes round up.

    Where `padding="same"` of Keras lets windows hang over both edges (on odd sizes), this one
    starts them at the first pixel.
    """

    def __init__(self, pool_size=2, strides=None, incomplete="last", **kwargs):
        """`incomplete="first"` puts the incomplete window, if there is one, at the start."""
        super().__init__(pool_size, strides, **kwargs)
        self.incomplete = incomplete

    def call(self, x):
        """`[b, h, w, c]` -> `[b, ceil((h - pool) / stride) + 1, ..., c]`."""
        pads = []
        for size, *window in zip(
            tf.unstack(tf.shape(x)[1:3]), self.pool_size, self.strides, strict=True
        ):
            missing = tf.maximum(*_missing(size, *window))
            pads.append((0, missing) if self.incomplete == "last" else (missing, 0))
        return super().call(tf.pad(x, [(0, 0), *pads, (0, 0)], constant_values=x.dtype.min))

    def compute_output_shape(self, shape):
        """Rounds up."""
        windows = zip(shape[1:3], self.pool_size, self.strides, strict=True)
        padded = [window[0] and window[0] + max(_missing(*window)) for window in windows]
        return super().compute_output_shape((shape[0], *padded, shape[3]))

    def get_config(self):
        """Those of max pooling, and the incomplete window's place."""
        return {**super().get_config(), "incomplete": self.incomplete}


@keras.saving.register_keras_serializable(package="fcn_keras")
class GroupedConv2D(keras.layers.Conv2D):
    """A convolution in few groups, done as one convolution for each.

    Keras compiles grouped convolutions with XLA, anew for each image size.
    """

    def convolution_op(self, inputs, kernel):
        """`[b, h, w, c]`, `[k, k, c / groups, filters]` -> `[b, h, w, filters]`."""
        parts = zip(
            ops.split(inputs, self.groups, axis=-1),
            ops.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        convolve = super().convolution_op
        return ops.concatenate([convolve(x, k) for x, k in parts], axis=-1)


@keras.saving.register_keras_serializable(package="fcn_keras")
class PatchConv2D(keras.layers.Conv2D):
    """A convolution that trains fast on a CPU although its kernel is larger than the map: fc6, fc7.

    There a training step multiplies the map's patches by the kernel as it is stored. The plain
    convolution lays the kernel out anew for the forward pass and for both gradients, which for the
    103 million weights of fc6 takes longer than the multiplication. Otherwise, and wherever there
    is a GPU, it is the plain convolution.
    """

    def call(self, inputs, training=False):
        """`[b, h, w, c]` -> `[b, rows, columns, filters]`."""
        if not training or self.groups != 1 or tf.config.list_logical_devices("GPU"):
            return super().call(inputs)
        patches = tf.image.extract_patches(
            # Not in bfloat16: the gradient adds up all patches that a cell is in.
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


def bilinear_filter(size):
    """The reference's bilinear filter `[size, size]`: a tent of half width `(size + 1) // 2`."""
    half = (size + 1) // 2
    centre = half - 1 if size % 2 else half - 0.5
    tent = 1 - np.abs(np.arange(size) - centre) / half
    return np.outer(tent, tent)


def _split(total):
    return total // 2, total - total // 2


def _missing(size, pool, stride):
    """Two amounts whose larger one fills the last window: of a map smaller than it, or larger."""
    return pool - size, (pool - size) % stride
