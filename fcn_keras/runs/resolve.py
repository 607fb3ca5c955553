"""Resolves a recipe and options to a `TrainConfig`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fcn_keras.errors import ConfigError
from fcn_keras.runs import run_folder
from fcn_keras.runs.config import TrainConfig
from fcn_keras.runs.recipes import RECIPES, VARIANTS

# Backbones of the reference implementation, which use its geometry and means.
REFERENCE_BACKBONES = ("vgg16", "alexnet")
MAX_DEPTH = 20  # Levels of a YAML file; options need 4.


def resolve(recipe: str | Path | dict[str, Any], options: dict[str, Any]) -> TrainConfig:
    """Returns the configuration of a recipe with some options overridden.

    Args:
        recipe: A key of `RECIPES`, a YAML file as for `read_recipe`, or a dict of options.
        options: Values by the field names of `TrainConfig`.

    Returns:
        A `TrainConfig`.

    Raises:
        ConfigError: The recipe or an option is unknown, or a value is out of its range.
    """
    if isinstance(recipe, dict):
        settings = dict(recipe)
    elif is_yaml(recipe):
        settings = read_recipe(recipe)
    elif isinstance(recipe, str) and recipe in RECIPES:
        settings = _settings(recipe, options)
    else:
        raise ConfigError(f"recipe={str(recipe)!r}: unknown; choose one of {', '.join(RECIPES)}.")
    if options.get("epochs") and options.get("iterations"):
        raise ConfigError(
            f"epochs={options['epochs']}, iterations={options['iterations']}: both end the run. "
            "Give only one."
        )
    if "epochs" in options:
        settings["iterations"] = None
    config = TrainConfig(**{**settings, **options})
    for name in ("momentum", "bias_rate", "bias_layers"):
        if name in options and config.optimizer != "sgd":
            raise ConfigError(
                f"{name}={options[name]!r}: the optimizer {config.optimizer} does not use it. "
                "Choose optimizer: sgd (--optimizer sgd)."
            )
    return config


def resolve_run(
    recipe: TrainConfig | str | Path | Mapping[str, Any],
    options: dict[str, Any],
    out: Path,
    stages: str | Sequence[str] | None = None,
    resume: bool = False,
) -> tuple[TrainConfig, Sequence[str] | None]:
    """Returns the configuration and the stages of a new or resumed run.

    Args:
        recipe: A `TrainConfig`, a key of `RECIPES`, a YAML file, or a dict of options.
        options: Values by the field names of `TrainConfig`; they override the recipe's.
        out: The run's folder.
        stages: The models of a staged run: names such as "fcn32s", or strides, also as "32,16,8".
        resume: Resume the run in `out`; without `data`, with the options stored there.

    Raises:
        ConfigError: As in `resolve`, or the data is not given.
    """
    if isinstance(recipe, Mapping):
        options = {**recipe, **options}
        recipe = "default"
    options = with_absolute_paths(_without_none(options))
    stages = _stage_names(stages)
    if isinstance(recipe, TrainConfig):
        return (resolve(recipe.model_dump(), options) if options else recipe), stages
    if resume and "data" not in options and not is_yaml(recipe):
        stored, stored_stages = run_folder.read_config(out)
        if recipe != "default":
            raise ConfigError(
                f"recipe={recipe!r}: a run resumes with its own options. Leave out the recipe, or "
                "give all options of the run."
            )
        config = resolve(stored.model_dump(), options) if options else stored
        return config, stages or stored_stages
    if "data" not in options and not is_yaml(recipe):
        raise ConfigError("data: not given. Name a data set, or give a YAML file.")
    return resolve(recipe, options), stages


def _stage_names(stages: Any) -> list[str] | None:
    """Returns the model names of stages that are given as names or strides, or as one text."""
    if stages is None:
        return None
    parts = stages.split(",") if isinstance(stages, str) else stages
    if not isinstance(parts, Sequence):
        raise ConfigError(f"stages={stages!r}: must be a list such as ['fcn32s', 'fcn8s'].")
    names = [str(part).strip() for part in parts]
    return [f"fcn{name}s" if name.isdecimal() else name for name in names]


def _without_none(options: dict[str, Any]) -> dict[str, Any]:
    """Returns options with "none", as files and the command line write it, as None."""
    return {
        name: None if isinstance(value, str) and value == "none" else value
        for name, value in options.items()
    }


def is_yaml(value: Any) -> bool:
    """Returns whether a recipe or data set is a YAML file, judging by its suffix."""
    return str(value).lower().endswith((".yaml", ".yml"))


def with_absolute_paths(options: dict[str, Any]) -> dict[str, Any]:
    """Makes the paths in options absolute, so the run can be resumed from any folder."""
    paths = [name for name in ("data_dir", "init_from") if options.get(name) is not None]
    if is_yaml(options.get("data")):
        paths.append("data")
    return {**options, **{name: os.path.abspath(options[name]) for name in paths}}


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Reads options, by the field names of `TrainConfig`, from a YAML file or a `RUN/config.yaml`.

    Raises:
        ConfigError: The file cannot be read, or contains no options.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        _refuse_bombs(text)
        content = yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"recipe={str(path)!r}: no such file.") from None
    except Exception as error:  # PyYAML lets through what int() and date() raise, among others.
        reason = " ".join(str(error).split())
        raise ConfigError(f"recipe={str(path)!r}: not readable as YAML: {reason}") from None
    options = content.get("options", content) if isinstance(content, dict) else None
    if not isinstance(options, dict):
        raise ConfigError(f"recipe={str(path)!r}: must contain options, such as `batch_size: 4`.")
    return _without_none(options)


def _refuse_bombs(text: str) -> None:
    """Refuses what takes PyYAML minutes: nested aliases, and thousands of levels."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
            raise ValueError(f"aliases (*name), or more than {MAX_DEPTH} levels. Write it out")


def _settings(recipe: str, options: dict[str, Any]) -> dict[str, Any]:
    """Returns a recipe's options with the matching rows of `VARIANTS` applied."""
    settings = dict(RECIPES[recipe])
    defaults = {name: field.default for name, field in TrainConfig.model_fields.items()}
    chosen = {**defaults, **settings, **options}
    for condition, changes in VARIANTS.get(recipe, ()):
        if all(chosen[name] == value for name, value in condition.items()):
            settings |= changes
    if chosen["backbone"] not in REFERENCE_BACKBONES:
        settings |= {"geometry": "same", "mean": None}
    if chosen["backbone"] == "tiny":
        settings["weights"] = None
    if recipe.startswith("camvid") and chosen["backbone"] != "vgg16":
        for name in ("freeze", "skip_scales"):  # Both refer to VGG16's blocks.
            del settings[name]
    return settings
