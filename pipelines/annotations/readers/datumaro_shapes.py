"""Reads the annotations of Datumaro's items; masks are COCO's RLE."""

import math
from typing import Any

from pipelines.annotations.annotated import Broken, Ellipse, Geometry, Line, Polygon
from pipelines.annotations.readers import coco_entries
from pipelines.annotations.readers.cvat_shapes import turned_box

BOX = "bbox"
SHAPES = (BOX, "ellipse", "mask", "polygon", "polyline")


def geometry_of(entry: dict[str, Any]) -> Geometry:
    """Returns the shape of an annotation whose type is in `SHAPES`; `Broken` if it is wrong."""
    kind = entry["type"]
    key = {BOX: "bbox", "mask": "rle"}.get(kind, "points")
    given = entry.get(key)
    if not isinstance(given, dict if kind == "mask" else list) or not given:
        return Broken(f"its {key} is {given!r:.50}")
    if kind == "mask":
        return _read({"segmentation": given})
    if kind == BOX:
        return _box(entry)
    ring = _read({"segmentation": [given]})
    if kind == "polygon" or not isinstance(ring, Polygon):
        return ring
    points = ring.parts[0][0]
    if kind == "polyline":
        return Line(points)
    if points.shape != (2, 2):
        return Broken(f"its points must be [left, top, right, bottom], found {given!r:.100}")
    (left, top), (right, bottom) = points
    return Ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2)


def _box(entry: dict[str, Any]) -> Geometry:
    """Returns a box, turned as the attribute `rotation` says, which CVAT writes."""
    box = _read({"bbox": entry["bbox"]})
    attributes = entry.get("attributes")
    angle = attributes.get("rotation") if isinstance(attributes, dict) else None
    if not isinstance(box, Polygon) or not isinstance(angle, int | float):
        return box
    (left, top), _, (right, bottom), _ = box.parts[0][0]
    return turned_box(left, top, right, bottom, angle if math.isfinite(angle) else 0)


def _read(entry: dict[str, Any]) -> Geometry:
    geometry, _ = coco_entries.geometry_of(entry)
    return geometry or Broken("it has no points")
