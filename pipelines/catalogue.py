"""The data sets by name, and one function that reads any of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pipelines.datasets import (
    ade20k,
    camvid,
    cityscapes,
    nyudv2,
    pascal_context,
    siftflow,
    synthetic,
    tfds,
    voc,
    yaml_folders,
)
from pipelines.errors import DataError, quoted, raise_all
from pipelines.split import Split

DATASETS: dict[str, Callable[[str | Path | None, str], Split]] = {
    "camvid": camvid.read,
    **voc.READERS,
    **nyudv2.READERS,
    **siftflow.READERS,
    "pascal_context": pascal_context.read,
    "cityscapes": cityscapes.read,
    "ade20k": ade20k.read,
    "synthetic": synthetic.read,
}


def read(
    data: str | Path,
    split: str,
    data_dir: str | Path | None = None,
    *,
    keep_faults: bool = False,
) -> Split:
    """Reads one split of a data set.

    Args:
        data: A key of `DATASETS`, "tfds:NAME" for a data set of TensorFlow Datasets (see
            `pipelines.datasets.tfds`), or the path of a YAML file that describes your own folders
            (see `pipelines.datasets.yaml_folders`).
        split: "train", "val", "test", or another split of the data set.
        data_dir: The folder with the data set's files, for data sets that have files.
        keep_faults: Collect faults of lists and folders, such as an image without a mask, in
            `Split.faults` instead of raising them. Such examples are left out of the split.

    Returns:
        A `Split`.

    Raises:
        DataError: The data set is unknown, its files are missing, or its lists have faults.
    """
    if str(data).startswith(tfds.PREFIX):
        examples = tfds.read(str(data).removeprefix(tfds.PREFIX), data_dir, split)
    elif Path(data).suffix.lower() in (".yaml", ".yml"):
        examples = yaml_folders.read(data, split)
    elif data in DATASETS:
        examples = DATASETS[str(data)](data_dir, split)
    elif os.path.isdir(data):
        raise DataError(
            f"data={str(data)!r}: a folder, not a data set. For your own images, write a YAML file "
            f"with `fcn-keras data init {quoted(data)}`. For {', '.join(DATASETS)}, give that name "
            "as data and the folder as data_dir (--data-dir)."
        )
    else:
        raise DataError(
            f"data={str(data)!r}: unknown; choose one of {', '.join(DATASETS)}, or give the YAML "
            "file of your own folders or tfds:NAME for a data set of TensorFlow Datasets."
        )
    if not keep_faults:
        raise_all(examples.faults)
    return examples
