"""A model's figures on a data set: as numbers, as a report, as a picture."""

import numpy as np
import tensorflow as tf

from fcn_keras.metrics import ConfusionMatrix, count_pixels, figures
from fcn_keras.prediction.test_time_augmentation import mean_probabilities
from fcn_keras.text import FIGURES


def evaluate(model, dataset, num_classes, progress=None, *, tta=False):
    """The confusion matrix of a model over a data set.

    Args:
        model: images `[b, h, w, 3]` -> logits `[b, h, w, num_classes]`.
        dataset: batches of images and masks `[b, h, w]`; 255 is ignored.
        num_classes: how many classes there are.
        progress: called with no argument after each batch, or None.
        tta: test-time augmentation, as in `prediction.predict`.

    Returns:
        int64 `[num_classes, num_classes]`; rows are the truth, columns the prediction.
    """
    metric = ConfusionMatrix(num_classes)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def logits(images):
        return tf.cast(model(images, training=False), tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, None, num_classes), tf.float32),
            tf.TensorSpec((None, None, None), tf.uint8),
        ]
    )
    def count(scores, masks):
        metric.update_state(masks, scores)

    for images, masks in dataset:
        count(mean_probabilities(logits, images) if tta else logits(images), masks)
        if progress:
            progress()
    return metric.confusion()


def report(confusion, class_names):
    """The figures of a confusion matrix, ready for JSON; NaN ("n/a") becomes None.

    Args:
        confusion: pixel counts `[classes, classes]`, rows the truth.
        class_names: a name for each class.

    Returns:
        A dict: the keys of `metrics.FIGURES`, "per_class" (a list of name, iou, accuracy, pixels)
        and "confusion" (nested lists).
    """
    confusion = np.asarray(confusion)
    result = figures(confusion)
    truth = confusion.sum(axis=1)
    return {
        **{name: _number(result[name]) for name in FIGURES},
        "per_class": [
            {
                "name": name,
                "iou": _number(iou),
                "accuracy": _number(confusion[i, i] / truth[i]) if truth[i] else None,
                "pixels": int(truth[i]),
            }
            for i, (name, iou) in enumerate(zip(class_names, result["iou"], strict=True))
        ],
        "confusion": confusion.tolist(),
    }


def warnings_of(report):
    """What a report gives reason to doubt, in words; an empty list if nothing."""
    confusion, found = np.array(report["confusion"]), []
    names = [entry["name"] for entry in report["per_class"]]
    if not confusion.sum():
        return ["no labelled pixel: every mask is void (255), so there are no figures."]
    absent = [entry["name"] for entry in report["per_class"] if not entry["pixels"]]
    if absent:
        found.append(f"not in these masks: {', '.join(absent)}.")
    predicted = np.flatnonzero(confusion.sum(axis=0))
    if len(predicted) == 1 and len(names) > 1:
        found.append(
            f"every pixel is predicted as {names[predicted[0]]!r}: the model is untrained, its "
            "backbone was never initialised, or it was trained on other classes."
        )
    return found


def confusion_picture(confusion, class_names):
    """The confusion matrix as an RGB picture, uint8 `[h, w, 3]`: each row in percent of its class.

    The rows of classes that are absent from the truth are grey.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    confusion = np.asarray(confusion, "float64")
    present = confusion.sum(axis=1) > 0
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    count = len(class_names)
    has_numbers = count <= 25
    side = 2 + (0.4 if has_numbers else 0.2) * count
    canvas = FigureCanvasAgg(Figure(figsize=(side, side), dpi=110, layout="constrained"))
    axes = canvas.figure.add_subplot()
    axes.set_facecolor("0.85")
    drawn = np.ma.masked_array(share, np.broadcast_to(~present[:, None], share.shape))
    image = axes.imshow(100 * drawn, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(count), class_names, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), class_names)
    axes.set(xlabel="predicted", ylabel="truth", title="% of each true class")
    if has_numbers:
        for i, j in zip(*np.nonzero(share >= 0.005), strict=True):
            axes.text(
                j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=10,
                color="white" if share[i, j] > 0.55 else "black",
            )  # fmt: skip
    else:
        canvas.figure.colorbar(image, ax=axes, shrink=0.8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _number(value):
    return None if np.isnan(value) else float(value)


def evaluate_engine(run, dataset, num_classes, progress=None):
    """The confusion matrix of an engine over a data set, as `evaluation.evaluate` gives a model's.

    Args:
        run: a function of `open_engine`.
        dataset: batches of images uint8 `[b, h, w, 3]` and masks `[b, h, w]`; 255 is ignored.
        num_classes: how many classes there are.
        progress: called with no argument after each batch, or None.

    Returns:
        int64 `[num_classes, num_classes]`; rows are the truth, columns the prediction.
    """
    confusion = np.zeros((num_classes, num_classes), "int64")
    for images, masks in dataset:
        confusion += count_pixels(np.asarray(masks), run(np.asarray(images)), num_classes)
        if progress:
            progress()
    return confusion
