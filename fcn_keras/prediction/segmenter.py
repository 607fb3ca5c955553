"""A trained model that predicts: what `fcn_keras.load` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from fcn_keras.errors import ModelError
from fcn_keras.models import saving
from fcn_keras.prediction.predict_image import predict
from pipelines.split import distinct_palette


class Segmenter(saving.Loaded):
    """A trained model with its classes and colours.

    `predict`, `evaluate`, `export`, `calibrate` and `start_from` take it wherever they take a Keras
    model.
    """

    def predict(self, image: Any, **options: Any) -> np.ndarray | dict[str, np.ndarray]:
        """The class of every pixel: `fcn_keras.predict` with this model, and its options."""
        return predict(self.model, image, **options)

    @property
    def colours(self) -> np.ndarray | dict[str, np.ndarray]:
        """What masks are painted with: the palette, or distinct colours where there is none.

        uint8 `[classes, 3]`; of a model with several heads a dict by their names.
        """
        if self.palette is not None:
            return self.palette
        return keras.tree.map_structure(distinct_palette, self.num_classes)

    def image_names(self) -> list[str]:
        """Of a model with several images their names; else an empty list.

        Raises:
            ModelError: one of them is no RGB image, which no image file holds.
        """
        images = self.model.input
        if not isinstance(images, dict):
            return []
        for name, image in images.items():
            if image.shape[-1] != 3:
                raise ModelError(
                    f"{self.model.name}: its image {name!r} has {image.shape[-1]} channels, and "
                    "image files have 3. In a script use fcn_keras.predict with arrays."
                )
        return list(images)


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


def load_single(path: str | Path) -> Segmenter:
    """As `load`, for what has no meaning with several images or heads.

    Raises:
        ModelError: the model has several, or as in `load`.
    """
    opened = load(path)
    for several, tensors in (
        ("images", opened.model.input),
        ("maps of logits", opened.model.output),
    ):
        if isinstance(tensors, dict | list):
            names = ", ".join(map(str, tensors))
            raise ModelError(
                f"{path}: the model has {len(tensors)} {several} ({names}); this takes a model of "
                "one."
            )
    return opened
