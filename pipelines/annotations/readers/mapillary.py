"""Mapillary Vistas: `config_v2.0.json` and polygons, `SPLIT/v2.0/polygons/ID.json`.

https://www.mapillary.com/dataset/vistas
"""

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from pipelines.annotations.annotated import (
    VOID,
    Annotated,
    ClassName,
    Picture,
    Shape,
)
from pipelines.annotations.colours import of_numbers
from pipelines.annotations.json_files import load
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.points import polygon_of, size_of
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.errors import DataError

CONFIG = ('"labels"', '"readable"', '"evaluate"')
POLYGONS = re.compile(r'"objects"\s*:\s*\[')
SIGNS = ('"width"', '"height"', '"label"', '"polygon"')


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for Mapillary's polygons, or None."""
    if not (config := _config_file(listing)):
        return None
    for name, text in listing.beginnings(".json"):
        if _is_polygons(text):
            return f"{config} and {name} are as in Mapillary Vistas"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads the config and all polygon files of a folder."""
    config = _config_file(listing)
    if not config:
        raise DataError(
            f"{listing.root}: has no config file of Mapillary Vistas, such as config_v2.0.json. "
            "Give the folder that holds it.",
            kind="missing file",
            file=listing.root,
        )
    labels = _read_config(listing.root / config)
    found = listing.beginnings(".json", most=None)
    names = [name for name, text in found if name != config and _is_polygons(text)]
    splits = listing.splits(names, by_name=False)
    pictures: list[Picture] = []
    faults: list[DataError] = []
    for name in names:
        try:
            pictures.append(_picture(listing, name, splits[name], labels.ids))
        except DataError as error:
            faults.append(error)
    void = [name for name, number in labels.ids.items() if number == VOID]
    note = f"void, because {config} says that they are not evaluated: {', '.join(void[:10])}"
    return Annotated(
        classes=tuple(labels.classes),
        pictures=tuple(pictures),
        edge="containing",
        has_background=False,
        notes=(note,) * bool(void),
        faults=tuple(faults),
    )


@dataclass
class _Labels:
    """The classes in the order of the config, and the class id, or void, of each label."""

    classes: list[ClassName] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)


def _config_file(listing: Listing) -> str | None:
    """Returns the config; of several versions, the one that the polygons' folder names."""
    found = [n for n, text in listing.beginnings(".json") if all(sign in text for sign in CONFIG)]
    for name in found:
        version = PurePosixPath(name).stem.rpartition("_")[2]
        if any(f"/{version}/" in f"/{file}" for file in listing.ending(".json")):
            return name
    return found[-1] if found else None


def _is_polygons(text: str) -> bool:
    return bool(POLYGONS.search(text)) and all(sign in text for sign in SIGNS)


def _read_config(path: Path) -> _Labels:
    content = load(path)
    entries = content.get("labels") if isinstance(content, dict) else None
    labels = _Labels()
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name in labels.ids:
            raise _wrong(path, f"label {number} needs a `name` of its own, found {entry!r:.100}")
        if entry.get("evaluate") is False or name.rpartition("--")[2] == "unlabeled":
            labels.ids[name] = VOID
        else:
            labels.ids[name] = len(labels.classes)
            labels.classes.append(ClassName(name, of_numbers(entry.get("color"))))
    if not labels.classes:
        raise _wrong(path, "has no `labels`")
    return labels


def _picture(listing: Listing, name: str, split: str | None, ids: dict[str, int]) -> Picture:
    path = listing.root / name
    content = load(path)
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        raise _wrong(path, "has no list `objects`")
    size = size_of(content.get("height"), content.get("width"), partial(_wrong, path))
    shapes: list[Shape] = []
    for number, entry in enumerate(content["objects"]):
        label = entry.get("label") if isinstance(entry, dict) else None
        if not isinstance(label, str) or label not in ids:
            raise _wrong(path, f"object {number} has the label {label!r:.100}; the config has none")
        shapes.append(
            Shape(
                ids[label], polygon_of(entry.get("polygon")), label=f"object {number} ({label!r})"
            )
        )
    image, picture = _image(listing, name, split)
    return Picture(picture, image, shapes, str(path), split, size)


def _image(listing: Listing, name: str, split: str | None) -> tuple[Path | DataError, str]:
    """Finds the image, SPLIT/images/ID.jpg, and the name for its mask."""
    place = PurePosixPath(name)
    first: DataError | None = None
    for ending in (".jpg", *sorted(EXTENSIONS)):
        image = listing.find_image(f"images/{place.stem}{ending}", name, split)
        if isinstance(image, Path):
            return image, image.relative_to(listing.image_root).as_posix()
        first = first or image
    assert first is not None
    return first, f"{place.stem}.jpg"


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: {reason}. Correct it, or download it again.",
        kind="wrong Mapillary file",
        file=path,
    )
