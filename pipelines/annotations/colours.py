"""Reads colours as CSS writes them."""

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
