"""Reads the data sets of the commands; checks every file once and reports all faults together."""

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
    """Reads and checks the splits that a model is measured on.

    Args:
        opened: The model.
        model: Its path, for messages.
        data: The values of --data; NAME=DATA for each image or head if the model has several.
        split: Name of the split, the same for all data sets.
        data_dir: The folder of the files.

    Returns:
        One split, or a dict of splits by name if the model has several images or heads.
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
    """Reads and checks a split, which must have as many classes as the model."""
    from fcn_keras.evaluation.batches import check_classes_known

    check_classes_known(opened.model)
    if not isinstance(opened.num_classes, int):
        raise ConfigError(
            f"--data {data}: {model} has several heads ({', '.join(opened.num_classes)}), which "
            "only `fcn-keras evaluate` supports."
        )
    examples = _read(data, split, data_dir)
    if opened.num_classes != examples.num_classes:
        raise ConfigError(
            f"{model}: the model has {opened.num_classes} classes, {examples.name} has "
            f"{examples.num_classes}. Give the data set that it was trained on."
        )
    if opened.classes not in (None, examples.class_names):
        print(
            f"warning: the model's classes are {', '.join(opened.classes)}, the data set's "
            f"{', '.join(examples.class_names)}: they are matched by position.",
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
