"""Draws the shapes of an image into a mask of class ids, uint8 `[h, w]`."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np
from PIL import Image, ImageDraw

from pipelines.annotations.annotated import (
    Bitmap,
    Broken,
    Edge,
    Ellipse,
    Geometry,
    Line,
    Overlap,
    Point,
    Polygon,
    Shape,
)
from pipelines.annotations.edges import Region, bounds, fill, following, pixels_of
from pipelines.annotations.rle import Runs, area, decode
from pipelines.errors import DataError

MAX_COORDINATE = 1e7  # Beyond, a coordinate is a mistake.
MAX_CHECKED = 1000  # Points of an outline that is searched for crossings.
CROSSING = "polygon that crosses itself (drawn; where it overlaps itself is a hole)"
TOO_FEW = "polygon with fewer than 3 points"
NO_AREA = "shape without area"
OUTSIDE = "shape outside the image"
NO_WIDTH = "line or point without a width (see --lines)"
FAR = "shape with coordinates that are no numbers or beyond 10 million"


@dataclass
class Drawn:
    """A mask, and what happened to the shapes.

    Attributes:
        mask: uint8 `[h, w]`.
        left_out: Counts of shapes that were not drawn, by reason.
        noted: Counts of shapes that were drawn, but are doubtful.
        painted_over: Number of pixels that a later shape of another class covers.
    """

    mask: np.ndarray
    left_out: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    painted_over: int = 0


def draw(
    shapes: Iterable[Shape],
    size: tuple[int, int],
    background: int,
    *,
    edge: Edge = "centre",
    overlap: Overlap = "file",
    line_width: float | None = None,
) -> Drawn:
    """Draws shapes over each other.

    Args:
        shapes: The shapes; the class ids are those of the mask.
        size: (height, width) of the image.
        background: The class id of pixels without a shape.
        edge: The rule for edges; see `edges`.
        overlap: "file": later shapes over earlier ones; "large-first": small over large ones.
        line_width: Width of lines and points in pixels, instead of their own; 0 leaves them out.

    Raises:
        DataError: A shape cannot be read.
    """
    drawn = Drawn(np.full(size, background, "uint8"))
    painted = np.zeros(size, bool)
    if overlap == "large-first":
        shapes = sorted(shapes, key=lambda shape: -_area(shape.geometry))
    for shape in shapes:
        try:
            region = region_of(shape.geometry, size, edge, line_width)
        except ValueError as error:
            raise DataError(f"{shape.label}: {error}", kind="broken shape") from None
        if isinstance(region, str):
            drawn.left_out[region] += 1
            continue
        if isinstance(shape.geometry, Polygon) and _crosses_itself(shape.geometry):
            drawn.noted[CROSSING] += 1
        pixels, left, top = region
        place = np.s_[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        before = drawn.mask[place]
        over = pixels & painted[place] & (before != shape.class_id)
        drawn.painted_over += int(np.count_nonzero(over))
        before[pixels] = shape.class_id
        painted[place] |= pixels
    return drawn


def region_of(
    geometry: Geometry, size: tuple[int, int], edge: Edge, line_width: float | None = None
) -> Region | str:
    """Returns the pixels of a shape, or the reason why there are none.

    Raises:
        ValueError: The shape cannot be read; the message says why.
    """
    match geometry:
        case Broken(reason):
            raise ValueError(reason)
        case Runs():
            region: Region | None = _of_runs(geometry, size)
        case Bitmap():
            region = _of_bitmap(geometry, size)
        case Polygon(parts):
            # A part without an outline is none; a hole without an area is none.
            parts = tuple(
                (part[0], *(hole for hole in part[1:] if len(hole) > 2))
                for part in parts
                if len(part[0]) > 2
            )
            if not parts:
                return TOO_FEW
            if not all(_is_sane(ring) for part in parts for ring in part):
                return FAR
            region = fill(parts, size, edge)
        case Ellipse(x, y, radius_x, radius_y):
            if not _is_sane(np.array([x, y, radius_x, radius_y])):
                return FAR
            region = _of_ellipse(geometry, size, edge)
        case Line(points, width):
            if not _is_sane(points):
                return FAR
            region = _of_line(points, _width(width, line_width), size)
        case Point(x, y, width):
            if not _is_sane(np.array([x, y])):
                return FAR
            region = _of_point(x, y, _width(width, line_width), size)
        case _:
            assert_never(geometry)
    if isinstance(geometry, Line | Point) and not _width(geometry.width, line_width):
        return NO_WIDTH
    if region is None:
        return OUTSIDE
    return region if region.pixels.any() else NO_AREA


def _is_sane(numbers: np.ndarray) -> bool:
    return bool((np.abs(numbers) <= MAX_COORDINATE).all())  # False for NaN.


def _width(own: float | None, given: float | None) -> float:
    return (own or 0) if given is None else given


def _of_runs(runs: Runs, size: tuple[int, int]) -> Region:
    if runs.size != size:
        raise ValueError(
            f"its RLE has the size {list(runs.size)} (height, width), but the image is "
            f"{list(size)}. Export it again"
        )
    return _cropped(decode(runs))


def _cropped(pixels: np.ndarray) -> Region:
    """Cuts a mask of the whole image to its pixels."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not rows.size:
        return Region(pixels[:0, :0], 0, 0)
    top, left = int(rows[0]), int(columns[0])
    return Region(pixels[top : rows[-1] + 1, left : columns[-1] + 1], left, top)


