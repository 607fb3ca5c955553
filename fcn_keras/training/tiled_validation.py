"""Validation in tiles: `fit` and `evaluate` get the loss and metrics of whole images.

Keras sees one image per step as before, so progress, callbacks and the sharing of images among
machines do not change. Within a step the model sees one tile at a time. The counts of the confusion
matrix and the sums of the loss are added up over the tiles, and divided at the end.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.labels import VOID
from fcn_keras.losses import MaskedCrossentropy
from fcn_keras.metrics import ConfusionMatrix
from fcn_keras.prediction import tiles


def validate_in_tiles(
    model: keras.Model, loss: MaskedCrossentropy, metric: ConfusionMatrix
) -> None:
    """Lets the model's validation see images above `tiles.AUTO_PIXELS` in tiles.

    Does nothing if the model's geometry is unknown; it then sees them whole.

    Args:
        model: A compiled model of one image and one head.
        loss: The loss that it was compiled with.
        metric: The only metric that it was compiled with.
    """
    if not tiles.is_possible(model):
        return

    def table(size: np.ndarray) -> np.ndarray:
        height, width = size.tolist()
        cuts = tiles.cut_if_large(model, (height, width))
        return np.array([_ends(tile) for tile in cuts], "int32")

    def test_step(batch: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        if len(batch) > 2:  # With sample weights.
            return type(model).test_step(model, batch)
        images, masks = batch
        size = tf.shape(images)[1:3]
        rule = "masks: must have the size of the images"
        tf.debugging.assert_equal(tf.shape(masks)[1:3], size, rule)

        def added(
            found: tuple[tf.Tensor, tf.Tensor], ends: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            seen, kept, inner = tf.unstack(tf.reshape(ends, (3, 2, 2)))
            logits = _part(model(_part(images, seen), training=False), inner)
            truth = _part(masks, kept)
            return found[0] + loss.sums(truth, logits), found[1] + metric.counts(truth, logits)

        cuts = tf.numpy_function(table, [size], tf.int32)
        none = tf.zeros(2), tf.zeros(metric.matrix.shape, tf.int64)
        sums, counts = tf.foldl(added, tf.ensure_shape(cuts, (None, 12)), none, 1)
        tracker = next(one for one in model.metrics if one.name == "loss")
        tracker.update_state(loss.of_sums(sums), sample_weight=tf.shape(images)[0])
        metric.matrix.assign_add(counts)
        # A void pixel: Keras creates its containers of metrics when it first updates them.
        void = tf.fill((1, 1, 1), tf.constant(VOID, masks.dtype))
        return model.compute_metrics(images, void, tf.zeros((1, 1, 1, metric.num_classes)))

    model.test_step = test_step


def _ends(tile: tiles.Tile) -> list[int]:
    """Returns the 12 ends of a tile's slices."""
    return [end for part in tile for axis in part for end in (axis.start, axis.stop)]


def _part(maps: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Cuts `[[top, bottom], [left, right]]` out of images or masks `[b, h, w, ...]`."""
    (top, bottom), (left, right) = (tf.unstack(axis) for axis in tf.unstack(ends))
    return maps[:, top:bottom, left:right]
