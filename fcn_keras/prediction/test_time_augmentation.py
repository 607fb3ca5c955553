"""Test-time augmentation: prediction from several scales of an image and its mirror image.

The model sees one view at a time. Class probabilities are resized to the image's size and averaged.
The model itself does not change; only prediction takes longer.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

SCALES = (0.75, 1.0, 1.25, 1.5)


def mean_probabilities(
    logits: Callable[..., tf.Tensor | dict[str, tf.Tensor]],
    images: tf.Tensor | dict[str, tf.Tensor],
    scales: Sequence[float] = SCALES,
    mirror: bool = True,
) -> tf.Tensor | dict[str, tf.Tensor]:
    """Averages class probabilities over several views of the images.

    Only one view is in memory at a time, so the peak is the largest view plus the sum.

    Args:
        logits: A function from images `[b, h, w, c]` to logits `[b, h, w, classes]`, or to a dict
            of them; the images may be a dict too.
        images: The images, uint8 or float.
        scales: Factors on height and width; images are resized bilinearly.
        mirror: Whether each view is also flipped left to right.

    Returns:
        Float32 `[b, h, w, classes]` that sum to 1 over the classes, or a dict of them.
    """
    total = None
    for scale in scales:
        seen = keras.tree.map_structure(lambda x, scale=scale: _scaled(x, scale), images)
        for is_mirrored in (False, True) if mirror else (False,):
            view = keras.tree.map_structure(_flipped, seen) if is_mirrored else seen
            size = tf.shape(keras.tree.flatten(images)[0])[1:3]
            found = keras.tree.map_structure(
                lambda z, back=is_mirrored, size=size: _brought_back(z, size, back), logits(view)
            )
            total = found if total is None else keras.tree.map_structure(tf.add, total, found)
    count = len(scales) * (2 if mirror else 1)
    return keras.tree.map_structure(lambda x: x / count, total)


def _scaled(images: tf.Tensor, scale: float) -> tf.Tensor:
    """Resizes images; uint8 stays uint8, the model's input type."""
    if scale == 1:
        return images
    size = tf.cast(tf.shape(images)[1:3], tf.float32) * scale
    size = tf.maximum(tf.cast(tf.round(size), tf.int32), 1)
    resized = tf.image.resize(images, size, antialias=True)
    return tf.cast(tf.round(resized), images.dtype) if images.dtype == tf.uint8 else resized


def _flipped(maps: tf.Tensor) -> tf.Tensor:
    return maps[:, :, ::-1]


def _brought_back(logits: tf.Tensor, size: tf.Tensor, is_mirrored: bool) -> tf.Tensor:
    probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))
    if is_mirrored:
        probabilities = _flipped(probabilities)
    return tf.image.resize(probabilities, size)
