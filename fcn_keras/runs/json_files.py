"""Reads the JSON files in a run's folder, and checks that their values have the right types."""

from __future__ import annotations

import json
from pathlib import Path
from reprlib import repr as short
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=0, lt=2**63)]


class _File(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class ClassMetrics(_File):
    """One class in `metrics.json`."""

    name: str
    iou: float | None
    accuracy: float | None
    pixels: Count


class Metrics(_File):
    """`metrics.json`."""

    pixel_accuracy: float | None
    mean_accuracy: float | None
    mean_iou: float | None
    frequency_weighted_iou: float | None
    per_class: list[ClassMetrics]
    confusion: list[list[Count]]
    epoch: int | None = None
    skip_absent: bool = False
    mean_iou_absent_counted: float | None = None
    mean_iou_absent_skipped: float | None = None
    val_loss: float | None = None
    weights_sha256: str | None = None


class Fingerprint(_File):
    """One split in `data.json`."""

    name: str
    classes: list[str]
    pixels: list[Count]
    examples: dict[str, list[str]]


class Data(_File):
    """`data.json`."""

    train: Fingerprint | None = None
    val: Fingerprint | None = None


class Start(_File):
    """One start of the run in `environment.json`."""

    command: str | None = None
    started: str | None = None
    versions: dict[str, str] = {}
    platform: str | None = None
    processor: str | None = None
    cores: int | None = None
    gpus: list[str] = []
    epochs: int | None = None
    steps: int | None = None


class Environment(_File):
    """`environment.json`."""

    starts: list[Start]


def read_json(path: Path, kind: type[BaseModel]) -> dict[str, Any]:
    """Reads a JSON file.

    Args:
        path: The file.
        kind: What it must contain; it may contain more.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not JSON, or a value is missing or has another type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind.model_validate(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = "".join(f"{part}: " for part in fault["loc"])
        raise ValueError(f"{where}{fault['msg']}, found {short(fault['input'])}") from None
    return content
