"""Reads the files in a run's folder; missing or damaged files become notes."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from fcn_keras.errors import ConfigError
from fcn_keras.runs.json_files import Data, Environment, Metrics, read_json


@dataclass
class Run:
    """The content of a run's folder.

    Attributes:
        name: Name shown in the report.
        folder: Path of the folder.
        options: The configuration, by option.
        classes: Name and colour of each class.
        starts: The entries of `environment.json`, one per start of the run.
        data: Fingerprints in `data.json`, by split.
        history: One dict of numbers per finished epoch; None for missing values.
        metrics: The content of `metrics.json`, or None.
        images: Name, mean IU and picture of each validation image, measured with the best model.
        notes: What is missing or unreadable.
    """

    name: str
    folder: Path
    options: dict[str, Any]
    classes: list[dict[str, str]]
    starts: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] | None = None
    images: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def epochs(self) -> int | None:
        """The planned number of epochs; None if unknown."""
        planned = self.starts[-1].get("epochs") if self.starts else None
        if planned is None and self.options.get("iterations") is None:
            planned = self.options.get("epochs")
        return planned

    @property
    def is_finished(self) -> bool:
        """Whether the run is finished, or the planned number of epochs is unknown."""
        is_marked = (self.folder / "finished.json").exists()
        return is_marked or self.epochs is None or self.done >= self.epochs

    @property
    def done(self) -> int:
        """The number of the last finished epoch."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    @property
    def weights(self) -> str | None:
        """The hash of the best model's weights; None if unknown."""
        return (self.metrics or {}).get("weights_sha256")

    @property
    def state(self) -> str:
        """A hash that changes with the best model, the end of training, and what is measured."""
        end = self.folder / "finished.json"
        parts = [self.weights, end.exists(), bool(self.images)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def validated_on(self) -> str | None:
        """A hash of the validation split; None if unknown."""
        return digest(self.data["val"]) if "val" in self.data else None


def read(folder: Path) -> Run:
    """Reads the run in a folder.

    Raises:
        ConfigError: The folder is not a run, or its configuration cannot be read.
    """
    options, classes = _config(folder)
    name = str(folder if folder.name else folder.absolute())
    run = Run(name, folder, options, classes)
    run.starts = (_json(run, "environment.json", Environment) or {}).get("starts", [])
    data = _json(run, "data.json", Data) or {}
    run.data = {split: held for split, held in data.items() if isinstance(held, dict)}
    run.history = _history(folder / "history.csv")
    if not run.history:
        run.notes.append("no curves: no epoch has finished yet.")
    elif not run.is_finished:
        run.notes.append(
            f"not finished: {run.done} of {run.epochs} epochs are done. To resume: "
            f"fcn-keras train --resume {folder}"
        )
    run.metrics = _metrics(run)
    if run.metrics is None:
        run.notes.append("no metrics: the run has not been validated yet.")
    run.images = _images(run)
    return run


def _config(folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    path = folder / "config.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        classes = [
            {"name": str(entry["name"]), "colour": "#{:02x}{:02x}{:02x}".format(*entry["colour"])}
            for entry in content["classes"]
        ]
        return dict(content["options"]), classes
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{folder}: not a run: config.yaml is missing. Give a folder that `fcn-keras train` "
            "made."
        ) from None
    except (
        OSError,
        UnicodeDecodeError,
        yaml.YAMLError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{path}: not the configuration of a run ({type(error).__name__}: {reason}). Give a "
            "folder that `fcn-keras train` made."
        ) from None


def _json(run: Run, name: str, kind: type[BaseModel]) -> dict[str, Any] | None:
    """Reads a dict from a JSON file; None if it is missing or unreadable (which adds a note)."""
    try:
        return read_json(run.folder / name, kind)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        run.notes.append(f"{name} cannot be read: {error}")
        return None


def _metrics(run: Run) -> dict[str, Any] | None:
    metrics = _json(run, "metrics.json", Metrics)
    if metrics is None:
        return None
    count = len(run.classes)
    lengths = {
        len(metrics["per_class"]),
        len(metrics["confusion"]),
        *map(len, metrics["confusion"]),
    }
    if lengths != {count}:
        run.notes.append(f"metrics.json has no metrics for {count} classes.")
        return None
    return metrics


def _images(run: Run) -> list[dict[str, Any]]:
    """Reads `validation.csv`, if it is of the best model."""
    rows = _csv(run.folder / "validation.csv")
    how = "at the end of training, or by `fcn-keras report --pictures`, which needs the data."
    if not rows:
        run.notes.append(f"no pictures: validation images are measured {how}")
        return []
    if run.weights and rows[0].get("model") != run.weights:
        run.notes.append(
            f"no pictures: an earlier model was measured. Validation images are measured {how}"
        )
        return []
    return [{**row, "mean_iou": _number(row.get("mean_iou"))} for row in rows]


def _history(path: Path) -> list[dict[str, Any]]:
    """Reads the numbers per epoch; for an epoch repeated after a resume, the later ones."""
    epochs: dict[float, dict[str, Any]] = {}
    for row in _csv(path):
        numbers = {name: _number(text) for name, text in row.items() if name is not None}
        if epoch := numbers.get("epoch"):  # The last line may be incomplete.
            epochs[epoch] = numbers
    return [epochs[epoch] for epoch in sorted(epochs)]


def _csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error):
        return []


def _number(text: Any) -> float | None:
    """Parses a finite number below 1e300; None for anything else."""
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1e300 else None  # Charts add and divide.


def digest(fingerprint: dict[str, Any]) -> str:
    """Hashes a split's content; the hash does not depend on its folder."""
    return hashlib.sha256(json.dumps(fingerprint).encode()).hexdigest()
