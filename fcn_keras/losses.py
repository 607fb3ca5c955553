"""Cross-entropy loss over the labelled pixels (sections 3.4 and 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from fcn_keras import replicas
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
        ignore_class: int = VOID,
        class_weights: Sequence[float] | np.ndarray | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        sample_rate: float = 1.0,
        seed: int | None = None,
        name: str = "masked_crossentropy",
    ):
        """Creates the loss.

        Args:
            ignore_class: Label that is ignored.
            class_weights: A positive weight per class, or None.
            reduction: "mean" or "sum" over the valid pixels of the batch.
            sample_rate: Fraction of pixels that contribute to the gradient, above 0 and at most 1.
            seed: Seed of the pixel sampling; None derives it from `keras.utils.set_random_seed`.
            name: Name of the loss.

        Raises:
            ConfigError: The reduction is unknown or `sample_rate` is out of range.
        """
        if reduction not in REDUCTIONS:
            raise ConfigError(f"reduction={reduction!r}: must be {' or '.join(REDUCTIONS)}.")
        if not 0 < sample_rate <= 1:
            raise ConfigError(f"sample_rate={sample_rate!r}: must be above 0 and at most 1.")
        super().__init__(name=name, reduction=reduction)
        self.ignore_class = ignore_class
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]
        self.sample_rate = sample_rate
        self.seed = seed
        self._random = keras.random.SeedGenerator(seed) if sample_rate < 1 else None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedCrossentropy:
        """Creates the loss from a config, including one of version 0.1."""
        config = dict(config)
        if "keep" in config:
            config["sample_rate"] = config.pop("keep")
        return cls(**config)

    def __call__(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Computes the loss of a batch.

        This overrides `__call__` because Keras divides the result of `call` by the number of all
        pixels, whereas this loss divides by the weights of the valid pixels of all replicas.

        Args:
            y_true: Labels `[b, h, w]` or `[b, h, w, 1]`, any integer type.
            y_pred: Logits `[b, h, w, classes]`.
            sample_weight: Broadcastable to `[b, h, w]`; multiplies the class weights.

        Returns:
            A float32 scalar; with several replicas, this replica's share of the global loss.
        """
        logits = ops.cast(y_pred, "float32")
        if self.ignore_class == VOID < (logits.shape[-1] or 0):
            raise ConfigError(
                f"{self.name}: with {logits.shape[-1]} classes, label {VOID} is both a class and "
                "void. Pass another ignore_class, such as 65535, and 16-bit masks."
            )
        labels = ops.cast(ops.reshape(y_true, ops.shape(logits)[:-1]), "int32")
        valid = labels != self.ignore_class
        labels = ops.where(valid, labels, 0)
        weights = ops.cast(valid, "float32")
        if self.class_weights is not None:
            weights = weights * ops.take(np.array(self.class_weights, "float32"), labels)
        if sample_weight is not None:
            weights = weights * ops.cast(sample_weight, "float32")
        each = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        loss = sampled_loss = self._reduced(each, weights)
        if self._random is not None:
            seed = replicas.per_replica_seed(self._random.next())
            drawn = tf.random.stateless_uniform(ops.shape(labels), seed)
            sampled = weights * ops.cast(drawn < self.sample_rate, "float32")
            sampled_loss = self._reduced(each, sampled)
        context = replicas.in_replica_context()
        if context is not None:
            loss = replicas.all_reduce_sum(ops.stop_gradient(loss)) / context.num_replicas_in_sync
        if sampled_loss is loss:
            return loss
        # The exact value of the whole batch, with the gradient of this replica's sampled pixels.
        return ops.stop_gradient(loss) + (sampled_loss - ops.stop_gradient(sampled_loss))

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

    def _reduced(self, each: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Reduces the pixel losses to this replica's share of the global loss."""
        total = ops.sum(weights * each)
        if self.reduction == "sum":
            return total
        return ops.divide_no_nan(total, replicas.all_reduce_sum(ops.sum(weights)))


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
