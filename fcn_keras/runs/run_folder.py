"""A run's folder, from its beginning to its end: what decided the run, and whether it is finished.

RUN/model.keras    the model of the epoch with the best validation mean IU
RUN/config.yaml    everything that decided the result, and the class names and colours
RUN/data.json      what the data was, to notice if it changes
RUN/metrics.json   that model's figures on the validation split
RUN/history.csv    a line for each epoch
RUN/tensorboard/   scalars, predicted pictures, confusion matrix
RUN/pictures/      image | truth | prediction | error
RUN/checkpoints/   from which a run that was broken off goes on; gone in the end
RUN/finished.json  written in the end: epochs, updates, and the hash of the last weights
RUN/environment.json   command, versions and machine of each start
RUN/validation.csv     each validation image's own figures, measured after the end
RUN/examples/          the best, the median and the worst of them
RUN/report.html        all of this to look at

A staged training is a folder of such runs, RUN/32s, RUN/16s and RUN/8s; the last one's model,
configuration and figures are in RUN too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from fcn_keras import outputs
from fcn_keras.errors import ConfigError
from fcn_keras.runs.config import TrainConfig, current_names

if TYPE_CHECKING:
    import keras

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
# Options that say where things are and how they are done, not what comes out.
FREE = ("data_dir", "cache", "devices", "init_from")
NAMED = 3  # Of examples that have changed.


def check_new(out: str | Path) -> None:
    """Checks that a folder can take a run; makes nothing.

    Raises:
        ConfigError: it holds something that a run would write, or cannot be written to.
    """
    found = [name for name in WRITTEN if (Path(out) / name).exists()]
    if found:
        advice = "Choose another folder (--out), or remove it."
        if is_begun(out) and not is_finished(out):
            advice = f"Go on with it (fcn-keras train --resume {out}), or choose another (--out)."
        raise ConfigError(
            f"{out}: holds a run already, or part of one ({', '.join(found)}). {advice}"
        )
    outputs.check_folder(out)


def is_begun(out: str | Path) -> bool:
    """Whether there is a run, at least its configuration."""
    return (Path(out) / "config.yaml").exists()


def is_finished(out: str | Path) -> bool:
    """Whether there is a run that has come to its end."""
    return (Path(out) / "finished.json").exists()


def stage_folder(out: str | Path, model: str) -> Path:
    """The folder of a net's stage in that of a staged training: `out/32s` of "fcn32s"."""
    return Path(out) / model.removeprefix("fcn")


def checkpoints(out: str | Path) -> list[str]:
    """The names of the checkpoints in a run's folder, those of its stages included."""
    return sorted(str(path.relative_to(out)) for path in Path(out).glob(f"**/{CHECKPOINTS}/[!.]*"))


