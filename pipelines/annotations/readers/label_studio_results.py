"""Reads the results of Label Studio's annotations: regions with labels, in percent of the image."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.annotations import png_bitmaps
from pipelines.annotations.annotated import Bitmap, Broken, Ellipse, Geometry, Point, Polygon
from pipelines.annotations.points import corners, is_number, points_of
from pipelines.annotations.readers import label_studio_rle
from pipelines.errors import DataError

PNG = "data:image/png;base64,"
MAX_SIDE = 10_000_000  # Pixels.


@dataclass(frozen=True)
class Region:
    """A region with a label; `size` is (height, width) of the image, None if it is not stated."""

    name: str
    label: str
    geometry: Geometry
    is_box: bool
    size: tuple[int, int] | None
    has_several_labels: bool
    is_turned: bool


def regions_of(results: Sequence[Any], where: str, left_out: Counter[str]) -> list[Region]:
    """Reads the regions of an annotation.

    Args:
        results: Its results.
        where: The file and task, for messages.
        left_out: Gets counts of results that are no regions with labels.

    Raises:
        DataError: A result is no object.
    """
    regions = []
    labelled = {str(r.get("id")) for r in results if isinstance(r, dict) and _labels(r)}
    for number, result in enumerate(results):
        if not isinstance(result, dict) or not isinstance(result.get("value", {}), dict):
            raise DataError(
                f"{where}: result {number} is {result!r:.100}, not an object with a `value`. "
                "Export it again.",
                kind="wrong Label Studio file",
            )
        value, labels = result.get("value", {}), _labels(result)
        kind = str(result.get("type") or next(iter(value), "nothing"))[:50]
        has_geometry = any(key in value for key in ("points", "rle", "x", "imageDataURL"))
        if not labels:
            # A region without its own labels has them in another result.
            if has_geometry and (result.get("id") is None or str(result["id"]) not in labelled):
                left_out["region without a label"] += 1
            elif not has_geometry and result.get("type") != "relation":
                left_out[f"result of the type {kind!r}"] += 1
        elif not has_geometry:
            left_out[f"result of the type {kind!r}"] += 1
        else:
            regions.append(_region(result, number, labels))
    return regions


def size_of(regions: Sequence[Region], where: str) -> tuple[int, int] | None:
    """Returns (height, width) of the image as the regions state it.

    Raises:
        DataError: They state several.
    """
    sizes = sorted({region.size for region in regions if region.size})
    if len(sizes) > 1:
        raise DataError(
            f"{where}: its regions are for images of several sizes (height, width): "
            f"{list(sizes[0])} and {list(sizes[1])}. Correct them.",
            kind="wrong size",
        )
    return sizes[0] if sizes else None


def _labels(result: dict[str, Any]) -> list[str]:
    """Returns the labels of a result: the texts under "labels", "polygonlabels" and so on."""
    value = result.get("value")
    for key, labels in value.items() if isinstance(value, dict) else ():
        if key.lower().endswith("labels") and isinstance(labels, list):
            return [text for text in labels if isinstance(text, str) and text.strip()]
    return []


def _region(result: dict[str, Any], number: int, labels: list[str]) -> Region:
    value, name = result["value"], f"result {result.get('id', number)!r:.50}"
    size: tuple[int, int] | None = None
    is_box = False
    try:
        size = _size(result)
        geometry, is_box = _geometry(value, size)
    except (ValueError, OverflowError) as error:
        geometry = Broken(str(error))
    is_turned = bool(result.get("image_rotation"))
    return Region(name, labels[0], geometry, is_box, size, len(labels) > 1, is_turned)


def _size(result: dict[str, Any]) -> tuple[int, int]:
    height: Any = result.get("original_height")
    width: Any = result.get("original_width")
    for side in (height, width):
        if not is_number(side) or not 1 <= side <= MAX_SIDE or side != int(side):
            raise ValueError(
                f"original_height {height!r:.50} and original_width {width!r:.50} must be whole "
                "numbers from 1 on"
            )
    return int(height), int(width)


def _geometry(value: dict[str, Any], size: tuple[int, int]) -> tuple[Geometry, bool]:
    """Returns the shape of a region, and whether it is a box."""
    height, width = size
    scale = np.array([width, height]) / 100
    if "rle" in value:
        if not isinstance(value["rle"], list):
            raise ValueError(f"its `rle` must be a list, found {value['rle']!r:.100}")
        return Bitmap(partial(label_studio_rle.decode, value["rle"], size)), False
    if "imageDataURL" in value:
        text = value["imageDataURL"]
        if not isinstance(text, str) or not text.startswith(PNG):
            raise ValueError(f"its `imageDataURL` must be a PNG in base64, found {text!r:.50}")
        return Bitmap(partial(png_bitmaps.decode, text.removeprefix(PNG))), False
    if "points" in value:
        return Polygon(((points_of(value["points"]) * scale,),)), False
    x, y = _numbers(value, "x", "y") * scale
    angle = float(_numbers({"rotation": 0, **value}, "rotation")[0])
    if "radiusX" in value:
        radius_x, radius_y = _numbers(value, "radiusX", "radiusY") * scale
        return Ellipse(x, y, radius_x, radius_y, angle), False
    if "height" not in value:  # Keypoints have a width only.
        return Point(x, y), False
    box_width, box_height = _numbers(value, "width", "height") * scale
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    turned = corners(0, 0, box_width, box_height) @ np.array([[cosine, sine], [-sine, cosine]])
    return Polygon(((turned + (x, y),),)), True


def _numbers(value: dict[str, Any], *keys: str) -> np.ndarray:
    given = [value.get(key) for key in keys]
    if not all(map(is_number, given)):
        raise ValueError(f"its {' and '.join(keys)} must be numbers, found {given!r:.100}")
    return np.array(given, "float64")
