"""Supervisely: `meta.json`, and a folder `ann` beside the folder `img` in each data set.

https://docs.supervisely.com (`supervisely/geometry` draws the shapes)
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.annotations.annotated import Annotated, ClassName, Geometry, Picture, Shape
from pipelines.annotations.json_files import load
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.points import size_of
from pipelines.annotations.readers.supervisely_meta import Meta, read_meta
from pipelines.annotations.readers.supervisely_shapes import geometry_of, type_of
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.errors import DataError

MASKS = "masks_"  # Folders that Supervisely adds: masks_machine, masks_human.
SIZE = re.compile(r'"size"\s*:\s*\{')
OBJECTS = re.compile(r'"objects"\s*:\s*\[')
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for Supervisely's files, or None."""
    for name, text in listing.beginnings(".json"):
        if _is_supervisely(text):
            return f"{name} has `size`, `objects` and `tags`, as Supervisely's files have"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads all annotation files of a folder."""
    found = listing.beginnings(".json", most=None)
    names = [name for name, text in found if _is_supervisely(text)]
    folders = listing.splits(names, by_name=False)
    faults: list[DataError] = []
    notes: list[str] = []
    meta = read_meta(listing, names, faults)
    files: list[_File] = []
    for name in names:
        try:
            files.append(_read_file(listing, name, folders[name], meta))
        except DataError as error:
            faults.append(error)
    titles = _titles(meta, files, notes)
    ids = {title: number for number, title in enumerate(titles)}
    pictures = [
        Picture(
            name=file.picture,
            image=file.image,
            shapes=[
                Shape(ids[title], geometry, label=f"object {number} ({title!r})")
                for title, geometry, number in file.shapes
            ],
            where=str(listing.root / file.name),
            split=file.split,
            size=file.size,
            left_out=file.left_out,
        )
        for file in files
    ]
    return Annotated(
        classes=tuple(ClassName(title, meta.colours.get(title)) for title in titles),
        pictures=tuple(pictures),
        edge="nearest",
        notes=tuple(notes),
        faults=tuple(faults),
    )


@dataclass
class _File:
    """One annotation file; `shapes` are (title of the class, geometry, number)."""

    name: str
    picture: str
    image: Path | DataError
    size: tuple[int, int]
    split: str | None
    shapes: list[tuple[str, Geometry, int]]
    left_out: Counter[str]


def _is_supervisely(text: str) -> bool:
    return bool(SIZE.search(text) and OBJECTS.search(text) and '"tags"' in text)


def _read_file(listing: Listing, name: str, split: str | None, meta: Meta) -> _File:
    path = listing.root / name
    content = load(path)
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        raise _wrong(path, "has no list `objects`")
    stated = content.get("size")
    stated = stated if isinstance(stated, dict) else {}
    size = size_of(stated.get("height"), stated.get("width"), partial(_wrong, path))
    picture, image = _image(listing, name, split)
    tagged = _tagged(path, content.get("tags"))
    file = _File(name, picture, image, size, tagged or split, [], Counter())
    for number, entry in enumerate(content["objects"]):
        if not isinstance(entry, dict):
            raise _wrong(path, f"object {number} is {entry!r:.100}, not an object")
        title = entry.get("classTitle")
        if title is None and isinstance(entry.get("classId"), int):
            title = meta.by_id.get(entry["classId"])
        if not isinstance(title, str) or not title.strip():
            file.left_out["object without a class"] += 1
            continue
        kind = type_of(entry, meta.shapes.get(title))
        geometry = geometry_of(kind, entry, size)
        if geometry is None:
            file.left_out[f"object of the type {str(kind)[:50]!r}"] += 1
        else:
            file.shapes.append((title, geometry, number))
    return file


def _image(listing: Listing, name: str, split: str | None) -> tuple[str, Path | DataError]:
    """Finds the image of an annotation file, `img/NAME` for `ann/NAME.json`.

    In old projects, NAME is without the ending of the image.
    """
    place = PurePosixPath(name)
    is_beside = place.parent.name != "ann"
    folder = place.parent if is_beside else place.parent.parent / "img"
    given = [place.stem]
    if PurePosixPath(place.stem).suffix.lower() not in EXTENSIONS:
        any_ending = [f"{place.stem}{end}" for end in EXTENSIONS]
        given = any_ending if listing.images else listing.beside(f"{folder}/{place.name}") or given
    found: list[Path | DataError] = []
    for one in given:
        ways = [one if is_beside else f"../img/{one}"]
        if listing.images:  # It may hold the data sets with or without their folders `img`.
            ways = [str(folder / one), str(folder.parent / one)]
        for way in ways:
            found.append(_of_data_set(listing, listing.find_image(way, name, split), folder, name))
            if isinstance(found[-1], Path):
                return str(folder / one), found[-1]
    return str(folder / given[0]), found[0]


def _of_data_set(
    listing: Listing, image: Path | DataError, folder: PurePosixPath, name: str
) -> Path | DataError:
    """Refuses an image of another data set, or a mask, which may have the same name."""
    own = listing.root / folder
    if isinstance(image, DataError):
        return image
    is_fitting = listing.images or image.parent == own
    if is_fitting and not image.parent.name.startswith(MASKS):
        return image
    return DataError(
        f"{listing.root / name}: its image is not in {own} ({image} is another one). Add it, or "
        "give the folder of the images with --images FOLDER.",
        kind="missing image",
        file=listing.root / name,
    )


def _tagged(path: Path, tags: Any) -> str | None:
    """Returns the split that the tags of an image name."""
    names = (
        [tag.get("name") for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []
    )
    found = {SPLITS[n.casefold()] for n in names if isinstance(n, str) and n.casefold() in SPLITS}
    if len(found) > 1:
        raise _wrong(path, f"has the tags of several splits: {', '.join(sorted(found))}")
    return found.pop() if found else None


def _titles(meta: Meta, files: list[_File], notes: list[str]) -> list[str]:
    """Returns the classes in the order of meta.json, then those that it lacks."""
    used = {title for file in files for title, *_ in file.shapes}
    others = sorted(used - set(meta.shapes))
    if others and not meta.shapes:
        notes.append("there is no meta.json with classes, so they are sorted by name")
    elif others:
        notes.append(f"objects have classes that meta.json lacks: {', '.join(others[:10])}")
    return [*meta.shapes, *others]


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: {reason}. Export it again, or correct it.",
        kind="wrong Supervisely file",
        file=path,
    )
