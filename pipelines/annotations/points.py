"""Reads points, polygons and image sizes from JSON."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.annotations.annotated import Broken, Polygon
from pipelines.errors import DataError


def points_of(value: Any) -> np.ndarray:
    """Returns [[x, y], ...] as float64 `[n, 2]`.

    Raises:
        ValueError: It is something else; the message says so.
    """
    if isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and all(map(is_number, point))
        for point in value
    ):
        try:
            return np.array(value, "float64").reshape(-1, 2)
        except OverflowError:
            pass
    raise ValueError(f"its points must be a list of [x, y], found {value!r:.100}")


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def corners(x: float, y: float, to_x: float, to_y: float) -> np.ndarray:
    """Returns the corners of a rectangle between two points, float64 `[4, 2]`."""
    return np.array([[x, y], [to_x, y], [to_x, to_y], [x, to_y]], "float64")


def polygon_of(value: Any) -> Polygon | Broken:
    """Returns the polygon of [[x, y], ...]."""
    try:
        return Polygon(((points_of(value),),))
    except ValueError as error:
        return Broken(str(error))


def size_of(height: Any, width: Any, wrong: Callable[[str], DataError]) -> tuple[int, int]:
    """Returns the (height, width) that annotations state of an image.

    Args:
        height: Its height, as the file says.
        width: Its width.
        wrong: Builds the error for the file from a reason.

    Raises:
        DataError: They are no whole numbers from 1 on.
    """
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise wrong(f"has the image size {height!r:.50} x {width!r:.50} (height x width)")
    return height, width
