"""One confusion matrix, and the paper's four figures from it (section 5, "Metrics").

With n_ij the pixels of class i predicted as class j over the labelled pixels and t_i = sum_j n_ij:
pixel accuracy `sum n_ii / sum t_i`, mean accuracy `mean n_ii / t_i`, mean IU
`mean n_ii / (t_i + sum_j n_ji - n_ii)`, frequency weighted IU `sum t_i IU_i / sum t_i`.
A class that is absent from the truth is left out of the mean accuracy; one that is absent from
truth and prediction alike is left out of the mean IU. Figures of an empty matrix are NaN.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from fcn_keras import replicas
from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID
from fcn_keras.text import FIGURES


@keras.saving.register_keras_serializable(package="fcn_keras")
class ConfusionMatrix(keras.metrics.Metric):
    """Sums up the confusion matrix over batches, exactly (int64); void pixels count nowhere.

    `result()` is a dict of the paper's four figures, so that `fit` logs each of them;
    `confusion()` is the matrix itself. Under a `tf.distribute` strategy both are those of all
    replicas together, within a step too.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: int = VOID,
        prefix: str = "",
        name: str = "confusion",
    ):
        """An empty matrix `[num_classes, num_classes]`: rows are the truth, columns predictions.

        Args:
            num_classes: how many classes there are.
            ignore_class: the label that counts nowhere.
            prefix: stands before the figures' names. Keras logs the figures of all heads of a
                model side by side: give each head's metric one, such as "semantic_".
            name: the metric's name.
        """
        super().__init__(name=name)
        self.num_classes = num_classes
        self.prefix = prefix
        self.ignore_class = ignore_class
        if ignore_class == VOID < num_classes:
            raise ConfigError(
                f"{name}: with {num_classes} classes, label {VOID} is both a class and void. Pass "
                "another ignore_class, such as 65535, and 16-bit masks."
            )
        self.matrix = self.add_variable(
            (num_classes, num_classes), initializer="zeros", dtype="int64", name="matrix"
        )

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Adds a batch: labels `[b, h, w]` or `[b, h, w, 1]`, logits `[b, h, w, classes]`.

        Pixels whose `sample_weight` is zero are left out; other weights do not matter.
        """
        prediction = tf.math.argmax(y_pred, axis=-1, output_type=tf.int32)
        truth = tf.cast(tf.reshape(y_true, tf.shape(prediction)), tf.int32)
        valid = truth != self.ignore_class
        if sample_weight is not None:
            valid &= tf.broadcast_to(tf.cast(sample_weight, tf.bool), tf.shape(truth))
        # An int32 weight of 0 instead of a boolean mask keeps every shape as it is.
        cells = tf.where(valid, truth, 0) * self.num_classes + prediction
        # Not `tf.math.bincount`, whose size depends on the values: XLA refuses that.
        counts = tf.raw_ops.DenseBincount(
            input=tf.reshape(tf.where(valid, cells, self.num_classes**2), [-1]),
            size=self.num_classes**2 + 1,
            weights=tf.zeros([0], "int32"),
        )[:-1]
        self.matrix.assign_add(tf.cast(tf.reshape(counts, self.matrix.shape), tf.int64))

    def result(self) -> dict[str, tf.Tensor]:
        """The four figures, float32 scalars by name."""
        matrix = ops.cast(replicas.all_reduce_sum(ops.convert_to_tensor(self.matrix)), "float32")
        hits = ops.diagonal(matrix)
        truth, predicted = ops.sum(matrix, axis=1), ops.sum(matrix, axis=0)
        union = truth + predicted - hits
        iou = ops.divide_no_nan(hits, union)
        result = {
            "pixel_accuracy": ops.sum(hits) / ops.sum(truth),
            "mean_accuracy": _mean_where(truth > 0, ops.divide_no_nan(hits, truth)),
            "mean_iou": _mean_where(union > 0, iou),
            "frequency_weighted_iou": ops.sum(truth * iou) / ops.sum(truth),
        }
        return {self.prefix + figure: value for figure, value in result.items()}

    def confusion(self) -> np.ndarray:
        """The matrix as NumPy int64 `[num_classes, num_classes]`."""
        return self.matrix.value.numpy()

    def restore(self, confusion: np.ndarray) -> None:
        """Makes `confusion` the matrix, int `[num_classes, num_classes]`, such as a saved one.

        Exact under a strategy too, where assigning to `matrix` would give each replica an equal
        part, rounded down.
        """
        replicas.assign_total(self.matrix, confusion)

    def get_config(self) -> dict[str, Any]:
        """Class count and ignored label."""
        return {
            "name": self.name,
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "prefix": self.prefix,
        }


def segmentation_metrics(confusion: np.ndarray) -> dict[str, Any]:
    """The four figures and the IU of each class, in float64.

    Args:
        confusion: pixel counts `[classes, classes]`, rows the truth, columns the prediction.

    Returns:
        A dict with the keys of `text.FIGURES` (0..1, or NaN where there is nothing to count) and
        "iou", an array `[classes]` with NaN for the classes that are absent everywhere.
    """
    confusion = np.asarray(confusion, "float64")
    hits, truth, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    union = truth + predicted - hits
    present, seen = truth > 0, union > 0
    iou = np.full(len(hits), np.nan)
    iou[seen] = hits[seen] / union[seen]
    labelled = truth.sum()
    if not labelled:
        return {**dict.fromkeys(FIGURES, np.nan), "iou": iou}
    return {
        "pixel_accuracy": hits.sum() / labelled,
        "mean_accuracy": (hits[present] / truth[present]).mean(),
        "mean_iou": iou[seen].mean(),
        "frequency_weighted_iou": (truth[present] * iou[present]).sum() / labelled,
        "iou": iou,
    }


def count_pixels(
    truth: np.ndarray,
    prediction: np.ndarray,
    num_classes: int,
    ignore_class: int | None = VOID,
) -> np.ndarray:
    """The confusion matrix of two masks.

    Args:
        truth: class ids, of any shape.
        prediction: class ids, of the same shape.
        num_classes: how many classes there are.
        ignore_class: the label in `truth` that is left out; None for none.

    Returns:
        int64 `[num_classes, num_classes]`; rows are the truth, columns the prediction.
    """
    if ignore_class is not None:
        labelled = truth != ignore_class
        truth, prediction = truth[labelled], prediction[labelled]
    cells = num_classes * truth.astype("int64") + prediction
    return np.bincount(cells.ravel(), minlength=num_classes**2).reshape(num_classes, num_classes)


def _mean_where(condition: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    condition = ops.cast(condition, "float32")
    return ops.sum(condition * values) / ops.sum(condition)
