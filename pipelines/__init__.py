"""Files -> `tf.data.Dataset` of (image, mask).

Images are RGB uint8 `[b, h, w, 3]`, masks uint8 `[b, h, w]` of class ids; 255 is ignored.
"""

import importlib
from pathlib import Path

from pipelines.check import check
from pipelines.datasets import (
    ade20k,
    camvid,
    cityscapes,
    folder,
    nyudv2,
    pascal_context,
    siftflow,
    synthetic,
    tfds,
    voc,
)
from pipelines.decode import read_image, read_mask
from pipelines.errors import DataError, raise_all
from pipelines.examples import read_example
from pipelines.fingerprint import fingerprint
from pipelines.split import Example, Split, distinct_palette

__all__ = [
    "DATASETS",
    "NYUDV2_CAMERA",
    "Augmentation",
    "DataError",
    "Example",
    "Split",
    "batch_ids",
    "check",
    "distinct_palette",
    "encode_hha",
    "eval_dataset",
    "fingerprint",
    "joint_dataset",
    "read",
    "read_example",
    "read_image",
    "read_mask",
    "train_dataset",
]

DATASETS = {
    "camvid": camvid.read,
    **voc.READERS,
    **nyudv2.READERS,
    **siftflow.READERS,
    "pascal_context": pascal_context.read,
    "cityscapes": cityscapes.read,
    "ade20k": ade20k.read,
    "synthetic": synthetic.read,
}

# TensorFlow, albumentations and SciPy take long to import, and reading files needs none of them.
_HEAVY = {  # Name -> module.
    "Augmentation": "augment",
    "NYUDV2_CAMERA": "hha",
    "batch_ids": "build",
    "encode_hha": "hha",
    "eval_dataset": "build",
    "joint_dataset": "joint",
    "train_dataset": "build",
}


def __getattr__(name):
    if name in _HEAVY:
        return getattr(importlib.import_module(f"pipelines.{_HEAVY[name]}"), name)
    raise AttributeError(f"module 'pipelines' has no attribute {name!r}")


def read(data, split, data_dir=None, *, keep_faults=False):
    """The examples of one split of a data set.

    Args:
        data: a key of `DATASETS`, "tfds:NAME" for a data set of TensorFlow Datasets (see
            `pipelines.datasets.tfds`), or the path of a YAML file that describes one's own folders
            (see `pipelines.datasets.folder`).
        split: "train", "val", "test", or what else the data set has.
        data_dir: the folder that holds the data set's files, for those that have files.
        keep_faults: leave faults of lists and folders, such as an image without its mask, in
            `Split.faults` instead of raising them; such examples are not in the split.

    Returns:
        A `Split`.

    Raises:
        DataError: the data set is unknown, its files are missing, or its lists have faults.
    """
    if str(data).startswith(tfds.PREFIX):
        examples = tfds.read(str(data).removeprefix(tfds.PREFIX), data_dir, split)
    elif Path(data).suffix.lower() in (".yaml", ".yml"):
        examples = folder.read(data, split)
    elif data in DATASETS:
        examples = DATASETS[data](data_dir, split)
    elif Path(data).is_dir():
        raise DataError(
            f"data={str(data)!r}: is a folder. Of your own images make a YAML file with `fcn-keras "
            f"data init {data}`; the folder of {', '.join(DATASETS)} is given as data_dir "
            "(--data-dir)."
        )
    else:
        raise DataError(
            f"data={str(data)!r}: unknown; choose one of {', '.join(DATASETS)}, or give the YAML "
            "file of your own folders, or tfds:NAME for a data set of TensorFlow Datasets."
        )
    if not keep_faults:
        raise_all(examples.faults)
    return examples
