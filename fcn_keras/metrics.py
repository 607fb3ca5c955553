"""The confusion matrix and the paper's four metrics (section 5, "Metrics").

Let n_ij be the number of labelled pixels of class i predicted as class j, and t_i = sum_j n_ij:

- pixel accuracy: `sum n_ii / sum t_i`
- mean accuracy: `mean n_ii / t_i`
- mean IU: `mean n_ii / (t_i + sum_j n_ji - n_ii)`
- frequency-weighted IU: `sum t_i IU_i / sum t_i`

The mean accuracy leaves out classes missing from the ground truth. The mean IU leaves out classes
missing from both ground truth and prediction. All metrics of an empty matrix are NaN.
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
from fcn_keras.text import METRIC_NAMES


@keras.saving.register_keras_serializable(package="fcn_keras")
class ConfusionMatrix(keras.metrics.Metric):
    """Accumulates the confusion matrix over batches in int64, ignoring void pixels.

    `result()` returns a dict of the paper's four metrics, so `fit` logs each of them;
    `confusion()` returns the matrix itself. Under a `tf.distribute` strategy both cover all
    replicas, also within a step.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: int = VOID,
        prefix: str = "",
        name: str = "confusion",
    ):
        """Creates an empty `[num_classes, num_classes]` matrix; rows are the ground truth.

        Args:
            num_classes: Number of classes.
            ignore_class: Label that is ignored.
            prefix: Prefix of the metric names. Keras logs the metrics of all heads side by side,
                so give each head its own prefix, for example "semantic_".
            name: Name of the metric.
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

        Pixels whose `sample_weight` is zero are ignored; all other weights count as 1.
        """
        prediction = tf.math.argmax(y_pred, axis=-1, output_type=tf.int32)
        truth = tf.cast(tf.reshape(y_true, tf.shape(prediction)), tf.int32)
        valid = truth != self.ignore_class
        if sample_weight is not None:
            valid &= tf.broadcast_to(tf.cast(sample_weight, tf.bool), tf.shape(truth))
        cells = tf.where(valid, truth, 0) * self.num_classes + prediction
        # Invalid pixels go to an extra bin. XLA rejects `tf.math.bincount`, whose output shape
        # depends on the values.
        counts = tf.raw_ops.DenseBincount(
            input=tf.reshape(tf.where(valid, cells, self.num_classes**2), [-1]),
            size=self.num_classes**2 + 1,
            weights=tf.zeros([0], "int32"),
        )[:-1]
        self.matrix.assign_add(tf.cast(tf.reshape(counts, self.matrix.shape), tf.int64))

    def result(self) -> dict[str, tf.Tensor]:
        """Returns the four metrics by name, as float32 scalars."""
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
        return {self.prefix + metric: value for metric, value in result.items()}

    def confusion(self) -> np.ndarray:
        """Returns the matrix as a NumPy array, int64 `[num_classes, num_classes]`."""
        return self.matrix.value.numpy()

    def restore(self, confusion: np.ndarray) -> None:
        """Replaces the matrix, int `[num_classes, num_classes]`, for example by a saved one.

        This is exact under a strategy too. Assigning to `matrix` would give each replica an equal
        part, rounded down.
        """
        replicas.assign_total(self.matrix, confusion)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            "name": self.name,
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "prefix": self.prefix,
        }


def segmentation_metrics(confusion: np.ndarray) -> dict[str, Any]:
    """Computes the four metrics and the IU per class, in float64.

    Args:
        confusion: Pixel counts `[classes, classes]`; rows are the ground truth, columns the
            prediction.

    Returns:
        A dict with the keys of `text.METRIC_NAMES` (0..1, or NaN for an empty matrix) and "iou",
        an array `[classes]` with NaN for classes missing from both ground truth and prediction.
    """
    confusion = np.asarray(confusion, "float64")
    hits, truth, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    union = truth + predicted - hits
    present, seen = truth > 0, union > 0
    iou = np.full(len(hits), np.nan)
    iou[seen] = hits[seen] / union[seen]
    labelled = truth.sum()
    if not labelled:
        return {**dict.fromkeys(METRIC_NAMES, np.nan), "iou": iou}
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
    """Computes the confusion matrix of two masks.

    Args:
        truth: Ground-truth class ids, any shape.
        prediction: Predicted class ids, same shape.
        num_classes: Number of classes.
        ignore_class: Label in `truth` that is ignored; None for none.

    Returns:
        int64 `[num_classes, num_classes]`; rows are the ground truth, columns the prediction.
    """
    if ignore_class is not None:
        labelled = truth != ignore_class
        truth, prediction = truth[labelled], prediction[labelled]
    cells = num_classes * truth.astype("int64") + prediction
    return np.bincount(cells.ravel(), minlength=num_classes**2).reshape(num_classes, num_classes)


def _mean_where(condition: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    condition = ops.cast(condition, "float32")
    return ops.sum(condition * values) / ops.sum(condition)
