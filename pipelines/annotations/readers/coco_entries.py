"""Reads the values in the entries of COCO files: ids, sizes, colours and shapes."""

import math
from typing import Any

import numpy as np

from pipelines.annotations.annotated import Broken, Geometry, Polygon
from pipelines.annotations.rle import Runs, as_counts
from pipelines.errors import DataError


def id_of(value: Any) -> Any:
    """Returns an id: a whole number or a text; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def size_of(image: dict[str, Any], where: str, faults: list[DataError]) -> tuple[int, int] | None:
    """Returns (height, width) of an image's entry; None if it has none, or a wrong one.

    Args:
        image: The entry.
        where: Its file and name, for messages.
        faults: Gets the fault of a wrong size.
    """
    height, width = image.get("height"), image.get("width")
    if height is None or width is None:
        return None
    for value in (height, width):
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not value >= 1
            or (not math.isfinite(value) or value != int(value))
        ):
            faults.append(
                DataError(
                    f"{where}: height {height!r:.50} and width {width!r:.50} must be whole "
                    "numbers from 1 on. Correct them.",
                    kind="wrong size",
                )
            )
            return None
    return int(height), int(width)


def geometry_of(entry: dict[str, Any]) -> tuple[Geometry | None, bool]:
    """Returns the shape of an annotation, and whether it is only its box; None if it has none."""
    given = entry.get("segmentation")
    try:
        if isinstance(given, dict):
            return _runs(given), False
        if given:
            return _polygon(given), False
        box = entry.get("bbox")
        if not box:
            return None, False
        x, y, width, height = _numbers(box, "bbox")
    except ValueError as error:
        return Broken(str(error)), False
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    return Polygon(((np.array(corners),),)), True


def _runs(given: dict[str, Any]) -> Runs:
    size, counts = given.get("size"), given.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)):
        raise ValueError(f"the `size` of its RLE must be [height, width], found {size!r:.100}")
    if isinstance(counts, list):
        return Runs(as_counts(counts), (size[0], size[1]))
    if isinstance(counts, str) and counts.isascii():
        return Runs(counts.encode("ascii"), (size[0], size[1]))
    raise ValueError(f"the `counts` of its RLE must be a list or a text, found {counts!r:.100}")


def _polygon(given: Any) -> Polygon:
    if not isinstance(given, list):
        raise ValueError(f"its `segmentation` must be polygons or an RLE, found {given!r:.100}")
    rings = given if isinstance(given[0], list) else [given]
    parts = []
    for ring in rings:
        if not isinstance(ring, list):
            raise ValueError(f"a polygon must be a list of numbers, found {ring!r:.100}")
        if ring and all(isinstance(point, list) for point in ring):  # [[x, y], ...].
            ring = [number for point in ring for number in point]
        if len(ring) % 2:
            raise ValueError(f"a polygon has {len(ring)} numbers; x and y must alternate")
        parts.append((_numbers(ring, "polygon").reshape(-1, 2),))
    return Polygon(tuple(parts))


def _numbers(values: Any, what: str) -> np.ndarray:
    """Returns a list of numbers as float64 `[n]`."""
    if not isinstance(values, list) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    ):
        raise ValueError(f"its {what} must be a list of numbers, found {values!r:.100}")
    if what == "bbox" and len(values) != 4:
        raise ValueError(f"its bbox must be [x, y, width, height], found {values!r:.100}")
    try:
        return np.array(values, "float64")
    except OverflowError:
        raise ValueError(f"its {what} has a number that is too large") from None
