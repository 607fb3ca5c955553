"""Cityscapes with fine annotations: 2975 train and 500 val images, 2048 x 1024, 19 classes.

    leftImg8bit/{train,val}/CITY/ID_leftImg8bit.png
    gtFine/{train,val}/CITY/ID_gtFine_labelIds.png

Masks hold 34 label ids; the 15 that Cityscapes does not score are void. If a split has no labelIds,
its labelTrainIds are read, which Cityscapes' own scripts create.
"""

from pathlib import Path

import numpy as np

from pipelines.datasets.lists import data_root, paired
from pipelines.errors import DataError
from pipelines.split import IGNORE, Split, plain_values

SPLITS = ("train", "val")
CLASSES = {  # Label id and colour, in the order of the train ids 0, 1, ...
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
PALETTE = np.array([colour for _, colour in CLASSES.values()], "uint8")
LABEL_IDS = {
    **dict.fromkeys(range(34), IGNORE),
    **{label: train_id for train_id, (label, _) in enumerate(CLASSES.values())},
}
WHERE = (
    "Cityscapes is leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from "
    "cityscapes-dataset.com/downloads (free after registration); unpack both into one folder and "
    "give it as --data-dir."
)


def read(data_dir: str | Path | None, split: str) -> Split:
    """Reads one split.

    Args:
        data_dir: The folder that holds leftImg8bit and gtFine.
        split: "train" or "val".

    Raises:
        DataError: A folder is missing, or the split is "test", which has no labels.
    """
    root = data_root("cityscapes", data_dir, WHERE)
    if split == "test":
        raise DataError(
            "cityscapes test: its labels are not published (its masks are entirely void); only "
            "Cityscapes' server scores it. Use val."
        )
    if split not in SPLITS:
        raise DataError(f"cityscapes: no split {split!r}; choose one of {', '.join(SPLITS)}.")
    images = _by_id(root, f"leftImg8bit/{split}", "_leftImg8bit.png")
    masks = _by_id(root, f"gtFine/{split}", "_gtFine_labelIds.png")
    values = LABEL_IDS
    if not masks:
        masks = _by_id(root, f"gtFine/{split}", "_gtFine_labelTrainIds.png")
        values = plain_values(len(CLASSES))
    examples, faults = paired(images, masks, root, WHERE)
    return Split(
        name=f"cityscapes {split}",
        examples=examples,
        class_names=tuple(CLASSES),
        palette=PALETTE,
        mask_values=values,
        faults=faults,
    )


def _by_id(root: Path, folder: str, ending: str) -> dict[str, Path]:
    """Finds the files of all cities, by the part of the name that image and mask share."""
    return {path.name.removesuffix(ending): path for path in (root / folder).glob(f"*/*{ending}")}
