"""LabelMe: one JSON file for each image.

https://github.com/wkentaro/labelme (`labelme/utils/shape.py` draws the shapes)
"""

import base64
import binascii
import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pipelines.annotations.annotated import (
    VOID,
    Annotated,
    Bitmap,
    Broken,
    ClassName,
    Ellipse,
    Geometry,
    Line,
    Picture,
    Point,
    Polygon,
    Shape,
)
from pipelines.annotations.json_files import load
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.png_bitmaps import decode
from pipelines.annotations.points import corners, points_of, size_of
from pipelines.datasets.lists import read_lines
from pipelines.errors import DataError
from pipelines.files.opening import Encoded

IGNORE_LABEL = "__ignore__"
LINE_WIDTH, POINT_WIDTH = 10, 10  # Pixels, as labelme itself draws them.
KEYS = ('"shapes"', '"imagePath"', '"imageData"', '"imageHeight"', '"shape_type"')
NAMES = ("labels.txt", "class_names.txt")  # Files with all labels, in order.


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for LabelMe files, or None."""
    for name, text in listing.beginnings(".json"):
        if _is_labelme(text):
            return f"{name} has `shapes` and `imagePath`, as LabelMe's files have"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads all LabelMe files of a folder."""
    names: list[str] = []
    faults: list[DataError] = []
    notes: list[str] = []
    for name, text in listing.beginnings(".json", most=None):
        if _is_labelme(text, least=2):  # A file without `shapes` is a fault.
            names.append(name)
    splits = listing.splits(names, by_name=False)
    files: list[_File] = []
    for name in names:
        try:
            files.append(_read_file(listing, name, splits[name]))
        except DataError as error:
            faults.append(error)
    labels = _labels(listing, {label for file in files for label, *_ in file.shapes}, notes)
    ids = {IGNORE_LABEL: VOID, **{label: number for number, label in enumerate(labels)}}
    pictures = [
        Picture(
            name=file.picture,
            image=file.image,
            shapes=[
                Shape(ids[label], geometry, label=f"shape {number} ({label!r})")
                for label, geometry, number in file.shapes
            ],
            where=str(listing.root / file.name),
            split=splits[file.name],
            size=file.size,
            left_out=file.left_out,
        )
        for file in files
    ]
    return Annotated(
        classes=tuple(map(ClassName, labels)),
        pictures=tuple(pictures),
        edge="containing",
        notes=tuple(notes),
        faults=tuple(faults),
    )


@dataclass
class _File:
    """One file; `shapes` are (label, geometry, number)."""

    name: str
    picture: str
    image: Path | Encoded | DataError
    size: tuple[int, int] | None
    shapes: list[tuple[str, Geometry, int]]
    left_out: Counter[str]


@dataclass(frozen=True)
class _ImageData:
    """The image inside a file, which stays there until it is needed."""

    path: Path

    def read_bytes(self) -> bytes:
        """Returns the encoded image."""
        try:
            return base64.b64decode(load(self.path)["imageData"], validate=True)
        except (binascii.Error, TypeError, KeyError, ValueError) as error:
            raise DataError(
                f"{self}: is not base64 ({error}). Put the image beside the file.",
                kind="damaged file",
                file=self.path,
            ) from None

    def __str__(self) -> str:
        return f"{self.path}: imageData"


def _is_labelme(text: str, least: int = 3) -> bool:
    return sum(key in text for key in KEYS) >= least


