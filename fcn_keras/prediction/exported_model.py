"""Opens what `fcn-keras export` wrote, so that `predict` and `evaluate` take it like a Keras model.

A SavedModel returns masks and logits, for any number of images and heads; an engine's file takes
one RGB image and returns masks alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError, FcnKerasError, ModelError
from fcn_keras.geometry.tiling import Tiling
from fcn_keras.prediction.engines import ENGINES, is_engine_file, open_file
from fcn_keras.prediction.facts import Facts
from fcn_keras.prediction.readers import savedmodel
from fcn_keras.text import first_line

MASKS, LOGITS = "serving_default", "logits"  # Signatures of a SavedModel.
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}  # OpenVINO's names.
REFUSAL = re.compile(r"assertion failed: \[(.*)\]")  # How a signature refuses a request.

Run = Callable[[Any], Any]  # Images -> masks or logits; NumPy, each a dict if there are several.


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """A model that its engine computes: a `prediction.net.Net`.

    Attributes:
        path: The version folder of a SavedModel, or the engine's file.
        input: The images, as a `keras.KerasTensor` `[b, h, w, c]` or a dict of them.
        output: The logits `[b, h, w, classes]`, likewise; None classes if the number is unknown.
        facts: What the export says of itself.
        masks_of: Computes class ids.
        logits_of: Computes logits; None if the engine returns only masks.
    """

    path: Path
    input: Any
    output: Any
    facts: Facts
    masks_of: Run
    logits_of: Run | None = None
    needs_one_size: bool = False  # A SavedModel checks it itself.

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def masks(self, images: Any) -> Any:
        """Computes class ids `[b, h, w]` of images `[b, h, w, c]`; dicts if there are several.

        Raises:
            ConfigError: The images are not uint8 where the export takes that, or it refuses them,
                for example because they have more pixels than its limit.
            ModelError: The engine fails.
        """
        return self._computed(self.masks_of, images)

    def logits(self, images: Any) -> Any:
        """Computes logits `[b, h, w, classes]`; the rest as for `masks`."""
        self.check_logits()
        return self._computed(self.logits_of, images)

    def check_logits(self) -> None:
        """Raises a `ConfigError` if there are no logits."""
        if self.logits_of is None:
            raise ConfigError(
                f"tta (--tta): needs probabilities, but {self.path} returns only masks. Leave it "
                "out, or use the run, the .keras file or a SavedModel."
            )

    def tiling(self) -> Tiling:
        """Returns the geometry for tiles; raises a `ModelError` if the export does not say it."""
        if self.facts.tiling is None:
            raise ModelError(
                f"tile: {self.path} does not say how far a pixel sees: an earlier version exported "
                "it, or the model has several images or heads, or sees the whole image. Leave tile "
                "out (--tile none), or export the model again."
            )
        return self.facts.tiling

    def in_precision(self, precision: str) -> ExportedModel:
        """Returns the same model in another precision, "float32" or "bfloat16".

        Raises:
            ConfigError: The engine cannot choose it.
        """
        self.check_precision(precision)
        return open_exported(self.path, PRECISIONS[precision])

    def check_precision(self, precision: str) -> None:
        """Raises a `ConfigError` if the engine cannot choose the precision."""
        if self.path.suffix != ENGINES["openvino"].ending or precision not in PRECISIONS:
            raise ConfigError(
                f"precision={precision!r} (--precision): {self.path} computes in the precision of "
                f"its export; only OpenVINO files (.xml) take {' or '.join(PRECISIONS)}. Leave it "
                "out."
            )

    def _computed(self, run: Run | None, images: Any) -> Any:
        given = keras.tree.map_structure(self._as_expected, images, self.input)
        try:
            return run(given)  # type: ignore[misc]  # `check_logits` has refused None.
        except (FcnKerasError, MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except Exception as error:  # Each engine has its own kinds of errors.
            text = getattr(error, "message", "")
            if refused := REFUSAL.search(text):
                fix = " Export with a higher --max-pixels." if "at most" in text else ""
                raise ConfigError(f"{self.path}: refuses an image: {refused[1]}{fix}") from None
            sizes = " and ".join(str(image.shape) for image in keras.tree.flatten(given))
            raise ModelError(
                f"{self.path}: its engine cannot compute images of shape {sizes} "
                f"({first_line(error)})."
            ) from error

    def _as_expected(self, image: Any, expected: keras.KerasTensor) -> np.ndarray:
        pixels = np.asarray(image)
        if expected.dtype == "uint8" and pixels.dtype != np.uint8:
            raise ConfigError(
                f"image: {self.path} takes pixels of uint8, found {pixels.dtype}. Round the image "
                "to uint8, 0..255."
            )
        return np.ascontiguousarray(pixels, expected.dtype)


def exported_at(path: Path) -> Path | None:
    """Returns the exported model at a path; None if there is none.

    Args:
        path: A file for another engine, a version folder of a SavedModel, or the folder of its
            versions, of which the highest is taken.
    """
    if is_engine_file(path):
        return path
    if Path(path, "model.keras").exists():  # A run.
        return None
    if Path(path, "saved_model.pb").is_file():
        return path
    if not path.is_dir():
        return None
    versions = [one for one in path.iterdir() if one.name.isascii() and one.name.isdecimal()]
    complete = [one for one in versions if Path(one, "saved_model.pb").is_file()]
    return max(complete, key=lambda version: int(version.name), default=None)


def open_exported(path: Path, precision: str | None = None) -> ExportedModel:
    """Opens an exported model.

    Args:
        path: The result of `exported_at`.
        precision: As in `open_engine`.

    Raises:
        ConfigError: The engine is not installed.
        ModelError: The model is damaged, or was not written by `fcn-keras export`.
    """
    return _open_savedmodel(path) if path.is_dir() else _open_file(path, precision)


def _open_file(path: Path, precision: str | None) -> ExportedModel:
    opened = open_file(path, precision)
    facts = Facts.from_json(opened.stored)
    classes = facts.num_classes
    return ExportedModel(
        path,
        _tensor("image", "uint8", 3),
        _tensor("logits", "float32", classes),
        facts,
        lambda images: opened.run(images)["mask"],
    )


def _open_savedmodel(path: Path) -> ExportedModel:
    try:
        opened = savedmodel.SavedModel(path)
    except Exception as error:  # Protocol buffers and TensorFlow have many kinds of errors.
        raise ModelError(
            f"{path}: cannot be opened ({first_line(error)}). Copy it again, or export the model "
            "again."
        ) from None
    heads = _heads(path, opened.signatures)
    images, logits = opened.signatures[LOGITS]
    is_single = heads == [""]
    count = logits["logits"].shape[-1] if is_single else None
    facts = Facts.from_json({**savedmodel.stored(path), "num_classes": count})
    known = facts.images or ()
    order = known if sorted(known) == sorted(images) else tuple(images)

    def run(signature: str, kind: str) -> Run:
        def computed(given: Any) -> Any:
            named = given if isinstance(given, dict) else {order[0]: given}
            found = opened.run(signature, **named)
            return found[kind] if is_single else {head: found[f"{kind}_{head}"] for head in heads}

        return computed

    specs = {name: _tensor(name, images[name].dtype.name, images[name].shape[-1]) for name in order}
    outputs = {
        head: _tensor(f"logits_{head}", "float32", logits[name].shape[-1])
        for head, name in zip(heads, logits, strict=True)
    }
    return ExportedModel(
        path,
        specs if len(specs) > 1 else specs[order[0]],
        outputs[""] if is_single else outputs,
        facts,
        run(MASKS, "mask"),
        run(LOGITS, "logits"),
    )


def _heads(path: Path, signatures: Mapping[str, savedmodel.SignatureSpecs]) -> list[str]:
    """Returns the names of a SavedModel's heads, "" for a single one; refuses foreign models."""
    images, logits = signatures.get(LOGITS, ({}, {}))
    takes, masks = signatures.get(MASKS, ({}, {}))
    heads = [name.removeprefix("logits").removeprefix("_") for name in logits]
    named = {f"mask_{head}" if head else "mask" for head in heads}
    are_maps = all(_is_map(spec) for spec in (*images.values(), *logits.values()))
    if not images or not are_maps or takes != images or set(masks) != named:
        raise ModelError(
            f"{path}: must have the signatures {MASKS} and {LOGITS} that `fcn-keras export` "
            f"writes, found {', '.join(sorted(signatures)) or 'none'}. Export the model with "
            "fcn-keras."
        )
    return heads


def _is_map(spec: tf.TensorSpec) -> bool:
    return spec.shape.rank == 4 and spec.shape[-1] is not None


def _tensor(name: str, dtype: str, channels: int | None) -> keras.KerasTensor:
    return keras.KerasTensor((None, None, None, channels), dtype, name=name)
