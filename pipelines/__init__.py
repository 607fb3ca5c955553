"""Files -> `tf.data.Dataset` of (image, mask).

Images are RGB uint8 `[b, h, w, 3]`, masks uint8 `[b, h, w]` of class ids; 255 is ignored.
"""

from pathlib import Path

from pipelines.augment import Augmentation
from pipelines.build import eval_dataset, train_dataset
from pipelines.check import check
from pipelines.datasets import camvid, folder, synthetic, voc
from pipelines.decode import read_image, read_mask
from pipelines.errors import DataError
from pipelines.examples import read_example
from pipelines.split import Example, Split, distinct_palette

__all__ = [
    "DATASETS",
    "Augmentation",
    "DataError",
    "Example",
    "Split",
    "check",
    "distinct_palette",
    "eval_dataset",
    "read",
    "read_example",
    "read_image",
    "read_mask",
    "train_dataset",
]

DATASETS = {"camvid": camvid.read, **voc.READERS, "synthetic": synthetic.read}


def read(data, split, data_dir=None):
    """The examples of one split of a data set.

    Args:
        data: a key of `DATASETS`, or the path of a YAML file that describes one's own folders
            (see `pipelines.datasets.folder`).
        split: "train", "val", "test", or what else the data set has.
        data_dir: the folder that holds the data set's files, for those that have files.

    Returns:
        A `Split`.

    Raises:
        DataError: the data set is unknown, or its files are missing.
    """
    if Path(data).suffix.lower() in (".yaml", ".yml"):
        return folder.read(data, split)
    if data not in DATASETS:
        raise DataError(
            f"data={str(data)!r}: unknown; choose one of {', '.join(DATASETS)}, or give the YAML "
            "file of your own folders."
        )
    return DATASETS[data](data_dir, split)
