"""PASCAL-Context: 59 classes of things and stuff on VOC 2010's images; class 0 is the rest.

    pascal-context/trainval/ID.mat  labels.txt            459 labels
    VOCdevkit/VOC2010/JPEGImages/ID.jpg
    VOCdevkit/VOC2010/ImageSets/Main/{train,val,trainval}.txt     val has 5,105 images

Masks hold the label numbers of labels.txt, which has lines such as `1: accordion`; the 59 classes
are found by name. All other labels, and 0, are class 0, which is trained and scored.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipelines.datasets import voc
from pipelines.datasets.lists import data_root, existing, read_lines
from pipelines.errors import DataError
from pipelines.files.matlab import read_mat
from pipelines.files.opening import Source
from pipelines.split import Example, Split, distinct_palette

FOLDERS = ("", "pascal-context", "pascal_context", "PASCAL-Context")
CLASSES = (
    *voc.CLASSES,
    "bag",
    "bed",
    "bench",
    "book",
    "building",
    "cabinet",
    "ceiling",
    "clothes",
    "computer",
    "cup",
    "door",
    "fence",
    "floor",
    "flower",
    "food",
    "grass",
    "ground",
    "keyboard",
    "light",
    "mountain",
    "mouse",
    "curtain",
    "platform",
    "sign",
    "plate",
    "road",
    "rock",
    "shelves",
    "sidewalk",
    "sky",
    "snow",
    "bedcloth",
    "track",
    "tree",
    "truck",
    "wall",
    "water",
    "window",
    "wood",
)
IN_LABELS = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
WHERE = (
    "PASCAL-Context is trainval.tar.gz and labels.txt from "
    "cs.stanford.edu/~roozbeh/pascal-context; its images are VOC 2010's, "
    "VOCtrainval_03-May-2010.tar from host.robots.ox.ac.uk/pascal/VOC/. "
    "Unpack both in one folder, as pascal-context/ and VOCdevkit/, and give that as --data-dir."
)


def read(data_dir: str | Path | None, split: str) -> Split:
    """Reads one split.

    Args:
        data_dir: The folder that holds VOCdevkit/, and pascal-context/ or its content.
        split: "train", "val" or "trainval".

    Raises:
        DataError: A folder, the list, labels.txt or all listed files are missing, or labels.txt
            does not have all classes.
    """
    root = data_root("pascal_context", data_dir, WHERE)
    context = _first((root / name for name in FOLDERS), "trainval", root)
    devkit = _first((root / "VOCdevkit" / "VOC2010", root / "VOC2010"), "JPEGImages", root)
    listings = (devkit / "ImageSets" / "Main" / f"{split}.txt", context / f"{split}.txt")
    listing = next((path for path in listings if path.is_file()), None)
    if split not in voc.SPLITS or listing is None:
        raise DataError(
            f"{listings[0]}: no such split; choose one of {', '.join(voc.SPLITS)}, and check that "
            "the list exists. The test split's masks are not published."
        )
    listed = [
        Example(name, devkit / "JPEGImages" / f"{name}.jpg", context / "trainval" / f"{name}.mat")
        for name in read_lines(listing)
    ]
    examples, faults = existing(listed, root, listing, WHERE)
    return Split(
        name=f"pascal_context {split}",
        examples=examples,
        class_names=CLASSES,
        palette=distinct_palette(len(CLASSES)),
        mask_values=_values(context / "labels.txt"),
        read_mask=read_mask,
        faults=faults,
    )


def read_mask(source: Source | np.ndarray) -> np.ndarray:
    """Reads a mask, integers `[h, w]`; see `matlab.read_mat`."""
    return read_mat(source, "LabelMap")


def _first(folders: Iterable[Path], inside: str, root: Path) -> Path:
    """Returns the first folder that contains the folder `inside`."""
    for folder in folders:
        if (folder / inside).is_dir():
            return folder
    raise DataError(f"data_dir={str(root)!r}: has no folder {folder.name}/{inside}. {WHERE}")


def _values(path: Path) -> dict[int, int]:
    """Maps each label's number to its class id."""
    numbers = {}
    for line in read_lines(path):
        match = re.fullmatch(r"(\d{1,5})\s*:(.+)", line)
        if not match:
            raise DataError(
                f"{path}: lines must be like `1: accordion`, found {line!r}. {WHERE}", file=path
            )
        numbers[match[2].replace(" ", "")] = int(match[1])  # "potted plant" is pottedplant.
    values = dict.fromkeys((0, *numbers.values()), 0)
    for class_id, name in enumerate(CLASSES[1:], 1):
        number = numbers.get(IN_LABELS.get(name, name))
        if number is None:
            raise DataError(
                f"{path}: has no label {IN_LABELS.get(name, name)!r} (class {class_id}). Use the "
                "list of 459 labels, not the list of 59.",
                file=path,
                value=sorted(numbers),
            )
        values[number] = class_id
    return values
