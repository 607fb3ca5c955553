"""Cross-entropy over the labelled pixels (section 3.4, section 4.3)."""

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
    """Per-pixel softmax cross-entropy; void pixels count nowhere, neither above nor below the line.

    With labels y, valid pixels V and class weights w (1 by default) the loss of a batch is
    `sum_V w[y] * -log softmax(logits)[y] / sum_V w[y]`, and 0 where no pixel is valid: a mean over
    the pixels of the whole batch, not a mean of per-image means. With `reduction="sum"` it is the
    numerator alone, as in the reference's "heavy" recipe: the larger the image and the batch, the
    larger the gradient, and the learning rate is about a hundred thousand times smaller.

    With `sample_rate` below 1 every pixel's term enters the *gradient* with that probability, drawn
    anew for each batch (patch sampling, section 3.4; there the cells of the final layer are drawn,
    here the pixels). The reduction then runs over the drawn pixels; to keep the number of terms of
    a step, make the batch `1 / sample_rate` times as large. The loss's *value* is that of all
    pixels nevertheless, so that training and validation losses mean the same, and nobody has to
    tell the loss which of the two it is in.

    Under a `tf.distribute` strategy "the batch" is the global one, however the valid pixels are
    shared among the replicas: the gradients, which Keras adds up, are those of one device with that
    batch, and so is the loss that `fit` and `evaluate` report. What a replica gets from here is the
    global loss over the number of replicas, so that a loop of one's own adds up values too. With
    `sample_rate` below 1 each replica draws from its own numbers: the seed and the number of
    replicas decide the draws, but they are not those of one device.
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
        """Sets what is ignored, and how the pixels' terms become one number.

        Args:
            ignore_class: the label that counts nowhere.
            class_weights: a positive number for each class, or None.
            reduction: "mean" or "sum" over the valid pixels of the batch.
            sample_rate: the share of the pixels whose terms enter the gradient, 0..1, above 0.
            seed: of that choice; None takes one that `keras.utils.set_random_seed` decides.
            name: the loss's name.

        Raises:
            ConfigError: the reduction is unknown, or `sample_rate` out of its range.
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
        """A loss from what `get_config` gave, of version 0.1 too."""
        config = dict(config)
        if "keep" in config:
            config["sample_rate"] = config.pop("keep")
        return cls(**config)

    def __call__(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The loss of a batch.

        Not `call`: Keras would reduce what that gives by the number of all pixels, and this is a
        mean over the weights of those that are valid, in all replicas.

        Args:
            y_true: labels `[b, h, w]` or `[b, h, w, 1]`, any integer type.
            y_pred: logits `[b, h, w, classes]`.
            sample_weight: broadcastable to `[b, h, w]`; multiplies the class weights.

        Returns:
            A float32 scalar; in one of several replicas the share of the global batch's loss.
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
        loss = moving = self._reduced(each, weights)
        if self._random is not None:
            seed = replicas.own_seed(self._random.next())
            drawn = tf.random.stateless_uniform(ops.shape(labels), seed)
            moving = self._reduced(each, weights * ops.cast(drawn < self.sample_rate, "float32"))
        context = replicas.in_replica_context()
        if context is not None:
            loss = replicas.all_reduce_sum(ops.stop_gradient(loss)) / context.num_replicas_in_sync
        if moving is loss:
            return loss
        # The value of the whole batch, exactly, with the gradient of what is to move the weights.
        return ops.stop_gradient(loss) + (moving - ops.stop_gradient(moving))

    def get_config(self) -> dict[str, Any]:
        """What is ignored, the class weights, the reduction and the sampling."""
        return {
            "name": self.name,
            "ignore_class": self.ignore_class,
            "class_weights": self.class_weights,
            "reduction": self.reduction,
            "sample_rate": self.sample_rate,
            "seed": self.seed,
        }

    def _reduced(self, each: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """The share of these pixels in the loss of the global batch."""
        above = ops.sum(weights * each)
        if self.reduction == "sum":
            return above
        return ops.divide_no_nan(above, replicas.all_reduce_sum(ops.sum(weights)))


def balancing_weights(class_pixels: np.ndarray, exponent: float) -> np.ndarray:
    """Class weights `frequency ** -exponent`, scaled so that the mean weight of a pixel is 1.

    Args:
        class_pixels: labelled pixels of each class in the training set, `[classes]`.
        exponent: 0 leaves the classes as they are, 1 makes them count alike.

    Returns:
        Float64 weights `[classes]`; a class without pixels gets the largest weight of the others.
    """
    pixels = np.asarray(class_pixels, "float64")
    weights = np.where(pixels > 0, np.maximum(pixels, 1), np.inf) ** -float(exponent)
    weights = np.where(pixels > 0, weights, weights.max())
    return weights * pixels.sum() / (weights * pixels).sum()
