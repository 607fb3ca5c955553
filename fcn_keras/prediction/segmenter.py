"""A trained model with its classes and colours, as returned by `fcn_keras.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from fcn_keras.errors import ModelError
from fcn_keras.models import saving
from fcn_keras.outputs import path_argument
from fcn_keras.prediction.exported_model import exported_at, open_exported
from fcn_keras.prediction.pictures import Look
from fcn_keras.prediction.predict_image import predict
from pipelines.split import distinct_palette

UNKNOWN = 256  # Colours for a file that has lost its number of classes.


class Segmenter(saving.Loaded):
    """A trained model with its classes and colours.

    `predict`, `evaluate`, `export`, `calibrate` and `start_from` accept it in place of a Keras
    model; the last three only if it comes from a run or a .keras file.
    """

    def predict(self, image: Any, **options: Any) -> np.ndarray | Any:
        """Predicts the class of every pixel, with `fcn_keras.predict` and its options."""
        return predict(self, image, **options)

    @property
    def colours(self) -> np.ndarray | dict[str, np.ndarray]:
        """The colours for masks: the palette, or distinct colours if it is None.

        uint8 `[classes, 3]`; for a model of several heads a dict of them by head.
        """
        if self.palette is not None:
            return self.palette
        return keras.tree.map_structure(
            lambda logits: distinct_palette(logits.shape[-1] or UNKNOWN), self.model.output
        )

    def looks(self, *, values: bool = False) -> Look | dict[str, Look]:
        """Returns how masks are stored and shown; by head if the model has several.

        Args:
            values: Store the mask values of the training data in place of class ids.
        """
        colours = self.colours
        if isinstance(colours, dict):
            return {head: Look(palette) for head, palette in colours.items()}
        names = [name.strip("_").lower() for name in self.classes or ()]
        background = names.index("background") if "background" in names else None
        return Look(colours, background, self.values if values else None)

    def image_names(self) -> list[str]:
        """Returns the names of a model's images if it has several; else an empty list.

        Raises:
            ModelError: An image is not RGB, so it cannot come from an image file.
        """
        images = self.model.input
        if not isinstance(images, dict):
            return []
        for name, image in images.items():
            if image.shape[-1] != 3:
                raise ModelError(
                    f"{self.model.name}: its image {name!r} has {image.shape[-1]} channels, but "
                    "image files have 3. Call fcn_keras.predict with arrays in a script."
                )
        return list(images)


def load(path: str | Path) -> Segmenter:
    """Loads a run's best model, or a model file; several images or heads are supported.

    Args:
        path: A run's folder or a .keras file, whose class names and palette come from the
            `config.yaml` beside the model. Or what `export` wrote, which only `predict` and
            `evaluate` accept: a .onnx, .xml or .tflite file, a version folder of a SavedModel, or
            the folder of its versions, of which the highest is taken.

    Returns:
        A `Segmenter`: `.predict(image)`, `.model`, `.classes` and `.palette`. Its `.model` is a
        Keras model; of an exported model, an `ExportedModel`.

    Raises:
        ConfigError: The engine of an exported file is not installed.
        ModelError: The model is missing, corrupt, refused, or not a segmentation model.
    """
    path = path_argument("path", path)
    found = exported_at(path)
    if found is None:
        _check_is_model(path)
        return Segmenter(**vars(saving.load(path)))
    model = open_exported(found)
    facts = model.facts
    return Segmenter(model, facts.class_names, facts.palette, facts.values)


def _check_is_model(path: Path) -> None:
    """Refuses folders without a model, and files that are only a part of an exported one."""
    if path.is_dir() and not Path(path, "model.keras").exists():
        raise ModelError(
            f"{path}: the folder has no model.keras, and no saved_model.pb in it or in a version "
            "folder such as 1. Choose the folder of a `fcn-keras train` run, a .keras file or what "
            "`fcn-keras export` wrote."
        )
    if path.name == "saved_model.pb":
        raise ModelError(f"{path}: is a part of a SavedModel. Give the folder {path.parent}.")
    graph = path.with_suffix(".xml")
    if path.suffix == ".bin" and path.is_file() and graph.is_file():
        raise ModelError(f"{path}: holds only the weights of an OpenVINO model. Give {graph}.")


def load_single(path: str | Path) -> Segmenter:
    """Loads a model like `load`, but refuses models of several images or heads.

    Raises:
        ModelError: The model has several images or heads, or as in `load`.
    """
    opened = load(path)
    for several, tensors in (
        ("images", opened.model.input),
        ("maps of logits", opened.model.output),
    ):
        if isinstance(tensors, dict | list):
            names = ", ".join(map(str, tensors))
            raise ModelError(
                f"{path}: the model has {len(tensors)} {several} ({names}), but only one is "
                "supported here. Use a model with one."
            )
    return opened
