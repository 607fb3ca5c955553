"""Reads one XML file of CVAT: the labels and videos of its <meta>, its images and its tracks."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from pipelines.annotations.annotated import Broken, Colour, Geometry
from pipelines.annotations.readers.cvat_shapes import BOX, GEOMETRIES, geometry_of
from pipelines.annotations.xml_files import children
from pipelines.errors import DataError

ROOT = "annotations"
NO_LABEL = "shape without a label"
NO_AREAS = {"cuboid", "points", "skeleton", "tag"}  # Elements that are left out.
NO_AREA_TYPES = {"cuboid", "points", "skeleton", "tag"}  # The same as types of labels.


class Frame(NamedTuple):
    """A frame of a video; a project may hold several videos and subsets."""

    task: str | None
    subset: str
    number: int


class Video(NamedTuple):
    """The frames of a task, and their (height, width) if the file states it."""

    frames: range
    size: tuple[int, int] | None


@dataclass
class Entry:
    """The shapes of one image or frame: (z-order, label, geometry, whether a box, description)."""

    name: str = ""
    subset: str = ""
    size: tuple[int, int] | None = None
    shapes: list[tuple[float, str, Geometry, bool, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass
class CvatFile:
    """What an XML file holds.

    Attributes:
        path: The file.
        labels: The labels that can have an area, with their colours.
        other_labels: Names of further labels: of skeletons, points and tags.
        images: The images.
        frames: The frames of videos that have an entry.
        jumped: Numbers of frames that a track passes over though its object is there, with the
            video of each.
        videos: The tasks by their id, or None.
        task_subset: The subset of the only task.
        faults: `DataError`s of entries.
    """

    path: Path
    labels: dict[str, Colour | None] = field(default_factory=dict)
    other_labels: set[str] = field(default_factory=set)
    images: list[Entry] = field(default_factory=list)
    frames: dict[Frame, Entry] = field(default_factory=lambda: defaultdict(Entry))
    jumped: list[tuple[tuple[str | None, str], range]] = field(default_factory=list)
    videos: dict[str | None, Video] = field(default_factory=dict)
    task_subset: str = ""
    faults: list[DataError] = field(default_factory=list)


def read_file(path: Path) -> CvatFile:
    """Reads an XML file.

    Raises:
        DataError: It is not readable as XML.
    """
    file = CvatFile(path)
    for element in children(path, ROOT):
        if element.tag == "meta":
            _add_meta(file, element)
        elif element.tag == "image":
            _add_image(file, element)
        elif element.tag == "track":
            _add_track(file, element)
    return file


def _add_meta(file: CvatFile, meta: Element) -> None:
    for label in meta.iter("label"):
        name = label.findtext("name") or ""
        if label.findtext("parent") or label.findtext("type") in NO_AREA_TYPES:
            file.other_labels.add(name)
        elif name.strip():
            file.labels.setdefault(name, _colour(label.findtext("color")))
    tasks = [*meta.iter("task"), *meta.iter("job")]
    if len(tasks) == 1:
        file.task_subset = (tasks[0].findtext("subset") or "").strip()
    for task in tasks:
        key = task.findtext("id") if len(tasks) > 1 else None
        try:
            start, stop = (int(task.findtext(f"{end}_frame") or "") for end in ("start", "stop"))
            _, _, step = (task.findtext("frame_filter") or "").partition("step=")
            frames = range(start, stop + 1, max(1, int(step or 1)))
        except ValueError:  # A file without them.
            frames = range(0)
        size = task.find("original_size")
        file.videos[key] = Video(frames, None if size is None else _size(file, size.findtext))


def _add_image(file: CvatFile, element: Element) -> None:
    name = element.get("name")
    if not name:
        file.faults.append(_wrong(file, f"the image {element.get('id')!r:.50} has no name"))
        return
    entry = Entry(name, element.get("subset") or file.task_subset, _size(file, element.get, name))
    for number, shape in enumerate(element):
        _add_shape(entry, shape, shape.get("label"), f"shape {number}")
    file.images.append(entry)


def _add_track(file: CvatFile, track: Element) -> None:
    """Adds the shapes of a track, which are those of one object, to their frames."""
    label = track.get("label")
    subset = track.get("subset") or file.task_subset
    task = track.get("task_id") if len(file.videos) > 1 else None
    seen: list[tuple[int, bool]] = []
    for shape in track:
        try:
            number = int(shape.get("frame") or "")
        except ValueError:
            reason = f"track {track.get('id')!r:.50} has the frame {shape.get('frame')!r:.50}"
            file.faults.append(_wrong(file, f"{reason}, not a number"))
            return
        is_outside = shape.get("outside") == "1"
        seen.append((number, is_outside))
        entry = file.frames[Frame(task, subset, number)]
        if not is_outside:
            _add_shape(entry, shape, label, f"track {track.get('id')!r:.50}")
    step = file.videos[task].frames.step if task in file.videos else 1
    file.jumped += [((task, subset), numbers) for numbers in _between(sorted(seen), step)]


def _between(seen: list[tuple[int, bool]], step: int) -> Iterator[range]:
    """Yields the numbers of frames that an object is in, but that are not written."""
    for (number, is_outside), (later, _) in zip(seen, seen[1:], strict=False):
        if not is_outside and later - number > step:
            yield range(number + step, later, step)


def _add_shape(entry: Entry, element: Element, label: str | None, where: str) -> None:
    if element.tag in NO_AREAS or element.tag not in GEOMETRIES:
        entry.left_out[element.tag[:50]] += element.tag != "attribute"
    elif not label or not label.strip():
        entry.left_out[NO_LABEL] += 1
    else:
        description = f"{where} (<{element.tag}>, {label!r:.50})"
        geometry: Geometry
        try:
            z_order = float(element.get("z_order") or 0)
            geometry = geometry_of(element)
        except ValueError as error:
            z_order, geometry = 0, Broken(str(error))
        entry.shapes.append((z_order, label, geometry, element.tag == BOX, description))


def _size(
    file: CvatFile, get: Callable[[str], str | None], name: str = ""
) -> tuple[int, int] | None:
    """Returns (height, width) that an entry states."""
    height, width = get("height"), get("width")
    if not height or not width:
        return None
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        reason = f"{'the video' if not name else f'the image {name!r}'} has the height"
        file.faults.append(_wrong(file, f"{reason} {height!r:.50} and the width {width!r:.50}"))
        return None
    return int(height), int(width)


def _colour(text: str | None) -> Colour | None:
    """Reads a colour such as #2c70f8."""
    digits = (text or "").strip().removeprefix("#")
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        return None
    return red, green, blue


def _wrong(file: CvatFile, reason: str) -> DataError:
    return DataError(
        f"{file.path}: {reason}. Export it again, or correct it.",
        kind="wrong CVAT file",
        file=file.path,
    )
