"""The validation images of a run that are shown as pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.prediction.predict_image import predict

SHOWN = 8  # Images,
SPREAD = 200  # chosen from the first 200, all of which are read once before the first step.
Shown = tuple[np.ndarray, np.ndarray, Any]  # Image, ground truth, prediction.


def spread(data: tf.data.Dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    """Picks up to `SHOWN` images and masks, spread because neighbouring images may look alike."""
    count = min(int(data.cardinality()), SPREAD)
    some = data.take(count).shard(max(1, count // SHOWN), 0).take(SHOWN)
    return [(images[0].numpy(), masks[0].numpy()) for images, masks in some]


def predicted(model: keras.Model, examples: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[Shown]:
    """Returns image, ground truth and prediction of each example."""
    return [(image, mask, predict(model, image)) for image, mask in examples]
