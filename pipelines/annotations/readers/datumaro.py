"""Datumaro: annotations/SUBSET.json beside images/SUBSET.

https://github.com/open-edge-platform/datumaro (`plugins/data_formats/datumaro`)
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.annotations.annotated import Annotated, Broken, ClassName, Colour, Picture, Shape
from pipelines.annotations.json_files import entries
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.coco_entries import id_of
from pipelines.annotations.readers.datumaro_shapes import BOX, SHAPES, geometry_of
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.errors import DataError

SIGNS = re.compile(r'"categories"\s*:\s*\{'), re.compile(r'"items"\s*:\s*\[')
OTHER_SIGNS = '"label_id"', '"dm_format_version"', '"labels"', '"annotations"'
OTHER_MEDIA = ("video_frame", "video", "point_cloud", "multiframe_image")
NO_LABEL = "annotation without a label"
ENDINGS = [form for end in sorted(EXTENSIONS) for form in (end, end.upper())]


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for Datumaro's files, or None."""
    for name, text in listing.beginnings(".json"):
        if _is_datumaro(text):
            return f"{name} has `categories` and `items`, as Datumaro's files have"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads all files of Datumaro in a folder."""
    found = listing.beginnings(".json", most=None)
    names = [name for name, text in found if _is_datumaro(text)]
    splits = listing.splits(names)
    files: list[_File] = []
    faults: list[DataError] = []
    notes: list[str] = []
    for name in names:
        try:
            files.append(_read_file(listing.root / name, name))
        except DataError as error:
            faults.append(error)
    colours = {label: colour for f in files for label, colour in _labels(f) if label}
    ids = {label: number for number, label in enumerate(colours)}
    pictures: list[Picture] = []
    for file in files:
        pictures += _pictures(file, ids, listing, splits[file.name])
        faults += file.faults
        notes += [f"left out of {file.name}: {n} {what}" for what, n in file.left_out.items()]
    return Annotated(
        classes=tuple(ClassName(label, colour) for label, colour in colours.items()),
        pictures=tuple(pictures),
        notes=tuple(notes),
        faults=tuple(faults),
    )


@dataclass
class _File:
    """What a file holds; `labels` are (name, name of the parent)."""

    path: Path
    name: str
    labels: list[tuple[str, str]] = field(default_factory=list)
    colours: dict[int, Colour] = field(default_factory=dict)
    skeletons: set[int] = field(default_factory=set)  # Ids of labels that have joints.
    items: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # Items.
    faults: list[DataError] = field(default_factory=list)

    @property
    def subset(self) -> str:
        return PurePosixPath(self.name).stem


def _is_datumaro(text: str) -> bool:
    return all(sign.search(text) for sign in SIGNS) and any(sign in text for sign in OTHER_SIGNS)


def _read_file(path: Path, name: str) -> _File:
    file = _File(path, name)
    for key, value in entries(path, frozenset(("items",))):
        if key == "categories":
            _add_categories(file, value)
        elif key == "items":
            if not isinstance(value, dict) or not isinstance(value.get("annotations", []), list):
                raise _wrong(path, f"an entry of `items` is {value!r:.100}")
            file.items.append(value)
    return file


def _add_categories(file: _File, categories: Any) -> None:
    label, mask, points = (
        categories.get(kind) or {} if isinstance(categories, dict) else {}
        for kind in ("label", "mask", "points")
    )
    try:
        for entry in label.get("labels", ()):
            file.labels.append((str(entry["name"]), str(entry.get("parent") or "")))
        for entry in mask.get("colormap", ()):
            red, green, blue = bytes([entry["r"], entry["g"], entry["b"]])
            file.colours[int(entry["label_id"])] = red, green, blue
        file.skeletons = {int(entry["label_id"]) for entry in points.get("items", ())}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _wrong(
            file.path, "its `categories` need labels with a name, colours with r, g, b"
        ) from None


def _labels(file: _File) -> Iterable[tuple[str, Colour | None]]:
    """Yields the labels that can have an area: not those of the joints of skeletons."""
    skeletons = {file.labels[n][0] for n in file.skeletons if 0 <= n < len(file.labels)}
    used = {
        entry.get("label_id")
        for item in file.items
        for entry in item.get("annotations") or ()
        if isinstance(entry, dict) and entry.get("type") in SHAPES and _is_id(entry)
    }
    for number, (label, parent) in enumerate(file.labels):
        if number in used or not (parent and parent in skeletons):
            yield label, file.colours.get(number)


def _is_id(entry: dict[str, Any]) -> bool:
    return type(entry.get("label_id")) is int


def _pictures(
    file: _File, ids: dict[str, int], listing: Listing, split: str | None
) -> Iterable[Picture]:
    for item in file.items:
        number = str(item.get("id"))
        where = f"{file.path}: item {number!r:.200}"
        image = _image(file, item, number, listing, split)
        if image is None:
            continue
        path = _media(item).get("path")
        named = path if isinstance(path, str) and path else number
        suffix = image.suffix if isinstance(image, Path) else PurePosixPath(named).suffix
        shapes, left_out = _shapes(file, item, ids)
        yield Picture(
            name=number if number.endswith(suffix) else number + suffix,
            image=image,
            shapes=shapes,
            where=where,
            split=split,
            size=_size(file, item, where),
            left_out=left_out,
        )


def _media(item: dict[str, Any]) -> dict[str, Any]:
    for key in ("image", "media"):
        media = item.get(key)
        if isinstance(media, dict):
            return media
    return {}


def _image(
    file: _File, item: dict[str, Any], number: str, listing: Listing, split: str | None
) -> Path | DataError | None:
    """Finds the image, which may be called like the item; None if the item is about none."""
    other = next((key for key in OTHER_MEDIA if item.get(key)), None)
    if other:
        file.left_out[f"items about a {other.replace('_', ' ')}"] += 1
        return None
    path = _media(item).get("path")
    if isinstance(path, str) and path:
        return listing.find_image(f"{file.subset}/{path}", file.name, split)
    for ending in ENDINGS:
        found = listing.find_image(f"{file.subset}/{number}{ending}", file.name, split)
        if isinstance(found, Path):
            return found
    file.left_out["items without an image"] += 1
    return None


def _size(file: _File, item: dict[str, Any], where: str) -> tuple[int, int] | None:
    size = _media(item).get("size")
    if size is None:
        return None
    whole = [id_of(n) for n in size] if isinstance(size, list) else []
    if len(whole) != 2 or not all(isinstance(n, int) and n > 0 for n in whole):
        reason = f"item {str(item.get('id'))!r:.200} has the size {size!r:.50}, not [height, width]"
        file.faults.append(_wrong(file.path, reason))
        return None
    return whole[0], whole[1]


def _shapes(
    file: _File, item: dict[str, Any], ids: dict[str, int]
) -> tuple[list[Shape], Counter[str]]:
    """Returns the shapes by z-order, then file order, and what is left out."""
    found: list[tuple[float, Shape]] = []
    left_out: Counter[str] = Counter()
    for position, entry in enumerate(item.get("annotations") or []):
        kind = entry.get("type") if isinstance(entry, dict) else None
        if kind not in SHAPES:
            left_out[str(kind)[:50]] += 1
        elif entry.get("label_id") is None:
            left_out[NO_LABEL] += 1
        else:
            number = entry["label_id"]
            is_known = _is_id(entry) and 0 <= number < len(file.labels)
            class_id = ids.get(file.labels[number][0]) if is_known else None
            unknown = f"its label_id {number!r:.50} is not in `categories`"
            geometry = Broken(unknown) if class_id is None else geometry_of(entry)
            label = f"annotation {position} ({kind})"
            z_order = entry.get("z_order")
            order = z_order if isinstance(z_order, int | float) else 0
            found.append((order, Shape(class_id or 0, geometry, kind == BOX, label)))
    return [shape for _, shape in sorted(found, key=lambda pair: pair[0])], left_out


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: {reason}. Export it again, or correct it.",
        kind="wrong Datumaro file",
        file=path,
    )
