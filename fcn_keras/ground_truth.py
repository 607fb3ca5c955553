"""Checks of the masks and weights that the loss and the metric get, eagerly and in graphs.

Eagerly, a fault is a `ConfigError`. In a graph, sizes known while it is traced are a `ConfigError`,
all else a `tf.errors.InvalidArgumentError` with the same text. XLA has no assertions: there a label
beyond the classes makes the loss and the metrics NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID


def checked_void(name: str, ignore_class: Any) -> int | None:
    """Returns the `ignore_class` of the loss or metric `name` as an integer or None.

    Raises:
        ConfigError: It is neither.
    """
    if ignore_class is None:
        return None
    if not isinstance(ignore_class, int | np.integer):
        raise ConfigError(f"{name}: ignore_class={ignore_class!r}: must be an integer, or None.")
    return int(ignore_class)


def check_void(name: str, ignore_class: int | None, num_classes: int | None) -> None:
    """Checks that 255 is not both a class and void for the loss or metric `name`.

    Raises:
        ConfigError: It is.
    """
    if ignore_class == VOID < (num_classes or 0):
        raise ConfigError(
            f"{name}: with {num_classes} classes, label {VOID} is both a class and void. Pass "
            "another ignore_class, such as 65535, and 16-bit masks."
        )


def class_ids(
    masks: tf.Tensor, logits: tf.Tensor, ignore_class: int | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Checks masks against the logits.

    Args:
        masks: Class ids `[b, h, w]` or `[b, h, w, 1]`; floats must be whole numbers.
        logits: `[b, h, w, classes]`.
        ignore_class: The label to ignore; None for none.

    Returns:
        Class ids, int64 `[b, h, w]`, 0 where ignored; which pixels count, bool `[b, h, w]`; and
        whether all ids are classes, a bool for XLA. If not, all are 0.

    Raises:
        ConfigError: The masks have another shape, or a label that is neither a class nor ignored.
    """
    if logits.shape.rank is None or logits.shape[-1] is None:
        raise ConfigError(f"logits: must be [b, h, w, classes], found the shape {logits.shape}.")
    count = logits.shape[-1]
    given = tf.convert_to_tensor(masks)
    labels = tf.cast(_of_size(given, logits), tf.int64)
    valid = tf.ones_like(labels, tf.bool) if ignore_class is None else labels != ignore_class
    labels = tf.where(valid, labels, 0)
    also = "" if ignore_class is None else f", or {ignore_class} (ignored)"
    fits = _in_range(labels, count, f"masks: class ids must be 0 to {count - 1}{also}")
    if given.dtype.is_floating:
        # NaN converts to an integer too, but to none that equals it.
        whole = tf.reduce_all(tf.cast(tf.cast(given, tf.int64), given.dtype) == given)
        text = "masks: class ids must be whole numbers, found fractions. Do not scale masks."
        if not tf.executing_eagerly():
            tf.debugging.Assert(whole, [text])
        elif not whole:
            raise ConfigError(text)
        fits = tf.logical_and(fits, whole)
    return tf.where(fits, labels, 0), valid, fits  # Other kernels must not see wrong ids.


def pixel_weights(weights: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Brings sample weights to the axes of the masks.

    Args:
        weights: A number; `[b]`, one per image; or `[b, h, w]` or `[b, h, w, 1]`, where each size
            may be 1.
        labels: Class ids `[b, h, w]`.

    Returns:
        A tensor that can be multiplied with `[b, h, w]`.

    Raises:
        ConfigError: The weights have another shape.
    """
    weights = tf.convert_to_tensor(weights)
    wanted, found = labels.shape.as_list(), weights.shape.as_list()
    axes = len(wanted)
    if len(found) == axes + 1 and found[-1] == 1:
        weights, found = tf.squeeze(weights, -1), found[:-1]
    elif len(found) == 1:
        weights = tf.reshape(weights, [-1, *[1] * (axes - 1)])
        found = found + [1] * (axes - 1)
    fits = len(found) in (0, axes) and all(
        one in (1, None) or other in (one, None) for one, other in zip(found, wanted, strict=False)
    )
    if not fits:
        raise ConfigError(
            f"sample_weight: must be [b], one weight per image, or {_shown(wanted)}, one per "
            f"pixel, found {_shown(weights.shape.as_list())}. For a weight per class, pass "
            "class_weights to the loss."
        )
    return weights


def _of_size(masks: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns masks of the size of the logits, without a last axis of 1."""
    wanted = logits.shape.as_list()[:-1]
    if masks.shape.rank is None:
        return tf.ensure_shape(masks, wanted)
    found = masks.shape.as_list()
    if len(found) == len(wanted) + 1 and found[-1] in (1, None):
        masks = tf.squeeze(tf.ensure_shape(masks, [*found[:-1], 1]), -1)
    known = masks.shape.as_list()
    fits = len(known) == len(wanted) and all(
        None in pair or len(set(pair)) == 1 for pair in zip(known, wanted, strict=True)
    )
    rule = (
        f"masks: must be {_shown(wanted)} or {_shown([*wanted, 1])}, as the logits "
        f"{_shown(logits.shape.as_list())}"
    )
    if not fits:
        raise ConfigError(f"{rule}, found {_shown(found)}. {_hint(found, logits.shape.as_list())}")
    if None in (*known, *wanted):
        same = tf.reduce_all(tf.shape(masks) == tf.shape(logits)[:-1])
        told = tf.debugging.Assert(same, [f"{rule}, found", tf.shape(masks)])
        with tf.control_dependencies([told]):  # Before another operation fails.
            masks = tf.identity(masks)
    return masks


def _hint(found: Sequence[int | None], logits: Sequence[int | None]) -> str:
    """Says what to do about masks of a wrong shape."""
    wanted, count = list(logits[:-1]), logits[-1]
    if len(found) == len(wanted) + 1:
        fixes = ["Give one class id per pixel."]
        if found[-1] == count:
            fixes.append("One-hot masks: tf.argmax(masks, axis=-1).")
        if found[-1] == 3:
            fixes.append("Colours: convert them to class ids, as pipelines.read does.")
        return " ".join(fixes)
    if len(found) == len(wanted) == 3 and [found[0], found[2], found[1]] == wanted:
        return "Transposed masks: tf.transpose(masks, (0, 2, 1))."
    if list(found) == wanted[1:]:
        return "Add the batch: masks[None]."
    if len(found) < len(wanted):
        return "Flattened masks: reshape them to the image's height and width."
    return "The model's output and the masks must have one size."


def _in_range(labels: tf.Tensor, count: int, rule: str) -> tf.Tensor:
    """Checks that class ids are 0 to `count` - 1."""
    low, high = tf.reduce_min(labels), tf.reduce_max(labels)
    fits = tf.logical_and(low >= 0, high < count)
    fix = "Map other labels to the ignored one, or build the model with more classes."
    if not tf.executing_eagerly():
        tf.debugging.Assert(fits, [f"{rule}, found ids from", low, "to", high, fix])
    elif not fits:
        raise ConfigError(f"{rule}, found {int(low if low < 0 else high)}. {fix}")
    return fits


def _shown(shape: Sequence[int | None]) -> str:
    """Formats a shape; unknown sizes get letters."""
    letters = "bhwc" if len(shape) <= 4 else "?" * len(shape)
    named = zip(letters, shape, strict=False)
    return f"[{', '.join(letter if size is None else str(size) for letter, size in named)}]"
