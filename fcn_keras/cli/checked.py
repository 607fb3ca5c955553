"""Data sets as the commands take them: every file is read once, and faults are told together."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_keras.errors import ConfigError

if TYPE_CHECKING:
    from fcn_keras.models.saving import Loaded
    from pipelines.split import Split


def splits_for(
    opened: "Loaded", model: Path, data: Sequence[str], split: str, data_dir: Path | None
) -> "Split | dict[str, Split]":
    """The splits, checked: one, or with `--data NAME=DATA` a dict by name.

    Args:
        opened: the model.
        model: its path, for messages.
        data: what --data was given; for a model of several images or heads NAME=DATA of each.
        split: the split of them all.
        data_dir: where the files are.
    """
    from fcn_keras.evaluation.batches import check_splits, part_names

    names = part_names(opened.model)
    if not names:
        if len(data) != 1:
            raise ConfigError(
                f"--data {data[1]}: {model} has one image and one head. Give one data set."
            )
        return examples_for(opened, model, data[0], split, data_dir)
    sources = {}
    for text in data:
        name, _, source = text.partition("=")
        if name not in names or not source or name in sources:
            raise ConfigError(
                f"--data {text}: {model} has several images or heads. Give one data set for each: "
                f"{' '.join(f'--data {name}=DATA' for name in names)}."
            )
        sources[name] = source
    splits = {name: _read(source, split, data_dir) for name, source in sources.items()}
    check_splits(opened.model, splits)
    _check_files(list(splits.values()))
    return splits


def examples_for(
    opened: "Loaded", model: Path, data: str, split: str, data_dir: Path | None
) -> "Split":
    """The split, checked, with as many classes as the opened model has."""
    if not isinstance(opened.num_classes, int):
        raise ConfigError(
            f"--data {data}: {model} has several heads ({', '.join(opened.num_classes)}), which "
            "only `fcn-keras evaluate` measures."
        )
    examples = _read(data, split, data_dir)
    if opened.num_classes != examples.num_classes:
        raise ConfigError(
            f"{model}: the model has {opened.num_classes} classes, {examples.name} has "
            f"{examples.num_classes}. Choose the data set it was trained on."
        )
    if opened.classes not in (None, examples.class_names):
        print(
            f"warning: the model's classes are {', '.join(opened.classes)}, the data set's "
            f"{', '.join(examples.class_names)}: they are compared by their order.",
            file=sys.stderr,
        )
    _check_files([examples])
    return examples


def _read(data: str, split: str, data_dir: Path | None) -> "Split":
    import pipelines

    return pipelines.read(data, split, data_dir, keep_faults=True)


def _check_files(splits: list["Split"]) -> None:
    from fcn_keras.cli.progress import TerminalWatch
    from fcn_keras.training.data import checked

    checked(splits, TerminalWatch())
