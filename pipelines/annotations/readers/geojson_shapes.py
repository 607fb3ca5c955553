"""The geometries of GeoJSON, in pixels of an image."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipelines.annotations.annotated import Broken, Geometry, Line, Point, Polygon
from pipelines.annotations.readers.geotiff import Place


def geometries(geometry: Any, place: Place | None, left_out: Counter[str]) -> Iterator[Geometry]:
    """Yields the shapes of a geometry in pixels."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    given = geometry.get("coordinates") if isinstance(geometry, dict) else None
    try:
        if kind == "Polygon":
            yield Polygon((_rings(given, place),))
        elif kind == "MultiPolygon":
            yield Polygon(tuple(_rings(part, place) for part in _list(given)))
        elif kind == "GeometryCollection":
            for part in _list(geometry.get("geometries")):
                yield from geometries(part, place, left_out)
        elif kind == "LineString":
            yield Line(_points(given, place))
        elif kind == "MultiLineString":
            yield from (Line(_points(part, place)) for part in _list(given))
        elif kind in ("Point", "MultiPoint"):
            points = _points([given] if kind == "Point" else given, place)
            yield from (Point(x, y) for x, y in points.tolist())
        else:
            left_out[f"geometry of the type {str(kind)[:50]!r}"] += 1
    except (ValueError, TypeError) as error:
        yield Broken(str(error))


def all_points(features: list[dict[str, Any]]) -> np.ndarray:
    """Returns all coordinates, `[n, 2]`."""
    found: list[np.ndarray] = []
    for feature in features:
        for geometry in geometries(feature.get("geometry"), None, Counter()):
            if isinstance(geometry, Polygon):
                found += [ring for part in geometry.parts for ring in part]
    return np.concatenate(found) if found else np.zeros((0, 2))


def are_degrees(points: np.ndarray) -> bool:
    """Whether points may be degrees of longitude and latitude."""
    return bool((np.abs(points) <= (360, 90)).all())


def to_pixels(points: np.ndarray, place: Place | None) -> np.ndarray:
    """Returns points on the map, `[n, 2]`, in pixels; without a place they are in pixels."""
    if place is None or place.to_pixels is None:
        return points
    return points @ place.to_pixels[:, :2].T + place.to_pixels[:, 2]


def _list(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError(f"its coordinates must be a list, found {given!r:.100}")
    return given


def _rings(given: Any, place: Place | None) -> tuple[np.ndarray, ...]:
    rings = tuple(_points(ring, place) for ring in _list(given))
    if not rings:
        raise ValueError("a polygon has no ring")
    return rings


def _points(given: Any, place: Place | None) -> np.ndarray:
    """Returns points in pixels, float64 `[n, 2]`; heights are left out."""
    try:
        points = np.array([point[:2] for point in _list(given)], "float64").reshape(-1, 2)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"its points must be [x, y], found {given!r:.100}") from None
    points = to_pixels(points, place)
    return points[:-1] if len(points) > 1 and (points[0] == points[-1]).all() else points
