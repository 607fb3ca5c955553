"""Reads the objects of Supervisely's annotation files."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from pipelines.annotations.annotated import Bitmap, Broken, Geometry, Line, Point, Polygon
from pipelines.annotations.png_bitmaps import decode
from pipelines.annotations.points import corners, is_number, points_of

Size = tuple[int, int]


def type_of(entry: dict[str, Any], of_class: str | None) -> str | None:
    """Returns the type of an object, which old files do not state.

    Args:
        entry: The object.
        of_class: The shape of its class in `meta.json`.
    """
    stated = entry.get("geometryType")
    if isinstance(stated, str):
        return stated
    if isinstance(entry.get("bitmap"), dict):
        return "bitmap"
    if of_class in GEOMETRIES:
        return of_class
    points = entry.get("points")
    exterior = points.get("exterior") if isinstance(points, dict) else None
    return "polygon" if isinstance(exterior, list) and len(exterior) > 2 else None


def geometry_of(kind: str | None, entry: dict[str, Any], size: Size) -> Geometry | None:
    """Returns the shape of an object; None if its type covers no pixels.

    Args:
        kind: Its type.
        entry: The object.
        size: (height, width) of the image.
    """
    read = GEOMETRIES.get(kind or "")
    if read is None:
        return None
    try:
        return read(entry, size)
    except (ValueError, OverflowError) as error:
        return Broken(str(error))


def _bitmap(entry: dict[str, Any], size: Size) -> Geometry:
    given = entry.get("bitmap")
    if not isinstance(given, dict) or not isinstance(given.get("data"), str):
        raise ValueError(f"its `bitmap` must have `data` and `origin`, found {given!r:.100}")
    ((left, top),) = points_of([given.get("origin")])
    return Bitmap(partial(decode, given["data"]), math.floor(left), math.floor(top))


def _polygon(entry: dict[str, Any], size: Size) -> Geometry:
    return Polygon((_rings(entry.get("points"), size),))


def _parts(entry: dict[str, Any], size: Size) -> Geometry:
    parts = entry.get("parts")
    if not isinstance(parts, list):
        raise ValueError(f"its `parts` must be a list, found {parts!r:.100}")
    return Polygon(tuple(_rings(part, size) for part in parts))


def _rectangle(entry: dict[str, Any], size: Size) -> Geometry:
    (x, y), (to_x, to_y) = _exactly(_outline(entry, size), 2)
    return Polygon(((corners(x, y, to_x, to_y),),))


def _oriented(entry: dict[str, Any], size: Size) -> Geometry:
    """A box that is turned about its centre."""
    angle: Any = entry.get("angle")
    if not is_number(angle):
        raise ValueError(f"its angle must be a number, found {angle!r:.100}")
    (x, y), (to_x, to_y) = _exactly(points_of(entry.get("points")), 2)
    centre = np.array([(x + to_x) / 2, (y + to_y) / 2])
    sine, cosine = math.sin(float(angle)), math.cos(float(angle))
    turned = (corners(x, y, to_x, to_y) - centre) @ np.array([[cosine, sine], [-sine, cosine]])
    return Polygon(((np.trunc(turned + centre),),))


def _line(entry: dict[str, Any], size: Size) -> Geometry:
    points = _outline(entry, size)
    if len(points) < 2:
        raise ValueError(f"a line must have at least 2 points, found {len(points)}")
    return Line(points)


def _point(entry: dict[str, Any], size: Size) -> Geometry:
    ((x, y),) = _exactly(_outline(entry, size), 1)
    return Point(x, y)


GEOMETRIES: dict[str, Callable[[dict[str, Any], Size], Geometry]] = {
    "bitmap": _bitmap,
    "alpha_mask": _bitmap,
    "polygon": _polygon,
    "multipolygon": _parts,
    "rectangle": _rectangle,
    "oriented_bbox": _oriented,
    "line": _line,
    "point": _point,
}


def _outline(entry: dict[str, Any], size: Size) -> np.ndarray:
    return _rings(entry.get("points"), size)[0]


def _rings(given: Any, size: Size) -> tuple[np.ndarray, ...]:
    """Returns the outline and the holes, as pixels that contain the points."""
    if not isinstance(given, dict):
        raise ValueError(f"its points must have `exterior` and `interior`, found {given!r:.100}")
    holes = given.get("interior") or []
    if not isinstance(holes, list):
        raise ValueError(f"its `interior` must be a list, found {holes!r:.100}")
    return tuple(_pixels(points_of(ring), size) for ring in (given.get("exterior"), *holes))


def _pixels(points: np.ndarray, size: Size) -> np.ndarray:
    edge = np.array(size[::-1])  # A point on the far edge belongs to the last pixel.
    return np.floor(np.where(points == edge, edge - 1, points))


def _exactly(points: np.ndarray, count: int) -> np.ndarray:
    if len(points) != count:
        raise ValueError(f"it must have {count} points, found {len(points)}")
    return points
