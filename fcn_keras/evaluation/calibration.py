"""Chooses a constant per class, added to the class's score, that maximises the mean IU.

Cross-entropy yields correct probabilities, and the most likely class maximises the pixel accuracy.
But in the mean IU a class with few pixels counts as much as the road. So it can pay to predict a
thin pole that is not the most likely class, or not to predict a fence that is. One constant per
class achieves much of that. It becomes part of the model: the bias of its finest score layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.evaluation.batches import (
    batches_of,
    check_data,
    check_images,
    checked_batches,
    kinds_of,
    part_names,
    skips_absent,
)
from fcn_keras.labels import VOID
from fcn_keras.metrics import count_pixels, segmentation_metrics
from fcn_keras.models.saving import Loaded, segmentation_model
from fcn_keras.prediction import tiles
from fcn_keras.prediction.signature import traced
from pipelines.split import Split

PIXELS = 1_000_000  # Sample size; a pixel takes 44 bytes with 11 classes.
STEPS = (1.0, 0.5, 0.25)  # Successive step sizes of the search, in logits.
SCORES = ("score_pool3", "score_pool4", "score_fr")  # The first that exists gets the constants.


class Calibration(NamedTuple):
    """The constants `[classes]`, and the mean IU of the sampled pixels before and after."""

    offsets: np.ndarray
    before: float
    after: float


def calibrate(
    model: keras.Model | Loaded,
    dataset: Split | tf.data.Dataset,
    *,
    ignore_class: int = VOID,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Calibration:
    """Adds a constant to each class's score that maximises the mean IU on a data set.

    Warns if pixels are not 0 to 255, for example because the images were divided by 255. Use the
    training split, without augmentation. Choosing the constants on the validation split
    would make its metrics worthless.

    Args:
        model: A model of `fcn_keras.MODELS` with one image and one head; its bias is changed.
        dataset: A split from `pipelines.read`, or batches of images and masks `[b, h, w]` of known
            cardinality.
        ignore_class: Label that is ignored.
        seed: Seed for sampling the pixels, about `PIXELS` in all.
        progress: Called without arguments after each batch, or None.

    Returns:
        A `Calibration`.

    Raises:
        ConfigError: The data is neither a split nor batches, or has other classes than the model.
        ModelError: The model has several images or heads, no score layer, or a bias that does not
            shift the logits by a constant.
    """
    model = segmentation_model(model)
    check_data(dataset)
    if part_names(model):
        raise ModelError(
            f"model: {model.name} has several images or heads; only models of one are calibrated."
        )
    check_images(model)
    skip_absent = bool(skips_absent(model, dataset))
    if isinstance(dataset, Split):
        dataset, _ = batches_of(model, dataset)
    elif not isinstance(dataset, tf.data.Dataset):
        raise ConfigError(
            f"data: must be a split or a tf.data.Dataset, found {type(dataset).__name__}."
        )
    layer = _finest(model)
    _check_constant(model, layer)
    logits, labels = _sample(model, dataset, ignore_class, np.random.default_rng(seed), progress)
    offsets = best_offsets(logits, labels, skip_absent)
    _add(layer, offsets)
    before, after = (_mean_iou(z, labels, skip_absent) for z in (logits, logits + offsets))
    return Calibration(offsets, before, after)


def best_offsets(logits: np.ndarray, labels: np.ndarray, skip_absent: bool = False) -> np.ndarray:
    """Searches the constants for the logits that maximise the mean IU, one class at a time.

    Args:
        logits: `[pixels, classes]`.
        labels: Class ids `[pixels]`.
        skip_absent: As for `segmentation_metrics`.

    Returns:
        float32 `[classes]`, multiples of the last of `STEPS`. It is a local maximum, reached by
        single steps from zero.
    """
    offsets = np.zeros(logits.shape[1], "float32")
    best = _mean_iou(logits, labels, skip_absent)
    for step in STEPS:
        for number in range(len(offsets)):
            for move in (step, -step):
                while True:
                    moved = offsets.copy()
                    moved[number] += move
                    found = _mean_iou(logits + moved, labels, skip_absent)
                    if found <= best + 1e-5:  # Smaller gains are noise from single pixels.
                        break
                    best, offsets = found, moved
    return offsets


def _mean_iou(logits: np.ndarray, labels: np.ndarray, skip_absent: bool) -> float:
    if not len(labels):
        return 0.0
    # Nothing to ignore: the sample contains only labelled pixels.
    counts = count_pixels(labels, logits.argmax(axis=1), logits.shape[1], ignore_class=None)
    return segmentation_metrics(counts, skip_absent=skip_absent)["mean_iou"]


def _sample(
    model: keras.Model,
    dataset: tf.data.Dataset,
    ignore_class: int,
    rng: np.random.Generator,
    progress: Callable[[], object] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples logits and labels of labelled pixels, equally many from each batch."""
    share = -(-PIXELS // max(1, int(dataset.cardinality())))
    logits = [np.zeros((0, model.output_shape[-1]), "float32")]
    labels = [np.zeros(0, "int64")]
    for images, given in checked_batches(model, dataset):
        images, masks = cast(tf.Tensor, images), cast(np.ndarray, given)  # One image, one head.
        valid = np.flatnonzero(masks != ignore_class)
        chosen = rng.choice(valid, min(share, len(valid)), replace=False)
        logits.append(_logits_of(model, images, masks.shape, chosen))
        labels.append(masks.ravel()[chosen].astype("int64"))
        if progress:
            progress()
    return np.concatenate(logits), np.concatenate(labels)


def _logits_of(
    model: keras.Model, images: tf.Tensor, size: tuple[int, ...], chosen: np.ndarray
) -> np.ndarray:
    """Computes the logits `[n, classes]` of the `chosen` pixels of masks of `size`, (b, h, w)."""
    pixels = np.stack(np.unravel_index(chosen, size), axis=1)
    found = np.empty((len(pixels), model.output_shape[-1]), "float32")
    function = traced(model, kinds_of(images), _as_float32)
    cuts = tiles.cut_if_large(model, images.shape[1:3])
    for tile in cuts:
        logits = function(images[:, *tile.seen]).numpy()[:, *tile.inner]
        whole = tuple(images.shape[:3]) if len(cuts) > 1 else logits.shape[:3]
        if size != whole:
            raise ConfigError(
                f"data: masks must have the size of the logits, {whole}, found {size}."
            )
        places = pixels - [0, *(part.start for part in tile.kept)]
        inside = ((places >= 0) & (places < logits.shape[:3])).all(axis=1)
        found[inside] = logits[tuple(places[inside].T)]
    return found


def _as_float32(logits: tf.Tensor) -> tf.Tensor:
    return tf.cast(logits, tf.float32)


def _finest(model: keras.Model) -> keras.Layer:
    names = {layer.name for layer in model.layers}
    for name in SCORES:
        if name in names:
            return model.get_layer(name)
    raise ModelError(
        f"{model.name}: has none of the layers {', '.join(SCORES)}. Give an FCN with one image and "
        "one head."
    )


def _check_constant(model: keras.Model, layer: keras.Layer) -> None:
    """Raises an error if adding a constant to the layer's bias does not shift all logits by it."""
    image = np.random.default_rng(0).integers(0, 256, (1, 45, 67, 3)).astype("uint8")
    before, weights = model(image, training=False), layer.get_weights()
    added = 1 + np.arange(before.shape[-1], dtype="float32")
    _add(layer, added)
    after = model(image, training=False)
    layer.set_weights(weights)
    if not np.allclose(after - before, added, atol=1e-3 * len(added)):
        raise ModelError(
            f"{model.name}: its upsampling changes constants (it is learned, or fades at the "
            "edges), so a bias cannot shift the logits. Train a model with geometry: same "
            "(--geometry same)."
        )


def _add(layer: keras.Layer, offsets: np.ndarray) -> None:
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias + offsets])
