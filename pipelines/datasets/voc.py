"""PASCAL VOC segmentation as distributed: 20 classes and background, palette masks, void borders.

    VOCdevkit/VOC2012/JPEGImages/ID.jpg  SegmentationClass/ID.png
    VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val,trainval}.txt

A list holds an ID on each line. 255 in a mask is the border round each object, and void.
"""

from functools import partial

from pipelines.errors import DataError
from pipelines.lists import data_root, existing, read_lines
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


def read(year, data_dir, split):
    """The examples of one split.

    Args:
        year: of the challenge, such as 2012.
        data_dir: the folder that holds VOCdevkit, or VOCdevkit itself.
        split: "train", "val" or "trainval".

    Raises:
        DataError: the folder, the list or a listed file is missing.
    """
    where = (
        f"PASCAL VOC {year} is VOCtrainval_*.tar of host.robots.ox.ac.uk/pascal/VOC/voc{year}/; "
        "unpack it and give the folder that holds VOCdevkit as --data-dir."
    )
    given = data_root(f"voc{year}", data_dir, where)
    candidates = (given / f"VOC{year}", given / "VOCdevkit" / f"VOC{year}")
    root = next((folder for folder in candidates if folder.is_dir()), None)
    if root is None:
        raise DataError(f"data_dir={str(data_dir)!r}: no folder VOCdevkit/VOC{year} there. {where}")
    lists = root / "ImageSets" / "Segmentation"
    if split not in SPLITS or not (lists / f"{split}.txt").is_file():
        found = [name for name in SPLITS if (lists / f"{name}.txt").is_file()]
        raise DataError(
            f"{lists / split}.txt: no such split; there are {', '.join(found) or 'no lists'}. "
            "The test split's masks are not published."
        )
    listed = [
        Example(
            name, root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png"
        )
        for name in read_lines(lists / f"{split}.txt")
    ]
    examples, faults = existing(listed, root, lists / f"{split}.txt", where)
    return Split(
        name=f"voc{year} {split}",
        examples=examples,
        class_names=CLASSES,
        palette=distinct_palette(len(CLASSES)),
        mask_values=plain_values(len(CLASSES)),
        faults=faults,
    )


READERS = {f"voc{year}": partial(read, year) for year in (2011, 2012)}
