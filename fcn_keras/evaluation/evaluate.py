"""Evaluates a model, or a file run by another engine, on a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.evaluation.batches import batches_of, check_data, check_images
from fcn_keras.evaluation.results import Evaluation, names_of
from fcn_keras.metrics import ConfusionMatrix, count_pixels
from fcn_keras.models.saving import Loaded, keras_model
from fcn_keras.prediction.signature import input_signature
from fcn_keras.prediction.test_time_augmentation import mean_probabilities
from pipelines.split import Split


def evaluate(
    model: keras.Model | Loaded,
    data: Split | Mapping[str, Split] | tf.data.Dataset,
    *,
    class_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    batch_size: int = 1,
    tta: bool = False,
    progress: Callable[[], object] | None = None,
) -> Evaluation | Any:  # A dict only of models with several heads.
    """Measures a model on a data set.

    Args:
        model: A model, images uint8 `[b, h, w, 3]` -> logits `[b, h, w, classes]`, or the result of
            `load`. With several images or heads, it takes and returns dicts by name.
        data: A split from `pipelines.read`, or batches of images and masks `[b, h, w]`; 255 is
            ignored. For several images or heads, a dict of splits of the same examples by their
            names, or the result of `pipelines.joint_dataset`.
        class_names: A name for each class; a dict for several heads. By default the names of the
            split or the loaded model.
        batch_size: Images per batch, if `data` is a split; only images of equal size share a batch.
        tta: Test-time augmentation, as in `predict`.
        progress: Called without arguments after each batch.

    Returns:
        An `Evaluation`; a dict of them, by head, if the model has several heads.

    Raises:
        ConfigError: `model` is not a model, `data` is a name instead of a split, or the splits do
            not fit the model's images, heads or classes.
    """
    net = keras_model(model)
    check_data(data)
    for what, tensors in (("images", net.input), ("outputs", net.output)):
        if isinstance(tensors, list | tuple):
            raise ConfigError(
                f"model: {net.name} has a list of {len(tensors)} {what}. Name them with dicts: "
                "keras.Model({'left': ..., 'right': ...}, {'semantic': ..., 'geometric': ...})."
            )
    check_images(net)
    if isinstance(data, Split | Mapping):
        data, names = batches_of(net, data, batch_size)
        class_names = class_names or names
    if isinstance(model, Loaded):
        class_names = class_names or model.classes
    matrices = _confusion(net, data, tta, progress)
    if isinstance(matrices, dict):
        by_head = class_names if isinstance(class_names, Mapping) else {}
        return {head: _result(found, by_head.get(head)) for head, found in matrices.items()}
    if isinstance(class_names, Mapping):
        raise ConfigError("class_names: the model has one head. Give a list of names, not a dict.")
    return _result(matrices, class_names)


def _confusion(
    net: keras.Model,
    data: tf.data.Dataset,
    tta: bool,
    progress: Callable[[], object] | None,
) -> np.ndarray | dict[str, np.ndarray]:
    """Computes the confusion matrix `[classes, classes]`; a dict for several heads."""
    maps = net.output
    metrics = keras.tree.map_structure(lambda x: ConfusionMatrix(x.shape[-1]), maps)
    like_logits = keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, tf.float32), maps)
    like_masks = keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape[:3], tf.uint8), maps)

    @tf.function(input_signature=[input_signature(net)])
    def logits(images: tf.Tensor) -> tf.Tensor:
        return keras.tree.map_structure(
            lambda x: tf.cast(x, tf.float32), net(images, training=False)
        )

    @tf.function(input_signature=[like_logits, like_masks])
    def count(scores: tf.Tensor, masks: tf.Tensor) -> None:
        keras.tree.map_structure(lambda m, y, x: m.update_state(y, x), metrics, masks, scores)

    for images, masks in data:
        count(mean_probabilities(logits, images) if tta else logits(images), masks)
        if progress:
            progress()
    return keras.tree.map_structure(lambda metric: metric.confusion(), metrics)


def _result(confusion: np.ndarray, class_names: Sequence[str] | None) -> Evaluation:
    if class_names is not None and len(class_names) != len(confusion):
        raise ConfigError(
            f"class_names: must have a name for each of the {len(confusion)} classes, found "
            f"{len(class_names)}."
        )
    return Evaluation(confusion, names_of(len(confusion), class_names))


def evaluate_engine(
    run: Callable[[np.ndarray], np.ndarray],
    data: tf.data.Dataset,
    class_names: Sequence[str],
    progress: Callable[[], object] | None = None,
) -> Evaluation:
    """Measures a model file that another engine runs, like `evaluate`.

    Args:
        run: A function from `open_engine`: images -> masks.
        data: Batches of images uint8 `[b, h, w, 3]` and masks `[b, h, w]`; 255 is ignored.
        class_names: A name for each class.
        progress: Called without arguments after each batch.
    """
    count = len(class_names)
    confusion = np.zeros((count, count), "int64")
    for images, masks in data:
        confusion += count_pixels(np.asarray(masks), run(np.asarray(images)), count)
        if progress:
            progress()
    return Evaluation(confusion, tuple(class_names))
