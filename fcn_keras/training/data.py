"""Reads and checks the data of a training run, and makes its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from fcn_keras.runs.config import TrainConfig
from fcn_keras.training.machines import served_dataset
from fcn_keras.training.watching import Watch
from pipelines.batches.augment import Augmentation
from pipelines.batches.tf_datasets import batch_ids, train_dataset
from pipelines.catalogue import read
from pipelines.checking.cache import examine_once
from pipelines.checking.findings import Findings
from pipelines.checking.fingerprint import fingerprint
from pipelines.checking.overlaps import overlaps
from pipelines.errors import DataError, raise_all
from pipelines.split import Split


def read_data(
    config: TrainConfig, out: Path, data_service: str | None, watch: Watch
) -> tuple[Callable[..., tf.data.Dataset], Split, dict[str, Any]]:
    """Reads and checks all files of the training and the validation split.

    Returns:
        The function `train_data` for `fit`, the validation split, and a dict of further arguments
        of `fit`: class names, palette, mask values, class pixels, `skip_absent`, fingerprints and
        `batch_ids`.
    """
    names = (config.train_split, config.val_split)
    found = checked(
        [read(config.data, name, config.data_dir, keep_faults=True) for name in names],
        watch,
        config.on_bad_file,
    )
    watch.warn(overlaps(found))
    train, val = found
    batches: dict[str, Any] = {
        "split": train.split,
        "batch_size": config.batch_size,
        "augmentation": Augmentation(config.crop, config.scale, config.mirror, config.colour),
        "seed": config.seed,
    }
    train_data = partial(train_dataset, **batches, cache=config.cache)
    if data_service:
        train_data = partial(served_dataset(data_service), **batches)
    return (
        train_data,
        val.split,
        {
            "class_names": train.split.class_names,
            "palette": train.split.palette,
            "class_values": train.split.class_values,
            "class_pixels": train.class_pixels,
            "skip_absent": val.split.skip_absent,
            "fingerprints": {
                "train": fingerprint(train),
                "val": fingerprint(val),
            },
            "batch_ids": partial(batch_ids, **batches),
        },
    )


def checked(
    splits: Iterable[Split], watch: Watch, on_bad_file: Literal["stop", "skip"] = "stop"
) -> list[Findings]:
    """Reads every file of some splits, prints warnings, and stops at faults.

    Args:
        splits: `Split`s, with their faults kept.
        watch: A `Watch`.
        on_bad_file: "skip" lists examples with faults and leaves them out of the findings.

    Returns:
        A list of `Findings`.

    Raises:
        DataError: Some data cannot be used.
    """
    checked, of_files, of_splits = [], [], []
    for split in splits:
        with watch.progress(f"checking {split.name}", len(split)) as advance:
            found = examine_once(split, advance)
        if found.faults and on_bad_file == "skip":
            watch.note(f"{split.name}: examples left out because of these faults:")
            for fault in found.faults:
                watch.note(f"  {fault}")
            found = found.without_bad()
        faults, warnings = found.of_the_split()
        watch.warn([*found.warnings, *warnings])
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
