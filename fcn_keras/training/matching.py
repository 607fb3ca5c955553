"""Matches the variables of a model with those of a checkpoint, by path.

Keras numbers the layers without a name of their own within a process: `conv2d`, `conv2d_1`. The
same model, built again in one process, continues the count, so of such names only the order counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import keras
import numpy as np

from fcn_keras.errors import ConfigError

Key = tuple[str, int]  # A path without the numbers that depend on the process; its occurrence.


def sources(
    folder: Path,
    model: keras.Model,
    variables: Mapping[str, keras.Variable],
    arrays: Mapping[str, np.ndarray],
    paths: Mapping[str, str] | None,
) -> dict[str, str]:
    """Returns the name of the array that belongs to each variable.

    Args:
        folder: The folder of the checkpoint, for messages.
        model: The compiled model.
        variables: Its variables by name, as from `state.kept_variables`.
        arrays: The checkpoint's arrays for them, by name.
        paths: The paths of the checkpoint's variables by name; None in a checkpoint of version 0.1,
            whose arrays are matched by name.

    Raises:
        ConfigError: They are not the variables of one model.
    """

    def refuse(why: str) -> NoReturn:
        raise ConfigError(
            f"{folder}: the checkpoint belongs to another model or optimizer: {why}. Resume with "
            "the original model, or choose another folder."
        )

    found = {name: name for name in variables if name in arrays}
    if paths is not None:
        saved = {name: paths[name] for name in arrays}
        current = {name: variable.path for name, variable in variables.items()}
        found = by_path(saved, current, kinds_of(model))
    for name, variable in variables.items():
        source, shape = found.get(name), tuple(variable.shape)
        if source is None or arrays[source].shape != shape:
            what = "is missing" if source is None else f"has the shape {arrays[source].shape}"
            refuse(f"{variable.path}, of shape {shape}, {what} there")
    if unused := arrays.keys() - found.values():
        name = min(unused)
        refuse(f"the model has no {paths[name] if paths else name}")
    return found


def by_path(
    saved: Mapping[str, str], found: Mapping[str, str], kinds: Collection[str]
) -> dict[str, str]:
    """Returns the saved name of each variable found; variables without one are left out.

    Args:
        saved: Paths by name, such as `{"model/0": "conv2d/kernel"}`. A name begins with a group;
            "optimizer" holds variables such as `adam/conv2d_kernel_momentum`.
        found: The same of the current model.
        kinds: `kinds_of` the current model.
    """
    names = {key: name for name, key in _keys(saved, kinds).items()}
    keys = _keys(found, kinds)
    return {name: names[key] for name, key in keys.items() if key in names}


def kinds_of(model: keras.Model) -> set[str]:
    """Returns the classes that Keras may have named parts of a compiled model after."""
    optimizer = model.optimizer
    parts = [*model._flatten_layers(), *model.metrics, optimizer]
    parts.append(getattr(optimizer, "inner_optimizer", optimizer))
    return {_plain(type(part).__name__) for part in parts} | {"seedgenerator"}


def _keys(paths: Mapping[str, str], kinds: Collection[str]) -> dict[str, Key]:
    """Returns a key for each variable that is the same for every copy of a model."""
    groups: dict[str, dict[str, str]] = {}
    for name, path in paths.items():
        groups.setdefault(name.partition("/")[0], {})[name] = path
    places = {group: _places(held.values(), kinds) for group, held in groups.items()}
    weights = {
        path.replace("/", "_"): _renamed(path, places["model"])
        for path in groups.get("model", {}).values()
    }
    keys: dict[str, Key] = {}
    seen: Counter[str] = Counter()
    for group, held in groups.items():
        for name, path in held.items():
            owner, _, last = path.rpartition("/")
            weight = max(
                (one for one in weights if last.startswith(f"{one}_")), key=len, default=""
            )
            if group == "optimizer" and weight:
                path = f"{owner}/{last.removeprefix(weight)}"
            key = f"{group} {_renamed(path, places[group])} {weights.get(weight, '')}"
            seen[key] += 1
            keys[name] = key, seen[key]
    return keys


def _places(paths: Iterable[str], kinds: Collection[str]) -> dict[str, str]:
    """Returns the names that Keras has numbered, with their place among those of their kind."""
    numbered: dict[str, set[tuple[int, str]]] = {}
    for part in {part for path in paths for part in path.split("/")}:
        kind, number = re.sub(r"_\d+$", "", part), re.search(r"_(\d+)$", part)
        if _plain(kind) in kinds:
            numbered.setdefault(kind, set()).add((int(number[1]) if number else 0, part))
    return {
        part: f"{kind} {place}"
        for kind, parts in numbered.items()
        for place, (_, part) in enumerate(sorted(parts))
    }


def _renamed(path: str, places: Mapping[str, str]) -> str:
    return "/".join(places.get(part, part) for part in path.split("/"))


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
