"""VGG Image Annotator (VIA) 1 and 2: projects, and their JSON and CSV exports.

https://www.robots.ox.ac.uk/~vgg/software/via/docs/ (VIA itself makes no masks)
"""

import base64
import binascii
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from pipelines.annotations.annotated import (
    Annotated,
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
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.via_classes import ClassReader, choose_attribute, rare_names
from pipelines.annotations.readers.via_files import (
    Entry,
    ViaFile,
    is_via,
    read_file,
    without_duplicates,
)
from pipelines.errors import DataError
from pipelines.files.opening import Encoded

RECT = "rect"


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for VIA's files, or None."""
    for name, text in listing.beginnings(".json", ".csv"):
        if is_via(name, text):
            return f"{name} has file names and `shape_attributes` of regions, as VIA's files have"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads all files of VIA in a folder."""
    found = listing.beginnings(".json", ".csv", most=None)
    names = [name for name, text in found if is_via(name, text)]
    files, faults = [], []
    for name in names:
        try:
            files.append(read_file(listing.root / name, name))
        except DataError as error:
            faults.append(error)
    files, notes = without_duplicates(files)
    regions = [r for file in files for entry in file.entries for _, r in entry.regions]
    attribute = choose_attribute(regions, options.attribute, listing.root)
    described = {k: v for f in files for k, v in f.options.get(attribute or "", {}).items()}
    reader = ClassReader(attribute, described)
    counts: Counter[str] = Counter()
    for attributes in regions:
        try:
            counts[reader.read(attributes)] += 1
        except ValueError:
            pass  # Told by the image.
    classes = reader.order(counts)
    if attribute is None:
        notes.append("no region has an attribute, so all are one class, 'object'")
    if not described:
        notes += rare_names(counts)
    splits = listing.splits([file.name for file in files])
    make = _Maker(listing, reader, {n: i for i, n in enumerate(classes)}, options.boxes == "skip")
    pictures = [make.picture(f, entry, splits[f.name]) for f in files for entry in f.entries]
    notes += make.notes()
    return Annotated(
        classes=tuple(map(ClassName, classes)),
        pictures=tuple(pictures),
        edge="nearest",
        notes=tuple(notes),
        faults=tuple(faults),
    )


class _Maker:
    """Makes the images of files."""

    def __init__(
        self, listing: Listing, reader: ClassReader, ids: dict[str, int], skips_rects: bool
    ) -> None:
        self.listing, self.reader, self.ids, self.skips_rects = listing, reader, ids, skips_rects
        self.rects = 0
        self.resized: list[str] = []

    def picture(self, file: ViaFile, entry: Entry, split: str | None) -> Picture:
        """Makes an image."""
        image, name = self._image(file, entry, split)
        if isinstance(image, Path) and isinstance(entry.file_size, int) and entry.file_size > 0:
            self.resized += [name] * (image.stat().st_size != entry.file_size)
        shapes, left_out = [], Counter[str]()
        for number, (shape, attributes) in enumerate(entry.regions):
            kind = str(shape.get("name"))
            if kind not in GEOMETRIES:
                left_out[f"region of the shape {kind[:50]!r}"] += 1
                continue
            try:
                label = self.reader.read(attributes)
            except ValueError as error:
                left_out[str(error)] += 1
                continue
            self.rects += kind == RECT
            is_box = kind == RECT and self.skips_rects
            about = f"region {number} ({kind}, {label!r:.50})"
            shapes.append(Shape(self.ids[label], _geometry(kind, shape), is_box, about))
        where = f"{file.path}: image {entry.filename!r:.200}"
        return Picture(name, image, shapes, where, split, left_out=left_out)

    def notes(self) -> list[str]:
        """Says what should be known about all images."""
        notes = []
        if self.rects and not self.skips_rects:
            notes.append(
                f"{self.rects:,} rectangles are painted as areas; if they are only boxes of "
                "objects, leave them out with --boxes skip"
            )
        if self.resized:
            notes.append(
                "the file size is not that of the annotated image for "
                f"{', '.join(self.resized[:3])} ({len(self.resized)} in all): if images were "
                "scaled or cropped since, the masks do not fit"
            )
        return notes

    def _image(
        self, file: ViaFile, entry: Entry, split: str | None
    ) -> tuple[Path | Encoded | DataError, str]:
        """Returns the image and its name: a file, in whatever case its ending is, or the data."""
        name = entry.filename
        if "://" in name:  # The address of an image.
            name = unquote(urlsplit(name).path).rpartition("/")[2] or name
        place = file.folder + name
        found = self.listing.find_image(place, file.name, split)
        if isinstance(found, Path) or found.kind != "missing image":
            return found, name
        suffix = PurePosixPath(name).suffix
        for ending in {suffix.lower(), suffix.upper()} - {suffix}:
            other = self.listing.find_image(place.removesuffix(suffix) + ending, file.name, split)
            if isinstance(other, Path):
                return other, name.removesuffix(suffix) + ending
        if entry.image_data:
            return _ImageData(entry.image_data, f"{file.path}: base64_img_data of {name!r}"), name
        return found, name


@dataclass(frozen=True)
class _ImageData:
    """The image inside a file: base64, perhaps after "data:image/jpeg;base64,"."""

    text: str
    where: str

    def read_bytes(self) -> bytes:
        try:
            return base64.b64decode(self.text.rpartition(",")[2], validate=True)
        except binascii.Error as error:
            raise DataError(
                f"{self}: is not base64 ({error}). Put the image beside the file.",
                kind="damaged file",
            ) from None

    def __str__(self) -> str:
        return self.where


def _geometry(kind: str, shape: dict[str, Any]) -> Geometry:
    try:
        return GEOMETRIES[kind](shape)
    except ValueError as error:
        return Broken(str(error))


def _polygon(shape: dict[str, Any]) -> Geometry:
    return Polygon(((_points(shape),),))


def _polyline(shape: dict[str, Any]) -> Geometry:
    return Line(_points(shape))


def _rect(shape: dict[str, Any]) -> Geometry:
    """A rectangle of width w covers w pixels: its outline runs through the first and the last."""
    x, y, width, height = _numbers(shape, "x", "y", "width", "height")
    right, bottom = x + max(width - 1, 0), y + max(height - 1, 0)
    corners = [[x, y], [right, y], [right, bottom], [x, bottom]]
    return Polygon(((np.array(corners),),))


def _circle(shape: dict[str, Any]) -> Geometry:
    x, y, radius = _numbers(shape, "cx", "cy", "r")
    return Ellipse(x, y, radius, radius)


def _ellipse(shape: dict[str, Any]) -> Geometry:
    x, y, radius_x, radius_y = _numbers(shape, "cx", "cy", "rx", "ry")
    (theta,) = _numbers(shape, "theta") if "theta" in shape else (0.0,)  # Radians.
    return Ellipse(x, y, radius_x, radius_y, math.degrees(theta))


def _point(shape: dict[str, Any]) -> Geometry:
    return Point(*_numbers(shape, "cx", "cy"))


GEOMETRIES: dict[str, Callable[[dict[str, Any]], Geometry]] = {
    "circle": _circle,
    "ellipse": _ellipse,
    "point": _point,
    "polygon": _polygon,
    "polyline": _polyline,
    RECT: _rect,
}


def _points(shape: dict[str, Any]) -> np.ndarray:
    """Returns the points of a shape, float64 `[n, 2]`."""
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
        raise ValueError(
            f"its all_points_x {xs!r:.50} and all_points_y {ys!r:.50} must be lists of one length"
        )
    return np.array([_floats(xs, "all_points_x"), _floats(ys, "all_points_y")]).T.reshape(-1, 2)


def _numbers(shape: dict[str, Any], *names: str) -> list[float]:
    return [_floats([shape.get(name)], name)[0] for name in names]


def _floats(values: Sequence[Any], what: str) -> list[float]:
    for value in values:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"its {what} must be a number, found {value!r:.50}")
    try:
        return [float(value) for value in values]
    except OverflowError:
        raise ValueError(f"its {what} has a number that is too large") from None
