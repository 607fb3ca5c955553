"""COCO: instances and panoptic segmentation, Roboflow's variant, and SA-1B's file for each image.

https://cocodataset.org/#format-data
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.annotations.annotated import (
    Annotated,
    ClassName,
    Geometry,
    Picture,
    Shape,
)
from pipelines.annotations.colours import of_numbers
from pipelines.annotations.json_files import entries
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers import coco_panoptic
from pipelines.annotations.readers.coco_entries import geometry_of, id_of, size_of
from pipelines.errors import DataError

ARRAYS = frozenset(("images", "annotations", "categories"))
# What the beginning and end of a file show: a key at the top, and an annotation. The other keys may
# be in the middle of a large file.
TOP = re.compile(r'"(?:images|annotations|categories)"\s*:\s*\[|"image"\s*:\s*\{')
ENTRY = re.compile(r'"(?:segmentation|segments_info|bbox)"\s*:')
REFERENCE = re.compile(r'"image_id"\s*:')
# A file whose images have no annotations, such as that of a split.
EMPTY = re.compile(r'"annotations"\s*:\s*\[\s*\]')
IMAGE = re.compile(r'"file_name"\s*:')
OBJECT = "object"  # The class of files without categories (SA-1B).
NO_AREA = "annotation without a segmentation or box"


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for COCO files, or None."""
    for name, text in listing.beginnings(".json"):
        if _is_coco(text):
            is_empty = EMPTY.search(text)
            what = "`images` without annotations" if is_empty else "annotations with `image_id`"
            return f"{name} has {what}, as COCO's files have"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads all COCO files of a folder."""
    found = listing.beginnings(".json", most=None)
    looks = {name: text for name, text in found if _is_coco(text)}
    names, notes = _without_duplicates(looks)
    files, faults = [], []
    for name in names:
        try:
            files.append(_read_file(listing.root / name, name))
        except DataError as error:
            faults.append(error)
    of_one_image = bool(files) and all(file.is_of_one_image for file in files)
    splits = listing.splits(names, by_name=not of_one_image)
    classes, ids = _classes(files, notes)
    pictures: list[Picture] = []
    for file in files:
        pictures += _pictures(file, ids, listing, splits[file.name])
        faults += file.faults
    return Annotated(
        classes=classes,
        pictures=tuple(pictures),
        edge="centre",
        overlap="large-first",
        has_background=not any(file.is_panoptic for file in files),
        notes=tuple(notes),
        faults=tuple(faults),
    )


@dataclass
class _File:
    """What a file holds. `annotations`: image id -> (category id, geometry, is_box, id)."""

    path: Path
    name: str
    images: list[dict[str, Any]] = field(default_factory=list)
    categories: dict[Any, dict[str, Any]] = field(default_factory=dict)
    annotations: dict[Any, list[tuple[Any, Geometry, bool, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    segments: dict[Any, dict[str, Any]] = field(default_factory=dict)  # Panoptic.
    left_out: dict[Any, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[DataError] = field(default_factory=list)
    is_of_one_image: bool = False  # SA-1B.

    @property
    def is_panoptic(self) -> bool:
        return bool(self.segments)

    def used(self) -> set[Any]:
        """The ids of categories that have annotations."""
        segments = (s for entry in self.segments.values() for s in entry["segments_info"])
        return {
            *(category for of_image in self.annotations.values() for category, *_ in of_image),
            *(id_of(s.get("category_id")) for s in segments if isinstance(s, dict)),
        }


def _is_coco(text: str) -> bool:
    has_entries = all(sign.search(text) for sign in (TOP, ENTRY, REFERENCE))
    return has_entries or bool(EMPTY.search(text) and IMAGE.search(text))


def _without_duplicates(looks: dict[str, str]) -> tuple[list[str], list[str]]:
    """Leaves out files for captions and keypoints, which COCO has beside those for instances."""
    notes, names = [], list(looks)
    for kind in ("captions", "keypoints"):
        extra = [name for name in names if re.search(rf"(?i){kind}", name.rpartition("/")[2])]
        if extra and len(extra) < len(names):
            names = [name for name in names if name not in extra]
            notes.append(f"left out, because they are for {kind}: {', '.join(extra[:5])}")
    return names, notes


def _read_file(path: Path, name: str) -> _File:
    file = _File(path, name)
    for key, entry in entries(path, ARRAYS):
        if key in ("images", "categories", "image") and not isinstance(entry, dict):
            raise _wrong(path, f"an entry of `{key}` is {entry!r:.100}, not an object")
        if key == "images":
            file.images.append(entry)
        elif key == "image":
            file.images.append({**entry, "id": entry.get("image_id", entry.get("id"))})
            file.is_of_one_image = True
        elif key == "categories":
            _add_category(file, entry)
        elif key == "annotations":
            _add_annotation(file, entry)
    if file.is_of_one_image:  # Its annotations need not name it.
        number = id_of(file.images[0]["id"])
        file.annotations = {number: [a for of in file.annotations.values() for a in of]}
        file.left_out = defaultdict(Counter, {number: sum(file.left_out.values(), Counter())})
    return file


def _add_category(file: _File, entry: dict[str, Any]) -> None:
    number, name = id_of(entry.get("id")), entry.get("name")
    if number is None or not isinstance(name, str | int | float) or isinstance(name, bool):
        raise _wrong(file.path, f"the category {entry!r:.100} needs an `id` and a `name`")
    if number in file.categories:
        raise _wrong(file.path, f"two categories have the id {number!r}")
    file.categories[number] = {**entry, "name": str(name)}


def _add_annotation(file: _File, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise _wrong(file.path, f"an entry of `annotations` is {entry!r:.100}, not an object")
    image = id_of(entry.get("image_id"))
    if isinstance(entry.get("segments_info"), list):
        file.segments[image] = entry
        return
    geometry, is_box = geometry_of(entry)
    if geometry is None:
        file.left_out[image][NO_AREA] += 1
    else:
        category = id_of(entry.get("category_id"))
        file.annotations[image].append((category, geometry, is_box, entry.get("id")))


def _classes(files: Sequence[_File], notes: list[str]) -> tuple[tuple[ClassName, ...], dict]:
    """Returns the classes by ascending category id, and `{(file, category id): class id}`.

    Files may number the same classes differently, so the name counts.
    """
    colours: dict[str, Any] = {}
    ids: dict[tuple[str, Any], int] = {}
    used = {name for f in files for c in f.used() if (name := f.categories.get(c, {}).get("name"))}
    for file in files:
        of_file = file.used()
        parents = Counter(str(c.get("supercategory")) for c in file.categories.values())
        for number in sorted(file.categories, key=lambda n: (isinstance(n, str), n)):
            category = file.categories[number]
            name = category["name"]
            others = parents[name] - (category.get("supercategory") == name)
            twice = sum(c["name"] == name for c in file.categories.values()) > 1
            if others and number not in of_file and (name not in used or twice):
                note = (
                    f"left out the category {name!r} (id {number}): it has no annotations and is "
                    "only the supercategory of others"
                )
                notes += [note] * (note not in notes)
                continue
            colours.setdefault(name, of_numbers(category.get("color")))
            ids[file.name, number] = list(colours).index(name)
    if not colours and any(file.annotations for file in files):
        notes.append(f"the files have no categories, so all annotations are one class, {OBJECT!r}")
        return (ClassName(OBJECT),), {}
    return tuple(ClassName(name, colour) for name, colour in colours.items()), ids


def _pictures(
    file: _File, ids: dict[tuple[str, Any], int], listing: Listing, split: str | None
) -> Iterable[Picture]:
    """Builds the images of a file; adds the faults of its references to `file.faults`."""
    known = Counter(id_of(image.get("id")) for image in file.images)
    _check_references(file, known)
    for image in file.images:
        number, name = id_of(image.get("id")), image.get("file_name")
        if not isinstance(name, str) or not name:
            file.faults.append(_wrong(file.path, f"the image {number!r} has no `file_name`"))
            continue
        where = f"{file.path}: image {name!r}"
        shapes: Any = [
            Shape(ids.get((file.name, category), 0), geometry, is_box, f"annotation {id_!r}")
            for category, geometry, is_box, id_ in file.annotations.get(number, ())
            if not file.categories or (file.name, category) in ids
        ]
        if number in file.segments:
            of_file = {category: i for (f, category), i in ids.items() if f == file.name}
            shapes = coco_panoptic.shapes(file.path, file.segments[number], of_file, listing)
        yield Picture(
            name=name,
            image=listing.find_image(name, file.name, split),
            shapes=shapes,
            where=where,
            split=split,
            size=size_of(image, where, file.faults),
            left_out=file.left_out[number],
        )


def _check_references(file: _File, known: Counter[Any]) -> None:
    """Adds faults of ids that are not unique, or that refer to nothing."""
    for number, count in known.items():
        if count > 1:
            file.faults.append(_wrong(file.path, f"{count} images have the id {number!r}"))
    lost = [i for i in (*file.annotations, *file.segments) if i not in known]
    if lost:
        count = sum(len(file.annotations.get(i, ())) or 1 for i in lost)
        file.faults.append(
            _wrong(
                file.path,
                f"{count} annotations belong to images that are not listed; the "
                f"first has `image_id` {lost[0]!r}",
            )
        )
    if unknown := [n for n in file.used() if n not in file.categories]:
        if file.categories:
            file.faults.append(
                _wrong(
                    file.path,
                    f"annotations have `category_id` {unknown[0]!r}, which is not "
                    "among the categories",
                )
            )


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: {reason}. Export it again, or correct it.", kind="wrong COCO file", file=path
    )
