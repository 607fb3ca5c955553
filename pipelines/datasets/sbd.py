"""SBD, the Semantic Boundaries Dataset: masks for 11,355 images of PASCAL VOC 2011.

    benchmark_RELEASE/dataset/img/ID.jpg  cls/ID.mat  train.txt  val.txt

train.txt lists 8,498 images, val.txt 2,857 others. These lists differ from VOC's: train.txt has
images of VOC's val. Masks hold VOC's classes 0..20 and no void: a border belongs to one of its
sides. `pipelines.datasets.voc` has the splits that use SBD.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from pipelines.datasets.lists import Listed, existing, read_lines
from pipelines.errors import DataError
from pipelines.files import images
from pipelines.files.matlab import read_mat
from pipelines.files.opening import Source
from pipelines.split import Example

FOLDERS = ("benchmark_RELEASE/dataset", "dataset", "SBD", ".")
WHERE = (
    "SBD is benchmark.tgz from home.bharathh.info/home/sbd; unpack it next to VOCdevkit, in the "
    "folder that you give as --data-dir."
)


def names(data_dir: str | Path, listing: str) -> list[str]:
    """Reads the IDs in one of SBD's lists, "train" or "val".

    Raises:
        DataError: SBD or its list is missing.
    """
    return read_lines(_root(data_dir) / f"{listing}.txt")


def examples(data_dir: str | Path, listing: str, without: Collection[str] = ()) -> Listed:
    """Reads one of SBD's lists, without the IDs in `without`.

    Returns:
        A tuple of `Example`s and a tuple of `DataError`s, as from `lists.existing`.

    Raises:
        DataError: SBD, its list, or all files that it lists are missing.
    """
    root = _root(data_dir)
    listed = [
        Example(name, root / "img" / f"{name}.jpg", root / "cls" / f"{name}.mat")
        for name in names(data_dir, listing)
        if name not in without
    ]
    return existing(listed, root, root / f"{listing}.txt", WHERE)


def read_mask(source: Source | np.ndarray) -> np.ndarray:
    """Reads a mask of SBD (a MATLAB file) as integers `[h, w]`, or of VOC (`images.read_mask`)."""
    if isinstance(source, Path) and source.suffix == ".mat":
        return read_mat(source, "GTcls", "Segmentation")
    return images.read_mask(source)


def _root(data_dir: str | Path) -> Path:
    for folder in FOLDERS:
        if (Path(data_dir) / folder / "cls").is_dir():
            return Path(data_dir) / folder
    raise DataError(f"data_dir={str(data_dir)!r}: has no folder {FOLDERS[0]} with SBD. {WHERE}")
