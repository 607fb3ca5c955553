"""A recipe and options become a `TrainConfig`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from fcn_keras.errors import ConfigError
from fcn_keras.runs import run_folder
from fcn_keras.runs.config import TrainConfig
from fcn_keras.runs.recipes import RECIPES, VARIANTS

# Backbones that the reference implementation has, and that so have its geometry and its means.
OF_THE_REFERENCE = ("vgg16", "alexnet")
MAX_DEPTH = 20  # Levels of a YAML file; options need 4.


def resolve(recipe: str | Path | dict[str, Any], options: dict[str, Any]) -> TrainConfig:
    """The configuration of a recipe with some of its options set otherwise.

    Args:
        recipe: a key of `RECIPES`, a YAML file as for `read_recipe`, or a dict of options.
        options: values by the names of `TrainConfig`'s fields.

    Returns:
        A `TrainConfig`.

    Raises:
        ConfigError: the recipe or an option is unknown, or a value is out of its range.
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
            f"epochs={options['epochs']}, iterations={options['iterations']}: both say when to "
            "stop. Give one."
        )
    if "epochs" in options:
        settings["iterations"] = None
    try:
        config = TrainConfig(**{**settings, **options})
    except ValidationError as error:
        # A misspelt option explains the missing one.
        fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        name = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            raise ConfigError(f"{name}={fault['input']!r}: unknown; {_meant(name)}") from None
        where = f"{name}={fault['input']!r}: " if name else ""
        raise ConfigError(f"{where}{fault['msg'].removeprefix('Value error, ')}.") from None
    for name in ("momentum", "bias_rate"):
        if name in options and config.optimizer != "sgd":
            raise ConfigError(
                f"{name}={options[name]!r}: the optimizer is {config.optimizer}, which has none. "
                "Choose optimizer: sgd (--optimizer sgd)."
            )
    return config


def resolve_run(
    recipe: TrainConfig | str | Path,
    options: dict[str, Any],
    out: Path,
    stages: Sequence[str] | None = None,
    resume: bool = False,
) -> tuple[TrainConfig, Sequence[str] | None]:
    """The configuration and the stages of a run that begins or goes on in a folder.

    Args:
        recipe: a `TrainConfig`, a key of `RECIPES`, or a YAML file.
        options: values by the names of `TrainConfig`'s fields, which win over the recipe's.
        out: the run's folder.
        stages: the nets of a staged training.
        resume: go on with the run in `out`; without `data` its own options are taken.

    Raises:
        ConfigError: as in `resolve`, or nothing says what the data is.
    """
    options = with_absolute_paths(options)
    if isinstance(recipe, TrainConfig):
        return (resolve(recipe.model_dump(), options) if options else recipe), stages
    if resume and "data" not in options and not is_yaml(recipe):
        begun, before = run_folder.read_begun(out)
        if recipe != "default":
            raise ConfigError(
                f"recipe={recipe!r}: a run resumes with the options it was begun with. Leave the "
                "recipe out, or give all of these options."
            )
        return (resolve(begun.model_dump(), options) if options else begun), stages or before
    if "data" not in options and not is_yaml(recipe):
        raise ConfigError("data: not given. Name a data set, or the YAML file of your folders.")
    return resolve(recipe, options), stages


def is_yaml(value: Any) -> bool:
    """Whether a recipe or a data set is given as a YAML file, by its name's ending."""
    return str(value).lower().endswith((".yaml", ".yml"))


def with_absolute_paths(options: dict[str, Any]) -> dict[str, Any]:
    """Options whose files and folders are found from wherever the run is resumed."""
    paths = [name for name in ("data_dir", "init_from") if options.get(name) is not None]
    if is_yaml(options.get("data")):
        paths.append("data")
    return {**options, **{name: os.path.abspath(options[name]) for name in paths}}


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The options of a YAML file: by the names of `TrainConfig`'s fields, or a `RUN/config.yaml`.

    Raises:
        ConfigError: the file cannot be read, or holds no options.
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
        raise ConfigError(f"recipe={str(path)!r}: must hold options, such as `batch_size: 4`.")
    return {name: None if value == "none" else value for name, value in options.items()}


def _refuse_bombs(text: str) -> None:
    """Refuses what takes PyYAML minutes: nested aliases, and thousands of levels."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
            raise ValueError(f"aliases (*name), or more than {MAX_DEPTH} levels. Write it out")


def _meant(name: str) -> str:
    """What a misspelt option may have been."""
    close = difflib.get_close_matches(name.replace("-", "_"), TrainConfig.model_fields, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"choose one of {', '.join(TrainConfig.model_fields)}."


def _settings(recipe: str, options: dict[str, Any]) -> dict[str, Any]:
    """A recipe's options with the rows of `VARIANTS` that apply."""
    settings = dict(RECIPES[recipe])
    defaults = {name: field.default for name, field in TrainConfig.model_fields.items()}
    chosen = {**defaults, **settings, **options}
    for condition, changes in VARIANTS.get(recipe, ()):
        if all(chosen[name] == value for name, value in condition.items()):
            settings |= changes
    if chosen["backbone"] not in OF_THE_REFERENCE:
        settings |= {"geometry": "same", "mean": None}
    if chosen["backbone"] == "tiny":
        settings["weights"] = None
    if recipe.startswith("camvid") and chosen["backbone"] != "vgg16":
        for name in ("freeze", "skip_scales"):  # Both speak of VGG16's blocks.
            del settings[name]
    return settings
