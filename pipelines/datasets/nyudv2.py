"""NYUDv2 with 40 classes, as distributed by Gupta et al.: 1,449 indoor scenes with depth.

    nyud/data/images/img_ID.png  data/hha/img_ID.png  data/depth/img_ID.png
    nyud/segmentation/img_ID.mat
    nyud/{train,val,trainval,test}.txt      trainval has 795 images, test 654

A list has one ID per line, with or without the prefix `img_`. Masks hold 1..40, and 0 for void.

The image is the colour image or, for the data set name `nyudv2-hha`, its depth as HHA: disparity,
height above ground and angle with gravity. HHA keeps the file's channel order and is not a colour
image: models with the authors' weights take it as it is, without the swap to BGR. Late fusion uses
both splits, early fusion `with_depth` of the first; see `pipelines.joint_dataset`.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.datasets.lists import data_root, existing, read_lines
from pipelines.errors import DataError
from pipelines.files.images import read_image as read_picture
from pipelines.files.images import read_mask as read_png
from pipelines.files.matlab import read_mat
from pipelines.files.opening import Source
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
    "NYUDv2 with 40 classes is nyud.tar.gz from dl.caffe.berkeleyvision.org (Gupta et al.); "
    "unpack it and give the folder that holds data/, segmentation/ and the lists as --data-dir."
)
DEPTH_UNIT = 1e-3  # Metres; see `read_depth`.
MEAN_LOG_DEPTH = 7.844


def read(images: Literal["images", "hha"], data_dir: str | Path | None, split: str) -> Split:
    """Reads one split.

    Args:
        images: Folder in data/ to read images from, "images" or "hha".
        data_dir: The folder that holds data/ and segmentation/, or the folder that holds nyud/.
        split: "train", "val", "trainval" or "test".

    Raises:
        DataError: The folder, the list or all listed files are missing.
    """
    given = data_root("nyudv2", data_dir, WHERE)
    root = next((f for f in (given, given / "nyud") if (f / "segmentation").is_dir()), None)
    if root is None:
        raise DataError(f"data_dir={str(data_dir)!r}: has no folder segmentation/. {WHERE}")
    listing = root / f"{split}.txt"
    if split not in SPLITS or not listing.is_file():
        found = [name for name in SPLITS if (root / f"{name}.txt").is_file()]
        raise DataError(f"{listing}: no such split; found {', '.join(found) or 'no lists'}.")
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
        palette=distinct_palette(len(CLASSES) + 1)[1:],  # Without black, which looks like void.
        mask_values={0: IGNORE, **{i + 1: i for i in range(len(CLASSES))}},
        read_mask=read_mask,
        faults=faults,
    )


READERS = {"nyudv2": partial(read, "images"), "nyudv2-hha": partial(read, "hha")}


def read_mask(source: Source | np.ndarray) -> np.ndarray:
    """Reads a mask, integers `[h, w]`; see `matlab.read_mat`."""
    return read_mat(source, "segmentation")


def with_depth(split: Split) -> Split:
    """Returns the split with four-channel images for early fusion: RGB and `log_depth`.

    Args:
        split: A `Split` of the data set "nyudv2".

    Returns:
        A `Split` for `pipelines.joint_dataset` with images of float32 `[h, w, 4]`. The model input
        for them is `fcn_keras.Modality(4, mean=fcn_keras.MEANS["nyudv2"])`.
    """
    return replace(split, read_image=_read_colours_and_depth)


def read_depth(path: str | Path, unit: float = DEPTH_UNIT) -> np.ndarray:
    """Reads a depth map.

    The files do not state their unit. It is inferred to be the millimetre: the reference's mean log
    depth, 7.844, is a plausible room depth (2.55 m) only in millimetres.

    Args:
        path: A 16-bit PNG, as in data/depth.
        unit: Size of one step of the file's values, in metres; 1 returns the values themselves.

    Returns:
        Depth in metres, float32 `[h, w]`; 0 where nothing was measured.

    Raises:
        DataError: The file cannot be read, or is not a 16-bit PNG.
    """
    values = read_png(path)
    if values.ndim != 2 or values.dtype.itemsize < 2:
        raise DataError(
            f"{path}: not a 16-bit grey PNG, so not a depth map. The depth maps are in data/depth.",
            kind="wrong content",
            file=path,
        )
    return (values * unit).astype("float32")


def log_depth(values: np.ndarray) -> np.ndarray:
    """Normalizes depth as the reference does: the log of the file's values minus the mean log.

    Args:
        values: The file's values `[h, w]`, as from `read_depth` with `unit=1`.

    Returns:
        float32 `[h, w]`; 0, the mean, where nothing was measured.
    """
    values = np.asarray(values, "float32")
    known = values > 0
    logs = np.log(np.where(known, values, 1)) - np.float32(MEAN_LOG_DEPTH)
    return np.where(known, logs, np.float32(0))


def _read_colours_and_depth(path: str | Path) -> np.ndarray:
    image, file = read_picture(path), Path(path).parents[1] / "depth" / Path(path).name
    depth = log_depth(read_depth(file, unit=1))
    if depth.shape != image.shape[:2]:
        raise DataError(
            f"{file}: the depth map is {depth.shape[0]} x {depth.shape[1]} (height x width), but "
            f"its image {path} is {image.shape[0]} x {image.shape[1]}. Both must have the same "
            "size; nothing is resized.",
            kind="size mismatch",
            file=file,
            value=depth.shape,
        )
    return np.dstack([image, depth])  # float32, since depth is.
