"""Cross-entropy loss over the labelled pixels (sections 3.4 and 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from fcn_keras import arguments, ground_truth, replicas
from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID

REDUCTIONS = ("mean", "sum")


@keras.saving.register_keras_serializable(package="fcn_keras")
class MaskedCrossentropy(keras.losses.Loss):
    """Per-pixel softmax cross-entropy that ignores void pixels.

    With labels y, valid pixels V and class weights w (1 by default), the loss of a batch is
    `sum_V w[y] * -log softmax(logits)[y] / sum_V w[y]`, or 0 if no pixel is valid. This is a mean
    over the pixels of the whole batch, not a mean of per-image means. With `reduction="sum"` the
    loss is the numerator alone, as in the reference's "heavy" recipe: the gradient grows with the
    image and batch size, and the learning rate is about 100,000 times smaller.

    With `sample_rate` below 1, each pixel contributes to the *gradient* with that probability,
    sampled independently for each batch (patch sampling, section 3.4; the paper samples cells of
    the final layer, this loss samples pixels). The reduction then covers the sampled pixels only.
    To keep the number of terms per step, use a batch `1 / sample_rate` times as large. The loss
    *value* still covers all pixels, so training and validation losses are comparable.

    Under a `tf.distribute` strategy the loss covers the global batch, however the valid pixels are
    distributed over the replicas. The gradients, which Keras sums, and the loss that `fit` and
    `evaluate` report equal those of one device with that batch. Each replica returns the global
    loss divided by the number of replicas, so a custom training loop can sum the values too. With
    `sample_rate` below 1 each replica samples with its own seed: the samples depend on the seed
    and the number of replicas, and differ from those of one device.
    """

    def __init__(
        self,
        ignore_class: int | None = VOID,
        class_weights: Sequence[float] | Mapping[int, float] | np.ndarray | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        sample_rate: float = 1.0,
        seed: int | None = None,
        name: str = "masked_crossentropy",
    ):
        """Creates the loss.

        Args:
            ignore_class: Label that is ignored; None for none.
            class_weights: A weight per class, at least 0. A dict by class id may leave out classes,
                whose weight is 1, as in Keras' `fit(class_weight=)`, which takes masks for one-hot
                labels of images, and fails.
            reduction: "mean" or "sum" over the valid pixels of the batch.
            sample_rate: Fraction of pixels that contribute to the gradient, above 0 and at most 1.
            seed: Seed of the pixel sampling; None derives it from `keras.utils.set_random_seed`.
            name: Name of the loss.

        Raises:
            ConfigError: An argument is unknown or out of range.
        """
        if reduction not in REDUCTIONS:
            raise ConfigError(f"reduction={reduction!r}: must be {' or '.join(REDUCTIONS)}.")
        share = arguments.number(sample_rate)
        if share is None or not 0 < share <= 1:
            raise ConfigError(f"sample_rate={sample_rate!r}: must be above 0 and at most 1.")
        if seed is not None and arguments.whole(seed) is None:
            raise ConfigError(f"seed={seed!r}: must be an integer, or None.")
        super().__init__(name=name, reduction=reduction)
        self.ignore_class = ground_truth.checked_void(name, ignore_class)
        self.class_weights = _checked_weights(class_weights)
        self.sample_rate = share
        self.seed = arguments.whole(seed)
        self._random = keras.random.SeedGenerator(self.seed) if share < 1 else None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedCrossentropy:
        """Creates the loss from a config, including one of version 0.1."""
        config = dict(config)
        if "keep" in config:
            config["sample_rate"] = config.pop("keep")
        if isinstance(weights := config.get("class_weights"), dict):
            config["class_weights"] = {int(key): weight for key, weight in weights.items()}  # JSON.
        return cls(**config)

    def __call__(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes the loss of a batch.

        This overrides `__call__` because Keras divides the result of `call` by the number of all
        pixels, whereas this loss divides by the weights of the valid pixels of all replicas.

        Args:
            y_true: Class ids `[b, h, w]` or `[b, h, w, 1]`.
            y_pred: Logits `[b, h, w, classes]`.
            sample_weight: `[b]` or `[b, 1]`, a weight per image, or `[b, h, w]` or `[b, h, w, 1]`,
                a weight per pixel, at least 0; multiplies the class weights.

        Returns:
            A float32 scalar; with several replicas, this replica's share of the global loss.

        Raises:
            ConfigError: The masks or weights have another shape, a weight of a valid pixel is below
                0 or not finite, or a mask has a label that is neither a class nor ignored. If a
                graph finds it only as it runs, it raises a `tf.errors.InvalidArgumentError`.
        """
        each, weights, fits = self._of_pixels(y_true, y_pred, sample_weight)
        # Only XLA goes on if a label is beyond the classes or a weight is below 0.
        loss = sampled_loss = ops.where(fits, self._reduced(each, weights), np.nan)
        if self._random is not None:
            seed = replicas.per_replica_seed(self._random.next())
            drawn = tf.random.stateless_uniform(ops.shape(each), seed)
            sampled = weights * ops.cast(drawn < self.sample_rate, "float32")
            sampled_loss = self._reduced(each, sampled)
        context = replicas.in_replica_context()
        if context is not None:
            loss = replicas.all_reduce_sum(ops.stop_gradient(loss)) / context.num_replicas_in_sync
        if sampled_loss is loss:
            return loss
        # The exact value of the whole batch, with the gradient of this replica's sampled pixels.
        return ops.stop_gradient(loss) + (sampled_loss - ops.stop_gradient(sampled_loss))

    def sums(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Computes the two sums of a part of a batch, which add up over the parts.

        Args:
            y_true: As for the loss.
            y_pred: As for the loss.

        Returns:
            float32 `[2]`: the weighted sum of the pixels' losses, and the sum of the weights.
        """
        each, weights, fits = self._of_pixels(y_true, y_pred, None)
        return ops.where(fits, ops.stack([ops.sum(weights * each), ops.sum(weights)]), np.nan)

    def of_sums(self, sums: tf.Tensor) -> tf.Tensor:
        """Computes the loss of a batch from the `sums` of its parts, over all replicas."""
        total, weights = ops.unstack(replicas.all_reduce_sum(sums), 2)
        return total if self.reduction == "sum" else ops.divide_no_nan(total, weights)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            "name": self.name,
            "ignore_class": self.ignore_class,
            "class_weights": self.class_weights,
            "reduction": self.reduction,
            "sample_rate": self.sample_rate,
            "seed": self.seed,
        }

    def _of_pixels(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the pixels' losses and weights `[b, h, w]`, and whether all labels fit."""
        logits = ops.cast(y_pred, "float32")
        ground_truth.check_void(self.name, self.ignore_class, logits.shape[-1])
        labels, valid, fits = ground_truth.class_ids(y_true, logits, self.ignore_class)
        weights = ops.cast(valid, "float32")
        if self.class_weights is not None:
            weights = weights * ops.take(
                _weight_table(self.class_weights, logits.shape[-1]), labels
            )
        if sample_weight is not None:
            sample_weight, known = ground_truth.pixel_weights(sample_weight, labels, valid)
            weights, fits = weights * sample_weight, ops.logical_and(fits, known)
        each = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return ops.where(ops.equal(weights, 0), 0.0, each), weights, fits  # Logits may be NaN.

    def _reduced(self, each: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Reduces the pixel losses to this replica's share of the global loss."""
        total = ops.sum(weights * each)
        if self.reduction == "sum":
            return total
        return ops.divide_no_nan(total, replicas.all_reduce_sum(ops.sum(weights)))


def _checked_weights(
    weights: Sequence[float] | Mapping[int, float] | np.ndarray | None,
) -> list[float] | dict[int, float] | None:
    """Returns class weights as floats: a list, or a dict by class id."""
    if weights is None:
        return None
    listed = np.asarray([] if isinstance(weights, Mapping) else weights, object)
    if listed.ndim != 1:
        raise ConfigError(
            f"class_weights={weights!r}: must be a list with a weight per class, or a dict."
        )
    pairs = dict(weights if isinstance(weights, Mapping) else enumerate(listed))
    for number, weight in pairs.items():
        index = arguments.whole(number)
        if index is None or index < 0:
            raise ConfigError(f"class_weights: {number!r} must be a class id: 0, 1, ...")
        value = arguments.number(weight)
        if value is None or not 0 <= value <= float(np.finfo("float32").max):
            raise ConfigError(
                f"class_weights: the weight of class {number} must be a float32 of at least 0, "
                f"found {weight!r}."
            )
    if pairs and not any(np.float32(weight) for weight in pairs.values()):
        raise ConfigError("class_weights: all are 0. Give a class a weight above 0.")
    floats = {int(number): float(weight) for number, weight in pairs.items()}
    return floats if isinstance(weights, Mapping) else list(floats.values())


def _weight_table(given: list[float] | dict[int, float], count: int) -> np.ndarray:
    """Returns class weights as float32 `[count]`."""
    if isinstance(given, dict):
        unknown = [number for number in given if number >= count]
        if unknown:
            raise ConfigError(
                f"class_weights: {unknown[0]} is not a class; the model has {count} classes, 0 "
                f"to {count - 1}. Leave it out."
            )
        return np.array([given.get(number, 1.0) for number in range(count)], "float32")
    if len(given) != count:
        raise ConfigError(
            f"class_weights: must have a weight for each of the {count} classes, found "
            f"{len(given)}. A dict may leave out classes, whose weight is 1."
        )
    return np.array(given, "float32")


def balancing_weights(class_pixels: np.ndarray, exponent: float) -> np.ndarray:
    """Computes class weights `frequency ** -exponent`, scaled to a mean weight of 1 per pixel.

    Args:
        class_pixels: Labelled pixels per class in the training set, `[classes]`.
        exponent: 0 disables balancing, 1 gives all classes equal influence.

    Returns:
        Float64 weights `[classes]`; a class without pixels gets the largest weight of the others.
    """
    pixels = np.asarray(class_pixels, "float64")
    weights = np.where(pixels > 0, np.maximum(pixels, 1), np.inf) ** -float(exponent)
    weights = np.where(pixels > 0, weights, weights.max())
    return weights * pixels.sum() / (weights * pixels).sum()
