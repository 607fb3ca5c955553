"""YOLO segmentation: a text file for each image, of lines `CLASS X Y X Y ...` in fractions.

https://docs.ultralytics.com/datasets/segment (`ultralytics/data/utils.py` reads the files)
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from pipelines.annotations.annotated import (
    Annotated,
    Broken,
    ClassName,
    Geometry,
    Picture,
    Polygon,
    Shape,
)
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.yolo_files import Dataset, Label, dataset
from pipelines.datasets.lists import lines_of
from pipelines.errors import DataError
from pipelines.files.images import read_size
from pipelines.files.opening import read_content

LINE = re.compile(r"\s*\d+(?:\.0*)?(?:\s+[-+.\deE]+){4,}\s*")  # Of a label file.
CONFIGURED = re.compile(r"^(?:names|nc)\s*:", re.MULTILINE)
SPLITS = re.compile(r"^(?:train|val|valid|validation|test)\s*:", re.MULTILINE)
BOX = 5  # Numbers in the line of a box.
FARTHEST = 1.0  # How far beyond 0..1 a fraction may be; such points are clipped.


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for YOLO's files, or None."""
    for name, text in listing.beginnings(".yaml", ".yml"):
        if CONFIGURED.search(text) and SPLITS.search(text):
            return f"{name} has `names` and splits, as YOLO's files have"
    for name, text in listing.beginnings(".txt"):
        if _is_label(name) and (line := next(iter(lines_of(text)), "")) and LINE.fullmatch(line):
            return f"{name} has lines of a class and fractions, as YOLO's files have"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads a YOLO data set."""
    data = dataset(listing, _is_label)
    names = data.names
    numbers = {number: position for position, number in enumerate(sorted(names))}
    files = [_read_file(label, data) for label in data.labels]
    ids = {line.class_id for file in files for line in file.lines}
    hint = _hint(ids, names)
    notes = list(data.notes)
    if beyond := sum(line.is_beyond for file in files for line in file.lines):
        notes.append(f"{beyond:,} lines have fractions outside 0..1, which are clipped")
    if absent := sum(file.label.path is None for file in files):
        notes.append(f"{absent:,} images have no label file and so are all background")
    _refuse_boxes(listing, files, options)
    pictures = [
        Picture(
            name=file.label.name,
            image=file.label.image,
            shapes=partial(_shapes, file, numbers, hint),
            where=str(file.label.path or file.label.image),
            split=file.label.split,
            left_out=file.left_out,
        )
        for file in files
    ]
    return Annotated(
        classes=tuple(ClassName(names[number]) for number in sorted(names)),
        pictures=tuple(pictures),
        edge="nearest",
        overlap="large-first",
        notes=tuple(notes),
        faults=data.faults + tuple(file.fault for file in files if file.fault),
    )


@dataclass(frozen=True)
class _Line:
    """One line: fractions `[n, 2]`, or the reason why it cannot be read."""

    number: int
    class_id: int
    points: np.ndarray | str
    is_box: bool = False
    is_beyond: bool = False


@dataclass
class _File:
    """One image and the lines of its label file."""

    label: Label
    lines: list[_Line] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    fault: DataError | None = None


def _is_label(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() == ".txt" and "labels" in path.parts[:-1] or "obj_train_data" in name


def _read_file(label: Label, data: Dataset) -> _File:
    file = _File(label)
    if label.path is None:
        return file
    try:
        text = read_content(label.path).decode("utf-8-sig")
    except DataError as error:
        file.fault = error
        return file
    except UnicodeDecodeError:
        text = "\0"
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if line.strip():
            file.lines += _parsed(number, line, data.has_keypoints, file.left_out)
    return file


def _parsed(number: int, line: str, has_keypoints: bool, left_out: Counter[str]) -> Iterator[_Line]:
    """Yields the object of a line."""
    try:
        values = np.array(line.split(), "float64")
    except ValueError:
        yield _Line(number, 0, f"must hold numbers, found {line.strip()!r:.80}", is_box=False)
        return
    if not np.isfinite(values).all() or values[0] != int(values[0]) or values[0] < 0:
        yield _Line(number, 0, f"must begin with a class id of 0 or more, found {line!r:.80}")
        return
    class_id, points = int(values[0]), values[1:]
    if has_keypoints and len(values) > BOX:
        left_out["keypoints of an object"] += 1
        points = points[: BOX - 1]
    if len(points) == BOX - 1:
        yield _Line(number, class_id, _corners(points), is_box=True, is_beyond=_beyond(points))
    elif len(points) < BOX or len(points) % 2:
        reason = (
            f"has {len(values)} numbers; it must have a class and then pairs x y. If the last "
            "number is a confidence, remove it: these are predictions"
        )
        yield _Line(number, class_id, reason)
    elif points.min() < -FARTHEST or points.max() > 1 + FARTHEST:
        worst = max(points.min(), points.max(), key=abs)
        reason = (
            f"has the coordinate {worst:g}; coordinates must be fractions of the image's width "
            "and height, 0 to 1. Divide pixels by the size of the image"
        )
        yield _Line(number, class_id, reason)
    else:
        yield _Line(number, class_id, points.reshape(-1, 2), is_beyond=_beyond(points))


def _beyond(points: np.ndarray) -> bool:
    return bool(points.min() < 0 or points.max() > 1)


def _corners(box: np.ndarray) -> np.ndarray | str:
    """Returns the corners of a box, which is its centre and size."""
    if np.abs(box).max() > 1 + FARTHEST:
        return f"has the coordinate {np.abs(box).max():g}; coordinates must be fractions, 0 to 1"
    x, y, width, height = box
    return np.array([x, y]) + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * [width, height]


def _shapes(file: _File, numbers: dict[int, int], hint: str) -> list[Shape]:
    """Returns the shapes of an image in pixels."""
    if not file.lines or isinstance(file.label.image, DataError):
        return []
    height, width = read_size(file.label.image)
    shapes = []
    for line in file.lines:
        if isinstance(line.points, str):
            geometry: Geometry = Broken(line.points)
        elif line.class_id not in numbers:
            geometry = Broken(f"has the class id {line.class_id}, but {hint}")
        else:
            geometry = Polygon(((line.points * (width, height),),))
        class_id = numbers.get(line.class_id, 0)
        # A broken box is told even if boxes are left out.
        is_box = line.is_box and not isinstance(geometry, Broken)
        shapes.append(Shape(class_id, geometry, is_box, label=f"line {line.number}"))
    return shapes


def _hint(ids: set[int], names: dict[int, str]) -> str:
    """Says what to do about ids without a name."""
    listed = f"the names have the ids {min(names)} to {max(names)}"
    if ids and min(ids) == 1 and max(ids) == len(names):
        return (
            f"{listed}. All label files use 1 to {max(ids)}: they seem to count from 1, and YOLO "
            "counts from 0. Subtract 1 from each, or begin `names` with an entry for 0"
        )
    return (
        f"{listed}. Add its name to `names`, or correct the line. (YOLO counts from 0: if your ids "
        "begin at 1, subtract 1 from each)"
    )


def _refuse_boxes(listing: Listing, files: list[_File], options: Options) -> None:
    """Raises an error if there is nothing but boxes."""
    lines = [line for file in files for line in file.lines]
    if options.boxes == "error" and lines and all(line.is_box for line in lines):
        raise DataError(
            f"{listing.root}: has only boxes ({len(lines):,} lines of 5 numbers, for detection), "
            "no outlines. Export it for segmentation; to train on filled boxes, add --boxes mask.",
            kind="only boxes",
            file=listing.root,
        )
