"""Label Studio: its exports JSON and JSON-MIN.

https://labelstud.io/guide/export (`label_studio_sdk.converter` gives their meaning)
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipelines.annotations.annotated import (
    Annotated,
    ClassName,
    Geometry,
    Picture,
    Point,
    Shape,
)
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.label_studio_annotators import Choice, choose
from pipelines.annotations.readers.label_studio_config import Config, read_config
from pipelines.annotations.readers.label_studio_images import find_image
from pipelines.annotations.readers.label_studio_results import Region, regions_of, size_of
from pipelines.annotations.readers.label_studio_tasks import Task, tasks_of
from pipelines.errors import DataError

RESULT = re.compile(r'"result"\s*:\s*\[')
LABELS = re.compile(r'"(?:polygon|brush|rectangle|ellipse|keypoint|bitmask)?labels"\s*:\s*\[')


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for an export of Label Studio, or None."""
    for name, text in listing.beginnings(".json"):
        if _is_label_studio(text):
            return f"{name} has tasks with annotations and results, as Label Studio's exports have"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads all exports of a folder.

    Raises:
        DataError: Several people annotated a task, and `options.annotator` does not choose one.
    """
    found = listing.beginnings(".json", most=None)
    names = [name for name, text in found if _is_label_studio(text)]
    splits = listing.splits(names)
    faults: list[DataError] = []
    notes: list[str] = []
    tasks: list[Task] = []
    for name in names:
        try:
            tasks += tasks_of(listing.root / name, name, splits[name])
        except DataError as error:
            faults.append(error)
    config = read_config(listing)
    chosen = choose(tasks, options.annotator, listing.root, faults, notes)
    images: list[_Image] = []
    for choice in chosen:
        try:
            images.append(_read_task(choice, config, listing))
        except DataError as error:
            faults.append(error)
    classes = _classes(images, config, options, notes)
    ids = {entry.name: number for number, entry in enumerate(classes)}
    _note_regions(images, notes)
    return Annotated(
        classes=classes,
        pictures=tuple(_picture(image, ids) for image in images),
        edge="nearest",
        notes=tuple(notes),
        faults=tuple(faults),
    )


@dataclass
class _Image:
    """One task."""

    task: Task
    where: str
    name: str
    image: Path | DataError
    size: tuple[int, int] | None
    regions: list[Region]
    left_out: Counter[str]


def _is_label_studio(text: str) -> bool:
    if not text.lstrip().startswith(("[", "{")):
        return False
    is_full = RESULT.search(text) and ('"data"' in text or '"task"' in text)
    is_min = '"annotation_id"' in text and '"lead_time"' in text
    return bool(is_full or is_min)


def _read_task(choice: Choice, config: Config, listing: Listing) -> _Image:
    task = choice.task
    where = f"{task.path}: task {task.id!r}"
    left_out: Counter[str] = Counter()
    regions = regions_of(choice.results, where, left_out)
    image, name = find_image(task, choice.results, config, listing)
    return _Image(task, where, name, image, size_of(regions, where), regions, left_out)


def _picture(image: _Image, ids: dict[str, int]) -> Picture:
    left_out = image.left_out
    shapes = []
    for region in image.regions:
        if region.label in ids:
            shape = Shape(ids[region.label], region.geometry, region.is_box, region.name)
            shapes.append(shape)
        else:
            what = "box" if region.is_box else "keypoint"
            left_out[f"{what} of the class {region.label!r}, which has no areas"] += 1
    return Picture(
        name=image.name,
        image=image.image,
        shapes=shapes,
        where=image.where,
        split=image.task.split,
        size=image.size,
        left_out=left_out,
    )


def _classes(
    images: list[_Image], config: Config, options: Options, notes: list[str]
) -> tuple[ClassName, ...]:
    """Returns the classes in the order of the label config; without one, by name.

    Labels that only boxes or keypoints have are none, unless these are drawn or there is nothing
    else.
    """
    regions = [region for image in images for region in image.regions]
    drawn = {r.label for r in regions if _is_drawn(r.geometry, r.is_box, options)}
    used = drawn or {region.label for region in regions}
    listed = [name for name in config.areas if drawn or not used] if config.areas else []
    listed += [name for name in config.others if name in used]
    others = sorted(used - set(listed))
    if others and config.areas:
        notes.append(f"regions have labels that the label config lacks: {', '.join(others[:10])}")
    elif others:
        notes.append("there is no label config (.xml), so the classes are sorted by name")
    return tuple(ClassName(name, config.colours.get(name)) for name in (*listed, *others))


def _is_drawn(geometry: Geometry, is_box: bool, options: Options) -> bool:
    if is_box:
        return options.boxes == "mask"
    return not isinstance(geometry, Point) or bool(options.lines)


def _note_regions(images: list[_Image], notes: list[str]) -> None:
    regions = [region for image in images for region in image.regions]
    if several := sum(region.has_several_labels for region in regions):
        notes.append(f"{several} regions have several labels, of which the first counts")
    if turned := sum(region.is_turned for region in regions):
        notes.append(
            f"{turned} regions were drawn while the image was shown turned; their coordinates are "
            "taken as those of the image itself. Look at the masks"
        )
