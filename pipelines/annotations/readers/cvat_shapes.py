"""Reads the shape elements of CVAT's XML: <polygon>, <mask>, <box>, <ellipse>, <polyline>.

Masks are runs row by row inside their box, alternating 0 and 1, 0 first. Boxes and ellipses are
turned clockwise about their centre by `rotation` degrees.
"""

import math
from functools import partial
from xml.etree.ElementTree import Element

import numpy as np

from pipelines.annotations.annotated import Bitmap, Ellipse, Geometry, Line, Polygon
from pipelines.files.opening import MAX_PIXELS

BOX = "box"
SHOWN = 50  # Characters of a wrong value in a message.


def geometry_of(element: Element) -> Geometry:
    """Returns the shape of an element whose tag is in `GEOMETRIES`.

    Raises:
        ValueError: An attribute is missing or wrong; the message says which.
    """
    return GEOMETRIES[element.tag](element)


def turned_box(left: float, top: float, right: float, bottom: float, angle: float) -> Polygon:
    """Returns a box, turned clockwise about its centre by an angle in degrees."""
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)
    if angle:
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        centre = corners.mean(0)
        corners = (corners - centre) @ [[cosine, sine], [-sine, cosine]] + centre
    return Polygon(((corners,),))


def _polygon(element: Element) -> Geometry:
    return Polygon(((_points(element),),))


def _polyline(element: Element) -> Geometry:
    return Line(_points(element))


def _box(element: Element) -> Geometry:
    return turned_box(
        _number(element, "xtl"),
        _number(element, "ytl"),
        _number(element, "xbr"),
        _number(element, "ybr"),
        _rotation(element),
    )


def _ellipse(element: Element) -> Geometry:
    x, y, radius_x, radius_y = (_number(element, name) for name in ("cx", "cy", "rx", "ry"))
    return Ellipse(x, y, radius_x, radius_y, _rotation(element))


def _mask(element: Element) -> Geometry:
    left, top, width, height = (
        _whole(element, name) for name in ("left", "top", "width", "height")
    )
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ValueError(f"its mask has {width} x {height} pixels (width x height)")
    return Bitmap(partial(_decoded, _text(element, "rle"), width, height), left, top)


GEOMETRIES = {
    BOX: _box,
    "ellipse": _ellipse,
    "mask": _mask,
    "polygon": _polygon,
    "polyline": _polyline,
}


def _decoded(text: str, width: int, height: int) -> np.ndarray:
    """Decodes the runs of a mask into bool `[h, w]`."""
    try:
        counts = np.array(text.split(",") if text.strip() else [], "int64")
    except (ValueError, OverflowError):
        raise ValueError(f"its rle must be whole numbers, found {text!r:.{SHOWN}}") from None
    if counts.size and (counts.min() < 0 or counts.max() > width * height):
        wrong = counts.min() if counts.min() < 0 else counts.max()
        raise ValueError(f"its rle has the run {wrong:,} in a box of {width} x {height} pixels")
    if counts.sum() != width * height:
        raise ValueError(
            f"its rle adds up to {counts.sum():,}, but its width {width} and height {height} make "
            f"{width * height:,} pixels"
        )
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)


def _points(element: Element) -> np.ndarray:
    """Returns the points "x,y;x,y", float64 `[n, 2]`."""
    text = _text(element, "points").strip().strip(";")
    try:
        pairs = [pair.split(",") for pair in text.split(";")] if text else []
        return np.array(pairs, "float64").reshape(len(pairs), 2)
    except ValueError:
        raise ValueError(f"its points must be like 1.5,2;3,4.5, found {text!r:.{SHOWN}}") from None


def _rotation(element: Element) -> float:
    angle = _number(element, "rotation") if element.get("rotation") else 0.0
    if not math.isfinite(angle):
        raise ValueError(f"its rotation must be a number, found {angle}")
    return angle


def _number(element: Element, name: str) -> float:
    text = _text(element, name)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"its {name} must be a number, found {text!r:.{SHOWN}}") from None


def _whole(element: Element, name: str) -> int:
    number = _number(element, name)
    if not number.is_integer() or abs(number) > MAX_PIXELS:
        raise ValueError(f"its {name} must be a whole number, found {element.get(name)!r:.{SHOWN}}")
    return int(number)


def _text(element: Element, name: str) -> str:
    text = element.get(name)
    if text is None:
        raise ValueError(f"it has no {name}")
    return text
