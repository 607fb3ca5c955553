"""Cityscapes' polygons: `gtFine/SPLIT/CITY/ID_gtFine_polygons.json` beside `leftImg8bit`.

https://github.com/mcordts/cityscapesScripts (`preparation/json2labelImg.py` draws the shapes)
"""

from collections import Counter
from functools import partial
from pathlib import Path

from pipelines.annotations.annotated import (
    VOID,
    Annotated,
    ClassName,
    Colour,
    Picture,
    Shape,
)
from pipelines.annotations.json_files import load
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.points import polygon_of, size_of
from pipelines.datasets.cityscapes import CLASSES
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.errors import DataError

OTHER_LABELS: dict[str, tuple[int, Colour]] = {  # Label ids and colours; void by default.
    "unlabeled": (0, (0, 0, 0)),
    "ego vehicle": (1, (0, 0, 0)),
    "rectification border": (2, (0, 0, 0)),
    "out of roi": (3, (0, 0, 0)),
    "static": (4, (0, 0, 0)),
    "dynamic": (5, (111, 74, 0)),
    "ground": (6, (81, 0, 81)),
    "parking": (9, (250, 170, 160)),
    "rail track": (10, (230, 150, 140)),
    "guard rail": (14, (180, 165, 180)),
    "bridge": (15, (150, 100, 100)),
    "tunnel": (16, (150, 120, 90)),
    "polegroup": (18, (153, 153, 153)),
    "caravan": (29, (0, 0, 90)),
    "trailer": (30, (0, 0, 110)),
}
LABELS = dict(sorted((CLASSES | OTHER_LABELS).items(), key=lambda item: item[1][0]))
NOT_DRAWN = {"license plate"}  # Its label id is -1.
ENDINGS = ("_gtFine_polygons.json", "_gtCoarse_polygons.json")
IMAGE = "_leftImg8bit"
SIGNS = ('"imgHeight"', '"imgWidth"', '"objects"')


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for Cityscapes' polygons, or None."""
    for name, text in listing.beginnings(".json"):
        if _is_cityscapes(text):
            return f"{name} has `imgHeight` and `objects`, as Cityscapes' polygons have"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads all polygon files of a folder.

    The classes are the 19 that Cityscapes scores, and others that `options.keep` or
    `options.merge` name; all other labels are void.
    """
    found = listing.beginnings(".json", most=None)
    names = [name for name, text in found if _is_cityscapes(text)]
    notes: list[str] = []
    names = _without_coarse(names, notes)
    splits = listing.splits(names, by_name=False)
    wanted = {*options.keep, *(old.strip() for old, _ in options.merge)}
    classes = [label for label in LABELS if label in CLASSES or label in wanted]
    ids = {label: classes.index(label) if label in classes else VOID for label in LABELS}
    pictures: list[Picture] = []
    faults: list[DataError] = []
    for name in names:
        try:
            pictures.append(_picture(listing, name, splits[name], ids))
        except DataError as error:
            faults.append(error)
    return Annotated(
        classes=tuple(ClassName(label, LABELS[label][1]) for label in classes),
        pictures=tuple(pictures),
        edge="containing",
        has_background=False,
        notes=tuple(notes),
        faults=tuple(faults),
    )


def _is_cityscapes(text: str) -> bool:
    return all(sign in text for sign in SIGNS)


def _without_coarse(names: list[str], notes: list[str]) -> list[str]:
    """Leaves out coarse polygons of images that have fine ones."""
    fine = {_stem(name) for name in names if not name.endswith(ENDINGS[1])}
    kept = [name for name in names if not name.endswith(ENDINGS[1]) or _stem(name) not in fine]
    if len(kept) < len(names):
        count = len(names) - len(kept)
        notes.append(f"left out {count:,} files of coarse polygons, because there are fine ones")
    return kept


def _stem(name: str) -> str:
    """Returns the name that a file shares with its image: CITY_SEQUENCE_FRAME."""
    file = name.rpartition("/")[2]
    for ending in (*ENDINGS, ".json"):
        if file.endswith(ending):
            return file.removesuffix(ending)
    return file


def _picture(listing: Listing, name: str, split: str | None, ids: dict[str, int]) -> Picture:
    path = listing.root / name
    content = load(path)
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        raise _wrong(path, "has no list `objects`")
    size = size_of(content.get("imgHeight"), content.get("imgWidth"), partial(_wrong, path))
    shapes: list[Shape] = []
    left_out: Counter[str] = Counter()
    unknown: list[str] = []
    for number, entry in enumerate(content["objects"]):
        label = entry.get("label") if isinstance(entry, dict) else None
        if not isinstance(label, str):
            raise _wrong(path, f"object {number} is {entry!r:.100}, which has no `label`")
        if entry.get("deleted"):
            left_out["deleted object"] += 1
            continue
        if label not in ids and label not in NOT_DRAWN:
            label = label.removesuffix("group")
        if label in NOT_DRAWN:
            left_out[f"{label} (not drawn by Cityscapes)"] += 1
        elif label in ids:
            name_ = f"object {number} ({label!r})"
            shapes.append(Shape(ids[label], polygon_of(entry.get("polygon")), label=name_))
        else:
            unknown.append(str(entry["label"]))
    if unknown:
        raise _wrong(path, f"has labels that Cityscapes does not know: {unknown[0]!r:.100}")
    image, picture = _image(listing, name, split)
    return Picture(picture, image, shapes, str(path), split, size, left_out)


def _image(listing: Listing, name: str, split: str | None) -> tuple[Path | DataError, str]:
    """Finds the image of a file, and the name for its mask."""
    stem, folders = _stem(name), name.split("/")[:-1]
    place = folders[folders.index("gtFine") + 1 :] if "gtFine" in folders else folders[-2:]
    first: DataError | None = None
    for file in (f"{stem}{IMAGE}", stem):
        for ending in (".png", *sorted(EXTENSIONS)):
            given = "/".join((*place, f"{file}{ending}"))
            image = listing.find_image(given, name, split)
            if isinstance(image, Path):
                return image, image.relative_to(listing.image_root).as_posix()
            first = first or image
    assert first is not None
    return first, f"{stem}{IMAGE}.png"


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: {reason}. Correct it, or leave it out with --on-bad-file skip.",
        kind="wrong Cityscapes file",
        file=path,
    )