def _read_file(listing: Listing, name: str, split: str | None) -> _File:
    path = listing.root / name
    content = load(path)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise _wrong(path, "has no list `shapes`")
    image = _image(listing, name, content, split)
    stem = PurePosixPath(name).with_suffix("")
    suffix = image.suffix if isinstance(image, Path) else ".png"
    file = _File(name, f"{stem}{suffix}", image, _size(path, content), [], Counter())
    for number, shape in enumerate(content["shapes"]):
        if not isinstance(shape, dict):
            raise _wrong(path, f"shape {number} is {shape!r:.100}, not an object")
        label = shape.get("label")
        if isinstance(label, int | float) and not isinstance(label, bool):
            label = str(label)
        if not isinstance(label, str) or not label.strip():
            file.left_out["shape without a label"] += 1
            continue
        kind = shape.get("shape_type") or "polygon"
        if not isinstance(kind, str) or kind not in GEOMETRIES:
            file.left_out[f"shape of the type {str(kind)[:50]!r}"] += 1
            continue
        try:
            geometry = GEOMETRIES[kind](points_of(shape.get("points")), shape)
        except ValueError as error:
            geometry = Broken(str(error))
        file.shapes.append((label, geometry, number))
    return file


def _image(
    listing: Listing, name: str, content: dict[str, Any], split: str | None
) -> Path | Encoded | DataError:
    """Finds the image: as the file says, or called like the file, or inside the file."""
    given = content.get("imagePath")
    stem = PurePosixPath(name).stem
    found = listing.find_image(given if isinstance(given, str) and given else stem, name, split)
    if isinstance(found, Path):
        return found
    beside = listing.beside(name)
    if len(beside) == 1:
        return listing.find_image(beside[0], name)
    return _ImageData(listing.root / name) if content.get("imageData") else found


def _size(path: Path, content: dict[str, Any]) -> tuple[int, int] | None:
    size = (content.get("imageHeight"), content.get("imageWidth"))
    if None in size:
        return None
    return size_of(*size, partial(_wrong, path))


def _labels(listing: Listing, found: set[str], notes: list[str]) -> list[str]:
    """Returns the labels: in the order of a list beside the files, otherwise sorted."""
    found = found - {IGNORE_LABEL}
    for name in listing.ending(*NAMES):
        if name.rpartition("/")[2] in NAMES:
            try:
                listed = list(dict.fromkeys(read_lines(listing.root / name)))
            except DataError:
                continue
            if found <= set(listed):
                notes.append(f"the order of the classes is that of {name}")
                return [label for label in listed if label != IGNORE_LABEL]
    return sorted(found)


def _polygon(points: np.ndarray, shape: dict[str, Any]) -> Geometry:
    return Polygon(((points,),))


def _rectangle(points: np.ndarray, shape: dict[str, Any]) -> Geometry:
    if len(points) == 2:  # Two corners, in any order.
        points = corners(*points.ravel())
    return Polygon(((points,),))


def _circle(points: np.ndarray, shape: dict[str, Any]) -> Geometry:
    (x, y), (to_x, to_y) = _exactly(points, 2)
    radius = math.hypot(to_x - x, to_y - y)
    return Ellipse(x, y, radius, radius)


def _line(points: np.ndarray, shape: dict[str, Any]) -> Geometry:
    if len(points) < 2:
        raise ValueError(f"a line must have at least 2 points, found {len(points)}")
    return Line(points, LINE_WIDTH)


def _point(points: np.ndarray, shape: dict[str, Any]) -> Geometry:
    ((x, y),) = _exactly(points, 1)
    return Point(x, y, POINT_WIDTH)


def _mask(points: np.ndarray, shape: dict[str, Any]) -> Geometry:
    (left, top), _ = _exactly(points, 2)
    if not isinstance(shape.get("mask"), str):
        raise ValueError("its `mask` must be a PNG in base64")
    return Bitmap(partial(decode, shape["mask"]), math.floor(left), math.floor(top))


GEOMETRIES = {
    "polygon": _polygon,
    "rotation": _polygon,  # X-AnyLabeling's rotated rectangles.
    "rectangle": _rectangle,
    "circle": _circle,
    "line": _line,
    "linestrip": _line,
    "point": _point,
    "mask": _mask,
}


def _exactly(points: np.ndarray, count: int) -> np.ndarray:
    if len(points) != count or not np.isfinite(points).all():
        raise ValueError(f"it must have {count} points, found {len(points)}")
    return points


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: {reason}. Save it again in LabelMe.", kind="wrong LabelMe file", file=path
    )