def begin(
    out: Path,
    config: TrainConfig,
    class_names: Sequence[str],
    palette: np.ndarray,
    fingerprints: dict[str, dict[str, Any]] | None = None,
    stages: Sequence[str] | None = None,
) -> None:
    """Writes down what decides the run; `config.yaml` last, which makes it a run.

    Args:
        out: the folder, which exists.
        config: a resolved `TrainConfig`.
        class_names: a name for each class.
        palette: uint8 `[classes, 3]`.
        fingerprints: of the splits by name, as `pipelines.fingerprint` gives them.
        stages: of a staged training, the names of its nets.
    """
    if fingerprints:
        outputs.write_json(out / "data.json", fingerprints)
    content = {
        "options": config.model_dump(mode="json"),
        **({"stages": list(stages)} if stages else {}),
        "classes": [
            {"name": name, "colour": [int(c) for c in colour]}
            for name, colour in zip(class_names, palette, strict=True)
        ],
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    outputs.write_text(out / "config.yaml", text)


def read_begun(out: str | Path) -> tuple[TrainConfig, list[str] | None]:
    """The `TrainConfig` of a run that was begun, and its stages or None.

    Raises:
        ConfigError: there is no run, or its config.yaml was changed into something else.
    """
    path = Path(out) / "config.yaml"
    if not path.exists():
        raise ConfigError(
            f"--resume {out}: no run was begun there (it has no config.yaml). Give the folder of "
            "one, or the options to begin it (--data and so on)."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        stages = content.get("stages")
        return TrainConfig(**content["options"]), stages and [str(name) for name in stages]
    except (OSError, LookupError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not as the run has written it: {reason}") from None


def check_unchanged(
    out: str | Path, config: TrainConfig, fingerprints: dict[str, dict[str, Any]] | None = None
) -> None:
    """Checks that a run goes on as it was begun.

    Args:
        out: the run's folder.
        config: the resolved `TrainConfig` it is to go on with.
        fingerprints: of the data now, as given to `begin`.

    Raises:
        ConfigError: an option or the data is another.
    """
    begun, _ = read_begun(out)
    check_options(out, deciding(begun), deciding(config))
    path = Path(out) / "data.json"
    if not fingerprints:
        return
    if not path.exists():
        print(f"warning: {path}: is gone; the data is taken as it is now.", file=sys.stderr)
        outputs.write_json(path, fingerprints)
        return
    saw = _read_json(path)
    for split, fingerprint in fingerprints.items():
        if split not in saw:
            raise ConfigError(f"{path}: damaged: holds nothing of {split}. Remove it.")
        if changed := _changes(saw[split], fingerprint):
            raise ConfigError(
                f"{out}: the data has changed since the run was begun: {fingerprint['name']}: "
                f"{'; '.join(changed)}. Put it back, or begin another run (--out)."
            )


def check_stages(out: str | Path, stages: Sequence[str] | None) -> None:
    """Checks that the stages of a run that was begun are these names of nets, or None.

    Raises:
        ConfigError: it was begun with others, or as a run without stages.
    """
    _, begun = read_begun(out)
    before, now = (
        ",".join(name[3:-1] for name in names) if names else "none" for names in (begun, stages)
    )
    check_options(out, {"stages": before}, {"stages": now})


def deciding(config: TrainConfig) -> dict[str, Any]:
    """The options of a `TrainConfig` that decide what comes out, by name."""
    return {k: v for k, v in config.model_dump(mode="json").items() if k not in FREE}


def check_options(out: str | Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Checks that the options of a run are what they were.

    Raises:
        ConfigError: some are others; all of these are named.
    """
    before = current_names(before)
    changed = [
        f"{key} was {before.get(key)}, now {now[key]}" for key in now if before.get(key) != now[key]
    ]
    if changed:
        raise ConfigError(
            f"{out}: the run was begun with other options: {'; '.join(changed)}. It goes on with "
            "those it has: leave these out, or begin another run (--out)."
        )


def finish(out: Path, model: keras.Model, epochs: int, best_epoch: int) -> None:
    """Writes down that the run has come to its end, and removes its checkpoints."""
    content = {
        "epochs": epochs,
        "updates": int(model.optimizer.iterations.numpy()),
        "best_epoch": best_epoch,
        "weights_sha256": weights_sha256(model),
    }
    outputs.write_json(out / "finished.json", content)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)


def best_report(out: str | Path) -> dict[str, Any]:
    """The report of the best epoch, from `metrics.json`.

    Raises:
        ConfigError: it cannot be read.
    """
    return _read_json(Path(out) / "metrics.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: damaged, or not there ({reason}). Begin another run.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: damaged: holds no names and values. Begin another run.")
    return content


def weights_sha256(model: keras.Model) -> str:
    """The hash of a model's weights, to compare two runs bit by bit."""
    sha = hashlib.sha256()
    for weight in model.get_weights():
        # A buffer it is; NumPy's types say so from Python 3.12 on.
        sha.update(np.ascontiguousarray(weight))  # type: ignore[arg-type]
    return sha.hexdigest()


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What has changed between two fingerprints of a split, in words: a list, empty if nothing."""
    found = []
    if before["classes"] != now["classes"]:
        old, new = (", ".join(one["classes"]) for one in (before, now))
        found.append(f"the classes were {old} and are {new}")
    old, new = before["examples"], now["examples"]
    for verb, ids in (
        ("gone", [i for i in old if i not in new]),
        ("new", [i for i in new if i not in old]),
        ("changed", [i for i in old if i in new and old[i] != new[i]]),
    ):
        if ids:
            more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
            found.append(f"{verb}: {', '.join(ids[:NAMED])}{more}")
    if not found and list(old) != list(new):
        found.append("the examples stand in another order")
    if not found and before["pixels"] != now["pixels"]:
        found.append("masks have changed: the classes have other numbers of pixels")
    return found
