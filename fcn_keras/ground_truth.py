"""Checks of the masks and weights that the loss and the metric get, eagerly and in graphs.

Eagerly, a fault is a `ConfigError`. In a graph, sizes known while it is traced are a `ConfigError`,
all else a `tf.errors.InvalidArgumentError` with the same text. XLA has no assertions: there a label
beyond the classes makes the loss and the metrics NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from fcn_keras.arguments import whole
from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID


def checked_void(name: str, ignore_class: Any) -> int | None:
    """Returns the `ignore_class` of the loss or metric `name` as an integer or None.

    Raises:
        ConfigError: It is neither.
    """
    if ignore_class is None:
        return None
    number = whole(ignore_class)
    if number is None:
        raise ConfigError(f"{name}: ignore_class={ignore_class!r}: must be an integer, or None.")
    return number


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
        is_whole = tf.reduce_all(tf.cast(tf.cast(given, tf.int64), given.dtype) == given)
        text = "masks: class ids must be whole numbers, found fractions. Do not scale masks."
        if not tf.executing_eagerly():
            tf.debugging.Assert(is_whole, [text])
        elif not is_whole:
            raise ConfigError(text)
        fits = tf.logical_and(fits, is_whole)
    return tf.where(fits, labels, 0), valid, fits  # Other kernels must not see wrong ids.


def pixel_weights(
    weights: tf.Tensor, labels: tf.Tensor, valid: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Checks sample weights and brings them to the axes of the masks.

    Args:
        weights: A number; `[b]` or `[b, 1]`, one per image; or `[b, h, w]` or `[b, h, w, 1]`, where
            each size may be 1.
        labels: Class ids `[b, h, w]`.
        valid: Which pixels count, bool `[b, h, w]`. The weights of the others may be anything.

    Returns:
        Weights, float32 `[b, h, w]`, 0 where not valid; and whether all are finite numbers of at
        least 0, a bool for XLA.

    Raises:
        ConfigError: The weights have another shape, or one is below 0 or not finite.
    """
    weights = tf.convert_to_tensor(weights)
    kind = weights.dtype
    if not (kind.is_floating or kind.is_integer or kind.is_bool):
        raise ConfigError(f"sample_weight: must be numbers, found {kind.name}.")
    weights = tf.where(valid, _on_axes(tf.cast(weights, tf.float32), labels), 0.0)
    fits = tf.reduce_all(tf.logical_and(weights >= 0, weights < float("inf")))
    text = "sample_weight: weights must be finite and at least 0, found others."
    if not tf.executing_eagerly():
        tf.debugging.Assert(fits, [text])
    elif not fits:
        raise ConfigError(text)
    return weights, fits


def _on_axes(weights: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns weights with the axes of the labels, where each size may be 1."""
    wanted = labels.shape.as_list()
    axes, rank = len(wanted), weights.shape.rank
    rule = (
        f"sample_weight: must be [b], one weight per image, or {_shown(wanted)}, one per pixel, "
        "found"
    )
    fix = "For a weight per class, pass class_weights to the loss."
    if rank is not None:
        found = weights.shape.as_list()
        sizes = [*found, *[1] * (axes + 1 - rank)]
        # With fewer axes than the masks, weights are one per image.
        limits = [*wanted, 1] if rank >= axes else [*wanted[:1], *[1] * axes]
        if len(sizes) != axes + 1 or not all(
            one in (1, None) or most in (one, None) for one, most in zip(sizes, limits, strict=True)
        ):
            raise ConfigError(f"{rule} {_shown(found)}. {fix}")
        if None not in (*found, *wanted):
            return tf.reshape(weights, sizes[:axes])
    found = tf.shape(weights)
    sizes = tf.concat([found, tf.ones([axes + 1], tf.int32)], 0)[: axes + 1]
    most = tf.concat([tf.shape(labels), [1]], 0)
    most = tf.where(tf.logical_or(tf.rank(weights) >= axes, tf.range(axes + 1) < 1), most, 1)
    fits = tf.reduce_all(tf.logical_or(sizes == 1, sizes == most))
    fits = tf.logical_and(fits, tf.rank(weights) <= axes + 1)
    told = tf.debugging.Assert(fits, [rule, found, fix])
    with tf.control_dependencies([told]):  # Before another operation fails.
        return tf.broadcast_to(tf.reshape(weights, sizes[:axes]), tf.shape(labels))


def _of_size(masks: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns masks of the size of the logits, without a last axis of 1."""
    shape, wanted = logits.shape.as_list(), logits.shape.as_list()[:-1]
    axes, known = len(wanted), wanted
    rule = (
        f"masks: must be {_shown(wanted)} or {_shown([*wanted, 1])}, as the logits {_shown(shape)}"
    )
    if masks.shape.rank is not None:
        found = masks.shape.as_list()
        known = found[:-1] if len(found) == axes + 1 and found[-1] in (1, None) else found
        if len(known) != axes or not all(
            None in pair or len(set(pair)) == 1 for pair in zip(known, wanted, strict=True)
        ):
            raise ConfigError(f"{rule}, found {_shown(found)}. {_hint(found, shape)}")
        if None not in (*found, *wanted):
            return tf.reshape(masks, wanted)
    size, given = tf.shape(logits)[:-1], tf.shape(masks)
    padded = tf.concat([given, tf.ones([axes + 1], tf.int32)], 0)[: axes + 1]
    same = tf.reduce_all(padded == tf.concat([size, [1]], 0))
    same = same & (tf.rank(masks) >= axes) & (tf.rank(masks) <= axes + 1)
    told = tf.debugging.Assert(same, [f"{rule}, found", given])
    with tf.control_dependencies([told]):  # Before another operation fails.
        masks = tf.reshape(masks, size)
    return tf.ensure_shape(masks, [a or b for a, b in zip(known, wanted, strict=True)])


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
