"""A run's folder: its files, its configuration, and whether the run is started or finished.

RUN/model.keras    model of the epoch with the best validation mean IU
RUN/config.yaml    all options that determine the result, and the class names and colours
RUN/data.json      fingerprints of the data, to detect changes
RUN/metrics.json   the model's metrics on the validation split
RUN/history.csv    one line per epoch
RUN/tensorboard/   scalars, predictions, confusion matrix
RUN/pictures/      image | ground truth | prediction | error
RUN/checkpoints/   for resuming an interrupted run; removed when the run is finished
RUN/finished.json  written at the end: epochs, updates, and the hash of the last weights
RUN/environment.json   command, versions and machine of each start
RUN/validation.csv     metrics of each validation image, measured after training
RUN/examples/          pictures of the best, median and worst validation images
RUN/report.html        report of the run

The folder of a staged run contains one run per stage: RUN/32s, RUN/16s and RUN/8s. The last stage's
model, configuration and metrics are also in RUN itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel

from fcn_keras import outputs
from fcn_keras.errors import ConfigError
from fcn_keras.runs.config import TrainConfig, current_names
from fcn_keras.runs.json_files import Data, Metrics, read_json

CHECKPOINTS = "checkpoints"
WRITTEN = (
    "model.keras",
    "config.yaml",
    "metrics.json",
    "history.csv",
    "tensorboard",
    "pictures",
    CHECKPOINTS,
    "finished.json",
    "environment.json",
    "validation.csv",
    "examples",
    "report.html",
)
# Options that may change when a run resumes: they do not determine the result.
FREE_OPTIONS = ("data_dir", "cache", "devices", "init_from")
MAX_NAMED = 3  # Changed examples named in a message.


def check_new(out: str | Path) -> None:
    """Checks that a new run can be written to a folder; creates nothing.

    Raises:
        ConfigError: The folder contains files that a run would write, or is not writable.
    """
    found = [name for name in WRITTEN if os.path.lexists(Path(out) / name)]
    # A start that was killed early leaves these two without any of the others.
    data, lock = (Path(out) / name for name in ("data.json", ".lock"))
    if os.path.lexists(data) and not outputs.is_result(data):
        found.append(data.name)
    if os.path.lexists(lock) and not (lock.is_file() and lock.stat().st_size == 0):
        found.append(lock.name)
    if found:
        advice = "Choose another folder (--out), or remove it."
        if is_started(out) and not is_finished(out):
            advice = (
                f"Resume it (fcn-keras train --resume {out}), or choose another folder (--out)."
            )
        raise ConfigError(
            f"{out}: already contains a run or part of one ({', '.join(found)}). {advice}"
        )
    outputs.check_folder(out)


def is_started(out: str | Path) -> bool:
    """Returns whether the folder contains a run, at least its configuration."""
    return (Path(out) / "config.yaml").exists()


def is_finished(out: str | Path) -> bool:
    """Returns whether the folder contains a finished run."""
    return (Path(out) / "finished.json").exists()


def stage_folder(out: str | Path, model: str) -> Path:
    """Returns a stage's folder in a staged run: `out/32s` for "fcn32s"."""
    return Path(out) / model.removeprefix("fcn")


def checkpoints(out: str | Path) -> list[str]:
    """Returns the relative paths of a run's checkpoints, including those of its stages."""
    return sorted(str(path.relative_to(out)) for path in Path(out).glob(f"**/{CHECKPOINTS}/[!.]*"))


