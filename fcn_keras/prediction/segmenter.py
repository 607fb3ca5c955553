"""A trained model that predicts: what `fcn_keras.load` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fcn_keras.models import saving
from fcn_keras.prediction.predict_image import predict


class Segmenter(saving.Loaded):
    """A trained model with its classes and colours.

    `predict`, `evaluate`, `export`, `calibrate` and `start_from` take it wherever they take a Keras
    model.
    """

    def predict(self, image: Any, **options: Any) -> np.ndarray | dict[str, np.ndarray]:
        """The class of every pixel: `fcn_keras.predict` with this model, and its options."""
        return predict(self.model, image, **options)


def load(path: str | Path) -> Segmenter:
    """Loads a run's best model, or a model file; also one of several images or heads.

    Args:
        path: a run's folder, or a .keras file; class names and palette come from the
            `config.yaml` beside the model.

    Returns:
        A `Segmenter`: `.predict(image)`, `.model`, `.classes` and `.palette`.

    Raises:
        ModelError: there is no such model, it is corrupt, it is refused, or it is no segmenter.
    """
    return Segmenter(**vars(saving.load(path)))
