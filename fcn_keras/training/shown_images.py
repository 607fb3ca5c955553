"""The validation images of a run that are shown as pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.prediction.predict_image import predict

SHOWN = 8  # Validation images shown as pictures,
SPREAD = 200  # chosen from the first 200, all of which are read once.
KEPT = 64_000_000  # Most pixels of all images shown: they stay in memory. One is always shown.
PICTURE = 4_000_000  # Most pixels of an image in a picture.
Shown = tuple[np.ndarray, np.ndarray, Any]  # Image, ground truth, prediction.


def chosen(data: tf.data.Dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    """Picks up to `SHOWN` images and masks, spread because neighbouring images may look alike."""
    count = min(int(data.cardinality()), SPREAD)
    shown: list[tuple[np.ndarray, np.ndarray]] = []
    pixels = 0
    for images, masks in data.take(count).shard(max(1, count // SHOWN), 0).take(SHOWN):
        pixels += int(tf.size(masks[0]))
        if shown and pixels > KEPT:
            break
        shown.append((images[0].numpy(), masks[0].numpy()))
    return shown


def predicted(model: keras.Model, examples: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[Shown]:
    """Returns image, ground truth and prediction of each example, thinned."""
    return [thinned(image, mask, predict(model, image, tile="auto")) for image, mask in examples]


def thinned(image: np.ndarray, mask: np.ndarray, prediction: np.ndarray) -> Shown:
    """Keeps every n-th row and column of an image above `PICTURE` pixels."""
    step = math.ceil(math.sqrt(mask.size / PICTURE))
    return image[::step, ::step], mask[::step, ::step], prediction[::step, ::step]