def write_config(
    out: Path,
    config: TrainConfig,
    class_names: Sequence[str],
    palette: np.ndarray,
    fingerprints: dict[str, dict[str, Any]] | None = None,
    stages: Sequence[str] | None = None,
    class_values: Sequence[int | None] | None = None,
) -> None:
    """Writes `data.json` and `config.yaml`, which marks the folder as a run.

    Args:
        out: The folder, which must exist.
        config: A resolved `TrainConfig`.
        class_names: A name for each class.
        palette: uint8 `[classes, 3]`.
        fingerprints: Fingerprints of the splits by name, from `pipelines.fingerprint`.
        stages: The model names of a staged run.
        class_values: The mask value of each class; None where there is not exactly one.
    """
    if fingerprints:
        outputs.write_json(out / "data.json", fingerprints)
    values = [None] * len(class_names) if class_values is None else class_values
    content = {
        "options": config.model_dump(mode="json"),
        **({"stages": list(stages)} if stages else {}),
        "classes": [
            {
                "name": name,
                "colour": [int(c) for c in colour],
                **({} if value is None else {"value": int(value)}),
            }
            for name, colour, value in zip(class_names, palette, values, strict=True)
        ],
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    outputs.write_text(out / "config.yaml", text)


def read_config(out: str | Path) -> tuple[TrainConfig, list[str] | None]:
    """Reads the `TrainConfig` of a run, and its stages or None.

    Raises:
        ConfigError: There is no run, or its config.yaml is damaged or edited.
    """
    path = Path(out) / "config.yaml"
    if not path.exists():
        raise ConfigError(
            f"--resume {out}: not a run: config.yaml is missing. Give a run's folder, or the "
            "options to start a run (--data and so on)."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        stages = content.get("stages")
        return TrainConfig(**content["options"]), stages and [str(name) for name in stages]
    except (
        OSError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: damaged or edited: {reason}") from None


def check_unchanged(
    out: str | Path, config: TrainConfig, fingerprints: dict[str, dict[str, Any]] | None = None
) -> None:
    """Checks that a run resumes with the options and the data it was started with.

    Args:
        out: The run's folder.
        config: The resolved `TrainConfig` to resume with.
        fingerprints: Fingerprints of the current data, as for `write_config`.

    Raises:
        ConfigError: An option or the data has changed.
    """
    stored, _ = read_config(out)
    check_options(out, deciding_options(stored), deciding_options(config))
    path = Path(out) / "data.json"
    if not fingerprints:
        return
    if not path.exists():
        print(
            f"warning: {path}: missing; cannot check whether the data has changed.",
            file=sys.stderr,
        )
        outputs.write_json(path, fingerprints)
        return
    stored_fingerprints = _read_json(path, Data)
    for split, fingerprint in fingerprints.items():
        if not stored_fingerprints.get(split):
            raise ConfigError(f"{path}: damaged: has no entry for {split}. Remove the file.")
        if changed := _changes(stored_fingerprints[split], fingerprint):
            raise ConfigError(
                f"{out}: the data has changed since the run was started: {fingerprint['name']}: "
                f"{'; '.join(changed)}. Restore the data, or start another run (--out)."
            )


def check_stages(out: str | Path, stages: Sequence[str] | None) -> None:
    """Checks that a run was started with these stages, given as model names, or None.

    Raises:
        ConfigError: The run was started with other stages, or without stages.
    """
    _, stored = read_config(out)
    before, now = (
        ",".join(name[3:-1] for name in names) if names else "none" for names in (stored, stages)
    )
    check_options(out, {"stages": before}, {"stages": now})


def deciding_options(config: TrainConfig) -> dict[str, Any]:
    """Returns the options of a `TrainConfig` that determine the result, by name."""
    return {k: v for k, v in config.model_dump(mode="json").items() if k not in FREE_OPTIONS}


def check_options(out: str | Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Checks that the options of a run have not changed.

    Raises:
        ConfigError: Some options have changed; the message names all of them.
    """
    before = current_names(before)
    changed = [
        f"{key} was {before.get(key)}, now {now[key]}" for key in now if before.get(key) != now[key]
    ]
    if changed:
        raise ConfigError(
            f"{out}: the run was started with other options: {'; '.join(changed)}. Leave these "
            "options out, or start another run (--out)."
        )


def best_report(out: str | Path) -> dict[str, Any]:
    """Reads the report of the best epoch from `metrics.json`.

    Raises:
        ConfigError: The file cannot be read.
    """
    return _read_json(Path(out) / "metrics.json", Metrics)


def _read_json(path: Path, kind: type[BaseModel]) -> dict[str, Any]:
    try:
        return read_json(path, kind)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path}: damaged or missing ({reason}). Start another run (--out)."
        ) from None


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describes the changes between two fingerprints of a split; an empty list if none."""
    found = []
    if before["classes"] != now["classes"]:
        old, new = (", ".join(one["classes"]) for one in (before, now))
        found.append(f"the classes were {old} and are {new}")
    old, new = before["examples"], now["examples"]
    for change, ids in (
        ("missing", [i for i in old if i not in new]),
        ("new", [i for i in new if i not in old]),
        ("changed", [i for i in old if i in new and old[i] != new[i]]),
    ):
        if ids:
            more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
            found.append(f"{change}: {', '.join(ids[:MAX_NAMED])}{more}")
    if not found and list(old) != list(new):
        found.append("the order of the examples is different")
    if not found and before["pixels"] != now["pixels"]:
        found.append("masks have changed: the pixel counts per class are different")
    return found
