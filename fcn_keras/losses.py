"""Cross-entropy over the labelled pixels (section 3.4, section 4.3)."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="fcn_keras")
class MaskedCrossentropy(keras.losses.Loss):
    """Per-pixel softmax cross-entropy; void pixels count nowhere, neither above nor below the line.

    With labels y, valid pixels V and class weights w (1 by default) the loss of a batch is
    `sum_V w[y] * -log softmax(logits)[y] / sum_V w[y]`, and 0 where no pixel is valid. It is a mean
    over the pixels of the whole batch, not a mean of per-image means.
    """

    def __init__(self, ignore_class=255, class_weights=None, name="masked_crossentropy"):
        """Sets what is ignored.

        Args:
            ignore_class: the label that counts nowhere.
            class_weights: a positive number for each class, or None.
            name: the loss's name.
        """
        super().__init__(name=name, reduction=None)
        self.ignore_class = ignore_class
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The loss of a batch.

        Args:
            y_true: labels `[b, h, w]` or `[b, h, w, 1]`, any integer type.
            y_pred: logits `[b, h, w, classes]`.
            sample_weight: broadcastable to `[b, h, w]`; multiplies the class weights.

        Returns:
            A float32 scalar.
        """
        logits = ops.cast(y_pred, "float32")
        labels = ops.cast(ops.reshape(y_true, ops.shape(logits)[:-1]), "int32")
        valid = labels != self.ignore_class
        labels = ops.where(valid, labels, 0)
        weights = ops.cast(valid, "float32")
        if self.class_weights is not None:
            weights = weights * ops.take(np.array(self.class_weights, "float32"), labels)
        if sample_weight is not None:
            weights = weights * ops.cast(sample_weight, "float32")
        each = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return ops.divide_no_nan(ops.sum(weights * each), ops.sum(weights))

    def get_config(self):
        """What is ignored, and the class weights."""
        return {
            "name": self.name,
            "ignore_class": self.ignore_class,
            "class_weights": self.class_weights,
        }


def balancing_weights(class_pixels, exponent):
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
