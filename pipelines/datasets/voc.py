"""PASCAL VOC segmentation as distributed: 20 classes and background, palette masks, void borders.

    VOCdevkit/VOC2012/JPEGImages/ID.jpg  SegmentationClass/ID.png
    VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val,trainval}.txt

A list has one ID per line. 255 in a mask marks the border around each object, and is void. Besides
VOC's own lists there are the usual splits with SBD (see `pipelines.datasets.sbd`), whose folder is
next to VOCdevkit:

    sbd         SBD's train.txt, 8,498 images: the paper's models are trained on it. Some of these
                images are in `val`, so evaluate on seg11valid.
    seg11valid  VOC 2011's val without SBD's train.txt, 736 images: the paper's models are evaluated
                on it.
    trainaug    VOC's train, plus SBD's train.txt and val.txt without VOC's train and val: 10,582
                images for VOC 2012, none of them in `val`. Images of VOC's train have VOC's masks.

The counts are those of the complete data sets; the splits are computed from the lists found.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from pipelines.datasets import sbd
from pipelines.datasets.lists import Listed, data_root, existing, read_lines
from pipelines.errors import DataError
from pipelines.split import Example, Split, distinct_palette, plain_values

SPLITS = ("train", "val", "trainval")
CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def read(year: int, data_dir: str | Path | None, split: str) -> Split:
    """Reads one split.

    Args:
        year: Year of the challenge, 2011 or 2012.
        data_dir: The folder that holds VOCdevkit (and SBD, for its splits), or VOCdevkit itself.
        split: "train", "val", "trainval", "sbd", "trainaug", or for 2011 "seg11valid".

    Raises:
        DataError: A folder, a list or all listed files are missing.
    """
    where = (
        f"PASCAL VOC {year} is VOCtrainval_*.tar from host.robots.ox.ac.uk/pascal/VOC/voc{year}/; "
        "unpack it and give the folder that holds VOCdevkit as --data-dir."
    )
    given = data_root(f"voc{year}", data_dir, where)
    if split == "sbd":
        examples, faults = sbd.examples(given, "train")
    elif split == "trainaug":
        root = _root(year, given, where)
        examples, faults = _listed(root, "train", where)
        seen = {*_names(root, "train"), *_names(root, "val")}
        for part in ("train", "val"):
            more, more_faults = sbd.examples(given, part, without=seen)
            examples, faults = examples + more, faults + more_faults
    elif split == "seg11valid" and year == 2011:
        root = _root(year, given, where)
        examples, faults = _listed(root, "val", where, without=sbd.names(given, "train"))
    else:
        examples, faults = _listed(_root(year, given, where), split, where)
    return Split(
        name=f"voc{year} {split}",
        examples=examples,
        class_names=CLASSES,
        palette=distinct_palette(len(CLASSES)),
        mask_values=plain_values(len(CLASSES)),
        read_mask=sbd.read_mask,
        faults=faults,
    )


def _root(year: int, given: Path, where: str) -> Path:
    for folder in (given / f"VOC{year}", given / "VOCdevkit" / f"VOC{year}"):
        if folder.is_dir():
            return folder
    raise DataError(f"data_dir={str(given)!r}: has no folder VOCdevkit/VOC{year}. {where}")


def _listed(root: Path, split: str, where: str, without: Iterable[str] = ()) -> Listed:
    """Reads one of VOC's lists, without the IDs in `without`: examples and faults."""
    without = set(without)
    listed = [
        Example(
            name, root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png"
        )
        for name in _names(root, split)
        if name not in without
    ]
    return existing(listed, root, _listing(root, split), where)


def _names(root: Path, split: str) -> list[str]:
    """Reads the IDs in one of VOC's lists."""
    listing = _listing(root, split)
    if split not in SPLITS or not listing.is_file():
        found = [name for name in SPLITS if _listing(root, name).is_file()]
        raise DataError(
            f"{listing}: no such split; found {', '.join(found) or 'no lists'}. SBD adds "
            "sbd, trainaug and, for 2011, seg11valid. The test split's masks are not published."
        )
    return read_lines(listing)


def _listing(root: Path, split: str) -> Path:
    return root / "ImageSets" / "Segmentation" / f"{split}.txt"


READERS = {f"voc{year}": partial(read, year) for year in (2011, 2012)}
