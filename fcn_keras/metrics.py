"""The confusion matrix and the paper's four metrics (section 5, "Metrics").

Let n_ij be the number of labelled pixels of class i predicted as class j, and t_i = sum_j n_ij:

- pixel accuracy: `sum n_ii / sum t_i`
- mean accuracy: `mean n_ii / t_i`
- mean IU: `mean n_ii / (t_i + sum_j n_ji - n_ii)`
- frequency-weighted IU: `sum t_i IU_i / sum t_i`

The mean accuracy leaves out classes missing from the ground truth. The mean IU leaves out classes
missing from both ground truth and prediction; a class that only the prediction has counts as 0,
unless `skip_absent`, the rule of SIFT Flow, leaves it out too. All metrics of an empty matrix are
NaN.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from fcn_keras import ground_truth, replicas
from fcn_keras.arguments import whole
from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID
from fcn_keras.text import METRIC_NAMES

# Added to all counts by a batch with a label beyond the classes, if XLA goes on after it.
BEYOND = -(2**44)


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
        ignore_class: int | None = VOID,
        prefix: str = "",
        name: str = "confusion",
        skip_absent: bool = False,
    ):
        """Creates an empty `[num_classes, num_classes]` matrix; rows are the ground truth.

        Args:
            num_classes: Number of classes.
            ignore_class: Label that is ignored; None for none.
            prefix: Prefix of the metric names. Keras logs the metrics of all heads side by side,
                so give each head its own prefix, for example "semantic_".
            name: Name of the metric.
            skip_absent: Leave classes that the ground truth lacks out of the mean IU, even if they
                are predicted, as `Split.skip_absent` of the data set says.

        Raises:
            ConfigError: An argument is out of range.
        """
        super().__init__(name=name)
        self.num_classes = _checked_count(num_classes)
        self.prefix = prefix
        self.ignore_class = ground_truth.checked_void(name, ignore_class)
        self.skip_absent = skip_absent
        ground_truth.check_void(name, self.ignore_class, self.num_classes)
        self.matrix = self.add_variable(
            (self.num_classes, self.num_classes), initializer="zeros", dtype="int64", name="matrix"
        )

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Adds a batch.

        Args:
            y_true: Class ids `[b, h, w]` or `[b, h, w, 1]`.
            y_pred: Logits `[b, h, w, classes]`.
            sample_weight: As for the loss. Pixels of weight zero are ignored; all other weights
                count as 1.

        Raises:
            ConfigError: The logits have another number of classes, or as for the loss.
        """
        self.matrix.assign_add(self.counts(y_true, y_pred, sample_weight))

    def counts(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Counts the pixels of a batch without adding them: int64 `[num_classes, num_classes]`.

        The arguments and errors are those of `update_state`.
        """
        scores = tf.convert_to_tensor(y_pred)
        if scores.shape.rank is None or scores.shape[-1] != self.num_classes:
            raise ConfigError(
                f"{self.name}: num_classes={self.num_classes}, but the logits have the shape "
                f"{scores.shape}. Pass the model's number of classes, and logits of them."
            )
        truth, valid, fits = ground_truth.class_ids(y_true, scores, self.ignore_class)
        if sample_weight is not None:
            weights, known = ground_truth.pixel_weights(sample_weight, truth, valid)
            valid, fits = weights > 0, tf.logical_and(fits, known)
        cells = truth * self.num_classes + tf.math.argmax(scores, axis=-1)
        size = self.num_classes**2
        # Ignored pixels go to an extra bin. XLA rejects `tf.math.bincount`, whose output shape
        # depends on the values.
        counts = tf.raw_ops.DenseBincount(
            input=tf.reshape(tf.cast(tf.where(valid, cells, size), tf.int32), [-1]),
            size=size + 1,
            weights=tf.zeros([0], "int32"),
        )[:-1]
        counts = tf.cast(tf.reshape(counts, self.matrix.shape), tf.int64)
        return tf.where(fits, counts, BEYOND)

    def result(self) -> dict[str, tf.Tensor]:
        """Returns the four metrics by name, as float32 scalars."""
        counts = replicas.all_reduce_sum(ops.convert_to_tensor(self.matrix))
        matrix = ops.where(ops.any(counts < 0), np.nan, ops.cast(counts, "float32"))
        hits = ops.diagonal(matrix)
        truth, predicted = ops.sum(matrix, axis=1), ops.sum(matrix, axis=0)
        union = truth + predicted - hits
        iou = ops.divide_no_nan(hits, union)
        result = {
            "pixel_accuracy": ops.sum(hits) / ops.sum(truth),
            "mean_accuracy": _mean_where(truth > 0, ops.divide_no_nan(hits, truth)),
            "mean_iou": _mean_where((truth if self.skip_absent else union) > 0, iou),
            "frequency_weighted_iou": ops.sum(truth * iou) / ops.sum(truth),
        }
        return {self.prefix + metric: value for metric, value in result.items()}

    def confusion(self) -> np.ndarray:
        """Returns the matrix as a NumPy array, int64 `[num_classes, num_classes]`.

        Raises:
            ConfigError: A mask had a label beyond the classes, and XLA went on after it.
        """
        confusion = self.matrix.value.numpy()
        if (confusion < 0).any():
            raise ConfigError(
                f"{self.name}: masks had labels that are neither one of the {self.num_classes} "
                "classes nor ignored. Map them, or compile with jit_compile=False to see which."
            )
        return confusion

    def restore(self, confusion: np.ndarray) -> None:
        """Replaces the matrix, int `[num_classes, num_classes]`, for example by a saved one.

        This is exact under a strategy too. Assigning to `matrix` would give each replica an equal
        part, rounded down.

        Raises:
            ConfigError: `confusion` has another shape, or holds others than whole numbers of at
                least 0.
        """
        found, wanted = np.asarray(confusion), list(self.matrix.shape)
        if list(found.shape) != wanted or found.dtype.kind not in "iuf":
            raise ConfigError(
                f"{self.name}: confusion must be pixel counts {wanted}, found {found.dtype} "
                f"{list(found.shape)}."
            )
        # The limit also finds NaN, infinity and what int64 cannot hold.
        if not ((found >= 0) & (found < 2**63)).all() or (found % 1 != 0).any():
            raise ConfigError(
                f"{self.name}: confusion must hold whole numbers of at least 0, found others."
            )
        confusion = found.astype("int64")
        replicas.assign_total(self.matrix, confusion)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {
            "name": self.name,
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "prefix": self.prefix,
            "skip_absent": self.skip_absent,
        }


def segmentation_metrics(confusion: np.ndarray, *, skip_absent: bool = False) -> dict[str, Any]:
    """Computes the four metrics and the IU per class, in float64.

    Args:
        confusion: Pixel counts `[classes, classes]`; rows are the ground truth, columns the
            prediction.
        skip_absent: Leave classes that the ground truth lacks out of the mean IU, even if they are
            predicted.

    Returns:
        A dict with the keys of `text.METRIC_NAMES` (0..1, or NaN for an empty matrix) and "iou",
        an array `[classes]` with NaN for classes missing from both ground truth and prediction.

    Raises:
        ConfigError: `confusion` is not a square matrix of counts.
    """
    confusion = _checked_confusion(confusion)
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
        "mean_iou": iou[present if skip_absent else seen].mean(),
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

    Raises:
        ConfigError: The shapes differ, or a label is no whole number, or neither a class nor
            ignored.
    """
    num_classes = _checked_count(num_classes)
    ignore_class = ground_truth.checked_void("count_pixels", ignore_class)
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise ConfigError(
            f"masks: must have the shape of the prediction, {prediction.shape}, found "
            f"{truth.shape}."
        )
    if ignore_class is not None:
        labelled = truth != ignore_class
        truth, prediction = truth[labelled], prediction[labelled]
    truth, prediction = _checked_ids("masks", truth), _checked_ids("prediction", prediction)
    for name, ids in (("masks", truth), ("prediction", prediction)):
        low, high = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
        if low < 0 or high >= num_classes:
            also = "" if ignore_class is None else f", or {ignore_class} (ignored)"
            raise ConfigError(
                f"{name}: class ids must be 0 to {num_classes - 1}{also}, found "
                f"{low if low < 0 else high}. Map other labels to the ignored one, or use a model "
                "with more classes."
            )
    cells = num_classes * truth.astype("int64") + prediction.astype("int64")
    return np.bincount(cells.ravel(), minlength=num_classes**2).reshape(num_classes, num_classes)


def _checked_count(num_classes: Any) -> int:
    count = whole(num_classes)
    if count is None or count < 1:
        raise ConfigError(f"num_classes={num_classes!r}: must be a whole number of at least 1.")
    return count


def _checked_ids(name: str, mask: Any) -> np.ndarray:
    """Returns a mask as an array of whole numbers."""
    ids = np.asarray(mask)
    is_float = ids.dtype.kind == "f"
    is_whole = not is_float or (np.isfinite(ids) & (ids == np.floor(ids))).all()
    if ids.dtype.kind not in "buif" or not is_whole:
        found = "fractions" if is_float else str(ids.dtype)
        raise ConfigError(f"{name}: class ids must be whole numbers, found {found}.")
    return ids


def _checked_confusion(confusion: Any) -> np.ndarray:
    """Returns a confusion matrix as float64."""
    counts = np.asarray(confusion)
    is_square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] > 0
    if not is_square or counts.dtype.kind not in "iuf":
        raise ConfigError(
            "confusion: must be a matrix of pixel counts [classes, classes], found "
            f"{counts.dtype} {list(counts.shape)}."
        )
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ConfigError("confusion: must hold pixel counts of at least 0, found others.")
    return counts.astype("float64")


def _mean_where(condition: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    condition = ops.cast(condition, "float32")
    return ops.sum(condition * values) / ops.sum(condition)
