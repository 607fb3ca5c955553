"""Opens a trained model, a run's folder or a .keras file of its own, and writes such a file."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import yaml

from fcn_keras.distribution.devices import as_on_one_device
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.outputs import replacing
from fcn_keras.text import first_line


@dataclass(frozen=True, eq=False)
class Loaded:
    """A trained model, and what its classes are called.

    Attributes:
        model: the Keras model.
        classes: a name for each class, or None if unknown.
        palette: uint8 `[classes, 3]`, an RGB colour for each class, or None if unknown.
    """

    model: keras.Model
    classes: tuple[str, ...] | None
    palette: np.ndarray | None

    @property
    def num_classes(self) -> int | dict[str, int]:
        """Channels of the logits; of a net with several heads a dict by their names."""
        return keras.tree.map_structure(lambda logits: logits.shape[-1], self.model.output)


def keras_model(model: keras.Model | Loaded) -> keras.Model:
    """The Keras model of what `load` gave; a Keras model as it is.

    Raises:
        ConfigError: it is neither.
    """
    model = model.model if isinstance(model, Loaded) else model
    if not isinstance(model, keras.Model):
        raise ConfigError(
            f"model: must be a Keras model, or what fcn_keras.load gave, found "
            f"{type(model).__name__}."
        )
    return model


def load(path: str | Path) -> Loaded:
    """Loads a run's best model, or a model file; also one of several images or heads.

    Args:
        path: a run's folder, or a .keras file; class names and palette come from the
            `config.yaml` beside the model.

    Returns:
        A `Loaded`: model, classes, palette.

    Raises:
        ModelError: there is no such model, it is corrupt, it is refused, or it is no segmenter.
    """
    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        why = "a run's folder holds model.keras" if path.is_dir() else "no such file or folder"
        if (path / "saved_model.pb").is_file():
            why = "is a SavedModel, which no command reads"
        raise ModelError(
            f"{path}: {why}. Give a folder that `fcn-keras train` made, or a .keras file."
        )
    if not os.access(file, os.R_OK):
        raise ModelError(f"{file}: no permission to read it. Change that.")
    if not zipfile.is_zipfile(file):
        raise ModelError(
            f"{file}: corrupt, or not a .keras file (a .keras file is a zip archive, complete to "
            "its end). Copy it again, or train again."
        )
    try:
        model = keras.models.load_model(file, compile=False)
    except (TypeError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        line = first_line(error)
        if isinstance(error, zipfile.BadZipFile):
            raise ModelError(f"{file}: corrupt ({line}). Copy it again, or train again.") from None
        raise ModelError(f"{file}: cannot be loaded ({line}).") from None
    if not hasattr(model, "output"):
        raise ModelError(f"{file}: holds a {type(model).__name__}: not a segmenter.")
    shapes = [tuple(tensor.shape) for tensor in keras.tree.flatten(model.output)]
    for shape in shapes:
        if len(shape) != 4 or not shape[-1]:
            raise ModelError(
                f"{file}: its output is {shape}, not logits [b, h, w, classes]: not a segmenter."
            )
    if len(shapes) > 1:
        return Loaded(model, None, None)
    return Loaded(model, *_classes(file.with_name("config.yaml"), shapes[0][-1]))


def save_model(model: keras.Model, path: str | Path) -> None:
    """Saves a model for inference, without optimizer, by way of a temporary file.

    It is the same file whatever the devices that the model was trained on.
    """
    with replacing(path, by_suffix=True) as temporary, as_on_one_device(model):
        keras.Model(model.input, model.output, name=model.name).save(temporary)


def _classes(path: Path, count: int) -> tuple[tuple[str, ...], np.ndarray] | tuple[None, None]:
    """Names and palette from a run's configuration; (None, None) if it is none, or another's."""
    try:
        classes = yaml.safe_load(path.read_text(encoding="utf-8"))["classes"]
        names = tuple(str(entry["name"]) for entry in classes)
        palette = np.array([entry["colour"] for entry in classes], "uint8").reshape(len(names), 3)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, OverflowError):
        return None, None
    return (names, palette) if len(names) == count else (None, None)
