"""A model, or a file that another engine runs, on a data set: its `Evaluation`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.evaluation.results import Evaluation, names_of
from fcn_keras.metrics import ConfusionMatrix, count_pixels
from fcn_keras.models.saving import Loaded, keras_model
from fcn_keras.prediction.test_time_augmentation import mean_probabilities
from pipelines.split import Split


def evaluate(
    model: keras.Model | Loaded,
    data: Split | tf.data.Dataset,
    *,
    class_names: Sequence[str] | None = None,
    batch_size: int = 1,
    tta: bool = False,
    progress: Callable[[], object] | None = None,
) -> Evaluation:
    """Measures a model on a data set.

    Args:
        model: images uint8 `[b, h, w, 3]` -> logits `[b, h, w, classes]`, or what `load` gave.
        data: what `pipelines.read` gave, or batches of images and masks `[b, h, w]`; 255 is
            ignored.
        class_names: a name for each class; by default those of the split or the loaded model.
        batch_size: of a split, images of one size that go through the model together.
        tta: test-time augmentation, as in `predict`.
        progress: called with no argument after each batch.

    Returns:
        An `Evaluation`.
    """
    if isinstance(data, Split):
        from pipelines.batches.tf_datasets import eval_dataset

        class_names = class_names or data.class_names
        data = eval_dataset(data, batch_size=batch_size)
    if isinstance(model, Loaded):
        class_names = class_names or model.classes
    net = keras_model(model)
    num_classes = net.output_shape[-1]
    metric = ConfusionMatrix(num_classes)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def logits(images):
        return tf.cast(net(images, training=False), tf.float32)

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, None, num_classes), tf.float32),
            tf.TensorSpec((None, None, None), tf.uint8),
        ]
    )
    def count(scores, masks):
        metric.update_state(masks, scores)

    for images, masks in data:
        count(mean_probabilities(logits, images) if tta else logits(images), masks)
        if progress:
            progress()
    return Evaluation(metric.confusion(), names_of(num_classes, class_names))


def evaluate_engine(
    run: Callable[[np.ndarray], np.ndarray],
    data: tf.data.Dataset,
    class_names: Sequence[str],
    progress: Callable[[], object] | None = None,
) -> Evaluation:
    """Measures a file of another engine, as `evaluate` measures a model.

    Args:
        run: a function of `open_engine`: images -> masks.
        data: batches of images uint8 `[b, h, w, 3]` and masks `[b, h, w]`; 255 is ignored.
        class_names: a name for each class.
        progress: called with no argument after each batch.
    """
    count = len(class_names)
    confusion = np.zeros((count, count), "int64")
    for images, masks in data:
        confusion += count_pixels(np.asarray(masks), run(np.asarray(images)), count)
        if progress:
            progress()
    return Evaluation(confusion, tuple(class_names))
