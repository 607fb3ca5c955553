"""NYUDv2 with 40 classes, as Gupta et al. distribute it: 1,449 indoor scenes with depth.

    nyud/data/images/img_ID.png  data/hha/img_ID.png  data/depth/img_ID.png
    nyud/segmentation/img_ID.mat
    nyud/{train,val,trainval,test}.txt      trainval has 795 images, test 654

A list holds an ID on each line, with `img_` before it or without. Masks hold 1..40, and 0 for void.

The image is the colour picture, or with the data name `nyudv2-hha` its depth as HHA: disparity,
height above ground and angle with gravity. HHA comes in the order of the file's channels and is no
colour: a net with the authors' weights takes it so, without the swap to BGR. `modalities` gives a
script the files of all three, `read_depth` and `log_depth` the depth.
"""

from functools import partial
from pathlib import Path

import numpy as np

from pipelines.decode import read_mask as read_png
from pipelines.errors import DataError
from pipelines.lists import data_root, existing, read_lines
from pipelines.mat import read_mat
from pipelines.split import IGNORE, Example, Split, distinct_palette

SPLITS = ("train", "val", "trainval", "test")
CLASSES = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "blinds",
    "desk",
    "shelves",
    "curtain",
    "dresser",
    "pillow",
    "mirror",
    "floor mat",
    "clothes",
    "ceiling",
    "books",
    "refridgerator",  # As the data set spells it.
    "television",
    "paper",
    "towel",
    "shower curtain",
    "box",
    "whiteboard",
    "person",
    "night stand",
    "toilet",
    "sink",
    "lamp",
    "bathtub",
    "bag",
    "otherstructure",
    "otherfurniture",
    "otherprop",
)
WHERE = (
    "NYUDv2 with 40 classes is nyud.tar.gz of dl.caffe.berkeleyvision.org (Gupta et al.); unpack "
    "it and give the folder that holds data/, segmentation/ and the lists as --data-dir."
)
DEPTH_UNIT = 1e-4  # Metres.
MEAN_LOG_DEPTH = 7.844


def read(images, data_dir, split):
    """The examples of one split.

    Args:
        images: the folder in data/ that gives the images, "images" or "hha".
        data_dir: the folder that holds data/ and segmentation/, or the folder nyud/ with them.
        split: "train", "val", "trainval" or "test".

    Raises:
        DataError: the folder, the list or all files that it lists are missing.
    """
    given = data_root("nyudv2", data_dir, WHERE)
    root = next((f for f in (given, given / "nyud") if (f / "segmentation").is_dir()), None)
    if root is None:
        raise DataError(f"data_dir={str(data_dir)!r}: no folder segmentation/ there. {WHERE}")
    listing = root / f"{split}.txt"
    if split not in SPLITS or not listing.is_file():
        found = [name for name in SPLITS if (root / f"{name}.txt").is_file()]
        raise DataError(f"{listing}: no such split; there are {', '.join(found) or 'no lists'}.")
    names = [f"img_{line.removeprefix('img_')}" for line in read_lines(listing)]
    listed = [
        Example(name, root / "data" / images / f"{name}.png", root / "segmentation" / f"{name}.mat")
        for name in names
    ]
    examples, faults = existing(listed, root, listing, WHERE)
    return Split(
        name=f"nyudv2 {split}" if images == "images" else f"nyudv2-{images} {split}",
        examples=examples,
        class_names=CLASSES,
        palette=distinct_palette(len(CLASSES) + 1)[1:],  # Without black, which reads as void.
        mask_values={0: IGNORE, **{i + 1: i for i in range(len(CLASSES))}},
        read_mask=read_mask,
        faults=faults,
    )


READERS = {"nyudv2": partial(read, "images"), "nyudv2-hha": partial(read, "hha")}


def read_mask(source):
    """Reads a mask; see `mat.read_mat`."""
    return read_mat(source, "segmentation")


def modalities(example):
    """The paths of an example's pictures: {"color": , "hha": , "depth": }."""
    data, name = Path(example.image).parents[1], f"{example.id}.png"
    folders = {"color": "images", "hha": "hha", "depth": "depth"}
    return {kind: data / folder / name for kind, folder in folders.items()}


def read_depth(path):
    """Reads a depth map.

    Args:
        path: a 16-bit PNG of 1/10000 m, as in data/depth.

    Returns:
        float32 `[h, w]`, metres; 0 where nothing was measured.

    Raises:
        DataError: the file cannot be read, or is not a 16-bit PNG.
    """
    values = read_png(path)
    if values.ndim != 2 or values.dtype.itemsize < 2:
        raise DataError(
            f"{path}: not a 16-bit grey PNG, and so no depth. The depth maps are in data/depth.",
            kind="wrong content",
            file=path,
        )
    return (values * DEPTH_UNIT).astype("float32")


def log_depth(metres):
    """Depth as the reference gives it to a net: the log of millimetres, less its mean, 7.844.

    The reference names no unit. That it is the millimetre is deduced: 7.844 is the log of 2,550,
    and 2.55 m is a room's depth.

    Args:
        metres: float `[h, w]`, as of `read_depth`.

    Returns:
        float32 `[h, w]`; 0, the mean, where nothing was measured.
    """
    metres = np.asarray(metres, "float32")
    known = metres > 0
    logs = np.log(1000 * np.where(known, metres, 1)) - MEAN_LOG_DEPTH
    return np.where(known, logs, 0).astype("float32")
