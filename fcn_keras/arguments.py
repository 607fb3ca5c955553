"""Reads numbers and truth values that users pass; NumPy's count as Python's.

Each function returns the plain Python value, or None if the argument is something else. Callers
check the range and raise the error.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

import numpy as np


def whole(value: Any) -> int | None:
    """Returns a whole number; None for floats, truth values and everything else."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def number(value: Any) -> float | None:
    """Returns a finite number; None for NaN, infinity, truth values, text and everything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def numbers_of(value: Any, count: int) -> Any:  # A tuple of `count` floats, or None.
    """Returns a list, tuple or array of `count` finite numbers as a tuple."""
    is_list = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)
    if not is_list:
        return None
    found = [number(one) for one in value]
    known = tuple(one for one in found if one is not None)
    return known if len(known) == len(found) == count else None


def flag(value: Any) -> bool | None:
    """Returns a truth value; None for everything but True and False."""
    return bool(value) if isinstance(value, bool | np.bool_) else None
