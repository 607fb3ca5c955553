r"""SIFT Flow: 2,688 outdoor scenes, 256 x 256, with 33 semantic and 3 geometric classes.

    Images/spatial_envelope_256x256_static_8outdoorcategories/ID.jpg
    SemanticLabels/spatial_envelope_256x256_static_8outdoorcategories/ID.mat
    GeoLabels/spatial_envelope_256x256_static_8outdoorcategories/ID.mat
    TestSet1.txt                           200 lines such as spatial_...\coast_natu975.jpg

The mean IU leaves out classes that the masks lack, even if a model predicts them, as the reference
implementation does for this data set: the test set has no cow, desert or moon.

Semantic masks hold 1..33, and 0 for void; geometric masks 1..3, and -1 and 0 for void.

`test` is the list TestSet1.txt, `trainval` the other 2,486 images. The data set has no `val`: here
it is every tenth name of `trainval` in sorted order, 248 images, and `train` is the rest. (Names
begin with the kind of scene, so both have every kind.) A test.txt or trainval.txt with one ID per
line replaces TestSet1.txt or the other images.
"""

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from pipelines.datasets.lists import data_root, existing, read_lines
from pipelines.errors import DataError
from pipelines.files.matlab import read_mat
from pipelines.files.opening import Source
from pipelines.split import IGNORE, Example, Split, distinct_palette

SPLITS = ("train", "val", "trainval", "test")
SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
UNLABELLED = {"highway_bost181", "street_urb506"}  # Images without annotation.
SEMANTIC = (
    "awning",
    "balcony",
    "bird",
    "boat",
    "bridge",
    "building",
    "bus",
    "car",
    "cow",
    "crosswalk",
    "desert",
    "door",
    "fence",
    "field",
    "grass",
    "moon",
    "mountain",
    "person",
    "plant",
    "pole",
    "river",
    "road",
    "rock",
    "sand",
    "sea",
    "sidewalk",
    "sign",
    "sky",
    "staircase",
    "streetlight",
    "sun",
    "tree",
    "window",
)
GEOMETRIC = ("sky", "horizontal", "vertical")
WHERE = (
    "SIFT Flow is SiftFlowDataset.zip from J. Tighe, University of North Carolina; unpack it and "
    "give the folder that holds Images/, SemanticLabels/ and GeoLabels/ as --data-dir."
)


def read(
    labels: Literal["SemanticLabels", "GeoLabels"], data_dir: str | Path | None, split: str
) -> Split:
    """Reads one split.

    Args:
        labels: Folder of the masks, "SemanticLabels" or "GeoLabels".
        data_dir: The folder that holds Images/, or the folder that holds SiftFlowDataset/.
        split: "train", "val", "trainval" or "test".

    Raises:
        DataError: The folder, the test set's list or all files of the split are missing.
    """
    given = data_root("siftflow", data_dir, WHERE)
    root = next((f for f in (given, given / "SiftFlowDataset") if (f / "Images").is_dir()), None)
    if root is None:
        raise DataError(f"data_dir={str(data_dir)!r}: has no folder Images/. {WHERE}")
    if split not in SPLITS:
        raise DataError(f"siftflow: no split {split!r}; choose one of {', '.join(SPLITS)}.")
    listing, names = _test(root) if split == "test" else _trainval(root)
    if split == "val":
        names = names[9::10]
    elif split == "train":
        names = [name for i, name in enumerate(names) if i % 10 != 9]
    listed = [
        Example(
            name, root / "Images" / SCENES / f"{name}.jpg", root / labels / SCENES / f"{name}.mat"
        )
        for name in names
    ]
    examples, faults = existing(listed, root, listing, WHERE)
    semantic = labels == "SemanticLabels"
    classes = SEMANTIC if semantic else GEOMETRIC
    values = {i + 1: i for i in range(len(classes))}
    return Split(
        name=f"siftflow{'' if semantic else '-geometric'} {split}",
        examples=examples,
        class_names=classes,
        palette=distinct_palette(len(classes) + 1)[1:],  # Without black, which looks like void.
        mask_values={0: IGNORE, **values} if semantic else {-1: IGNORE, 0: IGNORE, **values},
        read_mask=read_mask,
        skip_absent=True,
        faults=faults,
    )


READERS = {
    "siftflow": partial(read, "SemanticLabels"),
    "siftflow-geometric": partial(read, "GeoLabels"),
}


def read_mask(source: Source | np.ndarray) -> np.ndarray:
    """Reads a mask, integers `[h, w]`; see `matlab.read_mat`."""
    return read_mat(source, "S")


def _test(root: Path) -> tuple[Path, list[str]]:
    """Returns the test set's list, and the names in it."""
    for listing in (root / "test.txt", root / "TestSet1.txt"):
        if listing.is_file():
            return listing, _names(listing)
    raise DataError(
        f"{root}: has neither TestSet1.txt nor test.txt, which list the test set. {WHERE}"
    )


def _trainval(root: Path) -> tuple[Path, list[str]]:
    """Returns the list or folder of all other names, and these names, sorted."""
    listing = root / "trainval.txt"
    if listing.is_file():
        return listing, sorted(_names(listing))
    folder = root / "Images" / SCENES
    images = {path.stem for path in folder.glob("*.jpg")}
    if not images:
        raise DataError(f"{folder}: holds no images. {WHERE}", kind="missing file", file=folder)
    return folder, sorted(images.difference(_test(root)[1], UNLABELLED))


def _names(listing: Path) -> list[str]:
    """Reads IDs: the last part of each path, with either slash, without the extension."""
    paths = (PurePosixPath(line.replace("\\", "/")) for line in read_lines(listing))
    names = [path.name.removesuffix(".jpg") for path in paths]
    return [name for name in names if name not in UNLABELLED]