def _of_bitmap(bitmap: Bitmap, size: tuple[int, int]) -> Region | None:
    """Clips a bitmap to the image."""
    whole = bitmap.decode()
    (height, width), (rows, columns) = size, whole.shape
    top, left = max(bitmap.top, 0), max(bitmap.left, 0)
    bottom, right = min(bitmap.top + rows, height), min(bitmap.left + columns, width)
    if bottom <= top or right <= left:
        return None
    rows, columns = (
        slice(top - bitmap.top, bottom - bitmap.top),
        slice(left - bitmap.left, right - bitmap.left),
    )
    return Region(whole[rows, columns].astype(bool), left, top)


def _of_ellipse(ellipse: Ellipse, size: tuple[int, int], edge: Edge) -> Region | None:
    """Fills an ellipse; without rotation it has an outline if `edge` says so."""
    x, y, a, b = ellipse.x, ellipse.y, abs(ellipse.radius_x), abs(ellipse.radius_y)
    reach = max(a, b)
    box = bounds(np.array([[x - reach, y - reach], [x + reach, y + reach]]), size)
    if box is None:
        return None
    left, top, right, bottom = box
    if edge != "centre" and not ellipse.angle:
        corners = np.array([[x - a, y - b], [x + a, y + b]]) - (left, top)
        canvas = Image.new("1", (right - left, bottom - top))
        ImageDraw.Draw(canvas).ellipse(pixels_of(corners, edge).ravel().tolist(), 1, 1)
        return Region(np.array(canvas), left, top)
    angle = math.radians(ellipse.angle)
    columns = np.arange(left, right) + 0.5 - x
    rows = np.arange(top, bottom)[:, None] + 0.5 - y
    along = columns * math.cos(angle) + rows * math.sin(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    return Region((along * b) ** 2 + (across * a) ** 2 <= (a * b) ** 2, left, top)


def _of_line(points: np.ndarray, width: float, size: tuple[int, int]) -> Region | None:
    box = bounds(points, size, width + 1)
    if box is None:
        return None
    left, top, right, bottom = box
    canvas = Image.new("1", (right - left, bottom - top))
    pixels = pixels_of(points - (left, top), "containing")
    ImageDraw.Draw(canvas).line(pixels.ravel().tolist(), 1, max(1, round(width)))
    return Region(np.array(canvas), left, top)


def _of_point(x: float, y: float, width: float, size: tuple[int, int]) -> Region | None:
    return _of_ellipse(Ellipse(x, y, width / 2, width / 2), size, "containing")


def _area(geometry: Geometry) -> float:
    """Returns the area of a shape in pixels, without drawing it."""
    match geometry:
        case Polygon(parts):
            return sum(_ring_area(p[0]) - sum(map(_ring_area, p[1:])) for p in parts)
        case Runs():
            return area(geometry)
        case Bitmap():
            return _bitmap_area(geometry)
        case Ellipse():
            return math.pi * abs(geometry.radius_x * geometry.radius_y)
    return 0.0  # Lines and points come last.


def _bitmap_area(bitmap: Bitmap) -> int:
    try:
        return int(np.count_nonzero(bitmap.decode()))
    except ValueError:  # Told when it is drawn.
        return 0


def _ring_area(ring: np.ndarray) -> float:
    (x, y), (to_x, to_y) = ring.T, following(ring).T
    return abs(float(np.dot(x, to_y) - np.dot(y, to_x))) / 2


def _crosses_itself(polygon: Polygon) -> bool:
    return any(_crosses(ring) for part in polygon.parts for ring in part)


def _crosses(ring: np.ndarray) -> bool:
    """Whether two edges of a ring cross each other (not only touch)."""
    if not 3 < len(ring) <= MAX_CHECKED:
        return False
    start, end = ring[:, None], following(ring)[:, None]  # [n, 1, 2]
    other_start, other_end = start.swapaxes(0, 1), end.swapaxes(0, 1)
    differ = _side(start, end, other_start) * _side(start, end, other_end) < 0
    return bool((differ & differ.T).any())


def _side(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The sign of the side of the line start-end on which a point is."""
    a, b = end - start, point - start
    return np.sign(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
