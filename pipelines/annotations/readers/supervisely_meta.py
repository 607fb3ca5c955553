"""Reads the classes in Supervisely's `meta.json`."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pipelines.annotations.annotated import Colour
from pipelines.annotations.colours import colour_of
from pipelines.annotations.json_files import load
from pipelines.annotations.listing import Listing
from pipelines.errors import DataError

NAME = "meta.json"


@dataclass
class Meta:
    """The classes of all projects; those with the same title are one.

    Attributes:
        shapes: The shape of each class by title, in the order of the classes.
        colours: The colours of those that have one. Several classes may have the same.
        by_id: The title of each id.
    """

    shapes: dict[str, str | None] = field(default_factory=dict)
    colours: dict[str, Colour] = field(default_factory=dict)
    by_id: dict[int, str] = field(default_factory=dict)


def read_meta(listing: Listing, names: list[str], faults: list[DataError]) -> Meta:
    """Reads the `meta.json` of each project that has annotation files.

    Args:
        listing: The files.
        names: The annotation files.
        faults: Gets the faults of files that cannot be read.
    """
    above = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    meta = Meta()
    for name in listing.ending(NAME):
        place = PurePosixPath(name)
        if place.name == NAME and str(place.parent) in above and name not in names:
            try:
                content = load(listing.root / name)
            except DataError as error:
                faults.append(error)
                continue
            classes = content.get("classes") if isinstance(content, dict) else None
            for entry in classes if isinstance(classes, list) else ():
                _add(meta, entry)
    return meta


def _add(meta: Meta, entry: Any) -> None:
    title = entry.get("title") if isinstance(entry, dict) else None
    if not isinstance(title, str) or not title.strip():
        return
    shape = entry.get("shape")
    meta.shapes.setdefault(title, shape if isinstance(shape, str) else None)
    if isinstance(entry.get("id"), int):
        meta.by_id[entry["id"]] = title
    if colour := colour_of(entry.get("color")):
        meta.colours.setdefault(title, colour)
