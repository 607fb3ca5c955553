"""LiteRT files, for phones and single-board computers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.prediction.readers.litert import LABELS
from fcn_keras.serving.writers.endpoint import make_endpoint


def write(
    model: keras.Model,
    file: Path,
    checked: Path,
    precision: str,
    images: list[np.ndarray],
    labels: dict[str, str],
) -> None:
    """Writes `file`, which returns masks, and `checked`, which returns logits too."""
    _convert(make_endpoint(model, with_logits=False)[0], file, precision, images)
    if precision != "int8":  # int8 logits are not checked.
        _convert(make_endpoint(model, with_logits=True)[0], checked, precision, images)
    content = {key: json.loads(value) for key, value in labels.items()}
    file.with_suffix(LABELS).write_text(json.dumps(content) + "\n", encoding="utf-8")


def _convert(
    endpoint: tf.types.experimental.PolymorphicFunction,
    file: Path,
    precision: str,
    images: list[np.ndarray],
) -> None:
    # Input and outputs keep their names only if the conversion starts from a SavedModel.
    with tempfile.TemporaryDirectory(dir=file.parent) as saved:
        signatures = {"serving_default": endpoint.get_concrete_function()}
        tf.saved_model.save(tf.Module(), saved, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        if precision == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in images)
        file.write_bytes(converter.convert())
