"""Padding and cropping that align the logits with the image's pixels.

Feature maps are `[b, h, w, c]` (channels last), of any height and width.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from fcn_keras.arguments import whole
from fcn_keras.errors import ModelError


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

        Raises:
            ModelError: The multiple is not an integer of at least 1.
        """
        super().__init__(**kwargs)
        size = whole(multiple)
        if size is None or size < 1:
            raise ModelError(f"multiple={multiple!r}: must be an integer of at least 1.")
        self.multiple = size

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

        Raises:
            ModelError: The offset is not an integer of at least 0.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        start = whole(offset)
        if offset is not None and (start is None or start < 0):
            raise ModelError(f"offset={offset!r}: must be an integer of at least 0, or None.")
        self.offset = start

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


@keras.saving.register_keras_serializable(package="fcn_keras")
class SameSize(keras.layers.Layer):
    """Passes images of a model with several inputs; raises an error if their sizes differ.

    Late fusion adds scores cell by cell. Images of different sizes may have maps of one size, which
    would then be added although their cells belong to other pixels.
    """

    def __init__(self, images: Sequence[str], **kwargs: Any):
        """Creates the layer, in float32 under any policy: bfloat16 would round the images.

        Args:
            images: The name of each image, for the message.
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        self.images = tuple(images)

    def call(self, images: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """A list of `[b, h, w, *]` -> the same list.

        Raises:
            ModelError: The sizes are known and differ; in a graph of unknown sizes, TensorFlow
                raises an `InvalidArgumentError` with the same line.
        """
        first, *others = images
        checks = []
        for name, image in zip(self.images[1:], others, strict=True):
            rule = f"{name}: must have the height and width of {self.images[0]}. Resize one of them"
            sizes = image.shape[1:3], first.shape[1:3]
            if None not in (*sizes[0], *sizes[1]) and tuple(sizes[0]) != tuple(sizes[1]):
                found = " and ".join(" x ".join(map(str, size)) for size in sizes)
                raise ModelError(f"{rule}; found {found}.")
            actual = tf.shape(image)[1:3], tf.shape(first)[1:3]
            line = tf.strings.format(f"{rule}; found {{}} and {{}}.", actual)
            checks.append(tf.debugging.Assert(tf.reduce_all(tf.equal(*actual)), [line]))
        # In eager mode the assertions have run already, and are None.
        with tf.control_dependencies([check for check in checks if check is not None]):
            return [tf.identity(image) for image in images]

    def compute_output_shape(
        self, shapes: Sequence[tuple[int | None, ...]]
    ) -> list[tuple[int | None, ...]]:
        """Returns the input shapes."""
        return [tuple(shape) for shape in shapes]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "images": self.images}
