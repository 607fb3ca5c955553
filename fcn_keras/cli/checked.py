"""Data sets as the commands take them: every file is read once, and faults are told together."""

import sys

from fcn_keras.cli.terminal import print_warnings, progress_bar
from fcn_keras.errors import ConfigError


def examples_for(opened, model, data, split, data_dir):
    """The split, checked, with as many classes as the opened model has."""
    import pipelines

    examples = pipelines.read(data, split, data_dir, keep_faults=True)
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
    checked([examples])
    return examples


def checked(splits, on_bad_file="stop"):
    """What reading every file of some splits has found; prints warnings, stops at faults.

    With "skip" what has faults is listed, and is not in the `Findings` that are returned.
    """
    from pipelines import DataError
    from pipelines.checking.cache import examine_once
    from pipelines.errors import raise_all

    checked, of_files, of_splits = [], [], []
    for split in splits:
        with progress_bar(f"checking {split.name}", len(split)) as advance:
            found = examine_once(split, advance)
        if found.faults and on_bad_file == "skip":
            print(f"{split.name}: left out is what has these faults:", file=sys.stderr)
            for fault in found.faults:
                print(f"  {fault}", file=sys.stderr)
            found = found.without_bad()
        faults, warnings = found.of_the_split()
        print_warnings([*found.warnings, *warnings])
        checked.append(found)
        of_files += found.faults
        of_splits += faults
    try:
        raise_all([*of_files, *of_splits])
    except DataError as error:
        if not of_files:
            raise
        raise DataError(
            f"{error}\n`fcn-keras data check` lists all faults; `train --on-bad-file skip` leaves "
            "such examples out."
        ) from None
    return checked
