"""Reads lists of points from JSON."""

from typing import Any

import numpy as np


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
