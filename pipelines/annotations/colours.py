"""Reads colours: as CSS writes them, or as three numbers."""

from typing import Any

from PIL import ImageColor

from pipelines.annotations.annotated import Colour


def colour_of(value: Any) -> Colour | None:
    """Returns the colour of a text such as #FF0000 or red; None for anything else."""
    try:
        red, green, blue = ImageColor.getrgb(value)[:3]
    except (AttributeError, TypeError, ValueError):
        return None
    return red, green, blue


def of_numbers(value: Any) -> Colour | None:
    """Returns the colour of [red, green, blue], 0..255; None for anything else."""
    is_colour = isinstance(value, list) and len(value) == 3
    if is_colour and all(type(n) is int and 0 <= n <= 255 for n in value):
        return (value[0], value[1], value[2])
    return None
