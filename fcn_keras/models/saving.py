"""Loads trained models from a run's folder or a .keras file, and saves .keras files."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import yaml

from fcn_keras.distribution.devices import as_on_one_device
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.models import keras_file
from fcn_keras.outputs import path_argument, replacing
from fcn_keras.text import first_line

EXPORTED = (".onnx", ".xml", ".tflite")  # Endings of files for other engines.


@dataclass(frozen=True, eq=False)
class Loaded:
    """A trained model with its class names and colours.

    Attributes:
        model: The Keras model; of an exported file, its `prediction.exported_model.ExportedModel`.
        classes: A name per class, or None if unknown.
        palette: RGB colour per class, uint8 `[classes, 3]`, or None if unknown.
        values: The value of each class in the masks that the model was trained on, uint8
            `[classes]`; None if unknown.
    """

    model: keras.Model
    classes: tuple[str, ...] | Any  # "| Any" spares users a check for None.
    palette: np.ndarray | Any
    values: np.ndarray | Any = None

    @property
    def num_classes(self) -> int | dict[str, int]:
        """Number of classes; a dict by head if the model has several heads."""
        return keras.tree.map_structure(lambda logits: logits.shape[-1], self.model.output)


def keras_model(model: keras.Model | Loaded, name: str = "model") -> keras.Model:
    """Returns the functional Keras model of a `Loaded`; returns a Keras model unchanged.

    Args:
        model: The model.
        name: The argument's name, for the message.

    Raises:
        ConfigError: The argument is neither, or its inputs are unknown.
    """
    if isinstance(model, Loaded):
        model = model.model
        if not isinstance(model, keras.Model):
            raise ConfigError(
                f"{name}: {model.name} is an exported model, which only predict and evaluate "
                "accept. Give the run or the .keras file."
            )
    if not isinstance(model, keras.Model):
        raise ConfigError(
            f"{name}: must be a Keras model or the result of fcn_keras.load, found "
            f"{type(model).__name__}."
        )
    if isinstance(model, keras.Sequential) and model.built and not hasattr(model, "input"):
        model(model.inputs[0])  # Until its first call, it has only the lists `inputs`, `outputs`.
    if getattr(model, "inputs", None) is None or getattr(model, "outputs", None) is None:
        raise ConfigError(
            f"{name}: must be a functional Keras model, found {type(model).__name__} of unknown "
            "inputs. Pass keras.Model(image, logits), or start a Sequential model with keras.Input."
        )
    return model


def segmentation_model(model: keras.Model | Loaded, name: str = "model") -> keras.Model:
    """Returns the Keras model of a model that maps images to logits; arguments as `keras_model`.

    Raises:
        ConfigError: The argument is not such a model.
    """
    model = keras_model(model, name)
    for tensor in (*model.inputs, *model.outputs):
        if len(tensor.shape) != 4 or tensor.shape[-1] is None:
            raise ConfigError(
                f"{name}: {model.name} must map images [b, h, w, channels] to logits [b, h, w, "
                f"classes], found the shape {tuple(tensor.shape)}. Pass a segmentation model."
            )
    return model


def load(path: str | Path) -> Loaded:
    """Loads a run's best model or a model file, also one with several inputs or heads.

    Args:
        path: A run's folder or a .keras file. Class names and palette are read from the
            `config.yaml` next to the model.

    Returns:
        A `Loaded`: model, classes and palette.

    Raises:
        ModelError: The model is missing, corrupt, unsafe to load or not a segmentation model, or
            has infinite or NaN weights.
    """
    path = path_argument("path", path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        why = "the folder has no model.keras" if path.is_dir() else "no such file or folder"
        if (path / "saved_model.pb").is_file():
            why = "a SavedModel, which only predict and evaluate accept"
        raise ModelError(
            f"{path}: {why}. Choose the folder of a `fcn-keras train` run, or a .keras file."
        )
    if path.suffix in EXPORTED:
        raise ModelError(
            f"{path}: an exported model, which only predict and evaluate accept. Choose the folder "
            "of a `fcn-keras train` run, or a .keras file."
        )
    if not os.access(file, os.R_OK):
        raise ModelError(f"{file}: no permission to read it. Change the permissions.")
    keras_file.check(file)
    try:
        with keras_file.limited(file):
            model = keras.models.load_model(file, compile=False)
    except ModelError:
        raise
    except Exception as error:  # Keras lets through whatever a strange configuration causes.
        line = _cause(error)
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            raise ModelError(f"{file}: does not fit into memory ({line}).") from None
        raise ModelError(
            f"{file}: cannot be loaded ({line}). Use a model saved by fcn-keras."
        ) from None
    if not hasattr(model, "output"):
        raise ModelError(
            f"{file}: must contain a segmentation model, found a {type(model).__name__}. Choose "
            "another file."
        )
    shapes = [tuple(tensor.shape) for tensor in keras.tree.flatten(model.output)]
    for shape in shapes:
        if len(shape) != 4 or not shape[-1]:
            raise ModelError(
                f"{file}: must contain a segmentation model with logits [b, h, w, classes], found "
                f"the output {shape}. Choose another file."
            )
    check_finite(model, str(file))
    if len(shapes) > 1:
        return Loaded(model, None, None)
    return Loaded(model, *_classes(file.with_name("config.yaml"), shapes[0][-1]))


def check_finite(model: keras.Model, name: str = "") -> None:
    """Checks that all weights are finite: a model with others predicts one class everywhere.

    Args:
        model: The model.
        name: What the message names; the model's own name if empty.

    Raises:
        ModelError: Some weights are infinite or NaN.
    """
    for variable in model.variables:
        is_float = keras.backend.is_float_dtype(variable.dtype)
        if is_float and not keras.ops.all(keras.ops.isfinite(variable)):
            raise ModelError(
                f"{name or model.name}: {variable.path} has infinite or NaN values. Train again "
                "with a lower learning rate, or choose an earlier model."
            )


def save_model(model: keras.Model, path: str | Path) -> None:
    """Saves a model for inference, without its optimizer, via a temporary file.

    The file does not depend on the devices that the model was trained on.
    """
    with replacing(path, by_suffix=True) as temporary, as_on_one_device(model):
        keras.Model(model.input, model.output, name=model.name).save(temporary)


def _cause(error: Exception) -> str:
    """Returns the first line of an error; for weights that do not fit, the layer and its error."""
    found = re.search(r"Example error message for object (.+):\s+(.+)", str(error))
    return f"{found[1]}: {found[2]}"[:300] if found else first_line(error)


def _classes(path: Path, count: int) -> tuple[Any, Any, Any]:
    """Reads names, palette and mask values from `config.yaml`; all None unless of `count` classes.

    The values alone are None unless each class has its own, 0..255.
    """
    try:
        classes = yaml.safe_load(path.read_text(encoding="utf-8"))["classes"]
        names = tuple(str(entry["name"]) for entry in classes)
        palette = np.array([entry["colour"] for entry in classes], "uint8").reshape(len(names), 3)
        given = [entry.get("value") for entry in classes]
        are_bytes = all(type(value) is int and 0 <= value <= 255 for value in given)
        is_clear = are_bytes and len(set(given)) == len(given)
        values = np.array(given, "uint8") if is_clear else None
    except (
        OSError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
    ):
        return None, None, None
    return (names, palette, values) if len(names) == count else (None, None, None)
