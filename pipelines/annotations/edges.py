"""Which pixels a polygon covers. Tools differ, so each format has the rule of its own tool.

- "centre" (COCO): those whose centre is inside, with points rounded to a fifth of a pixel. This is
  the rule of pycocotools, pixel by pixel.
- "containing" (LabelMe): those inside or on the outline, which runs through the pixels that contain
  the points. This is how Pillow draws.
- "nearest" (VIA): those inside or on the outline through the pixels whose index is nearest to the
  points. This is how OpenCV's `fillPoly` draws rounded points.

The three differ by at most one pixel at the edge.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from pipelines.annotations.annotated import Edge

SCALE = 5  # pycocotools draws outlines on a grid of fifths of a pixel.


class Region(NamedTuple):
    """Pixels: bool `[h, w]`, whose first one is at (left, top) of the image."""

    pixels: np.ndarray
    left: int
    top: int


def fill(parts: Sequence[Sequence[np.ndarray]], size: tuple[int, int], edge: Edge) -> Region | None:
    """Fills a polygon, inside its bounding box only.

    Args:
        parts: Outlines, each followed by its holes, float `[points, 2]`.
        size: (height, width) of the image.
        edge: The rule.

    Returns:
        A `Region`, or None if the polygon is outside the image.
    """
    every = np.concatenate([ring for part in parts for ring in part])
    box = bounds(every, size)
    if box is None:
        return None
    left, top, right, bottom = box
    inside = np.zeros((bottom - top, right - left), bool)
    is_near = -min(size) <= every.min() and every.max() <= 2 * min(size)
    for part in parts:
        rings = part if is_near else [_near(ring, size) for ring in part]
        if edge == "centre":
            inside |= _centres(rings, left, top, inside.shape)
        else:
            inside |= _drawn([ring - (left, top) for ring in rings], inside.shape, edge)
    return Region(inside, left, top)


def bounds(
    points: np.ndarray, size: tuple[int, int], margin: float = 1
) -> tuple[int, int, int, int] | None:
    """Returns (left, top, right, bottom) of points within the image; None if outside.

    Args:
        points: Float `[n, 2]`.
        size: (height, width) of the image.
        margin: Pixels around the points.
    """
    height, width = size
    low, high = points.min(0) - margin, points.max(0) + margin + 1
    left, top = np.clip(low, 0, (width, height)).astype(int)
    right, bottom = np.ceil(np.clip(high, 0, (width, height))).astype(int)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _centres(rings: Sequence[np.ndarray], left: int, top: int, size: tuple[int, int]) -> np.ndarray:
    """Fills rings by pycocotools' rule (its `rleFrPoly`); a pixel in two of them is a hole."""
    height, width = size
    toggles = np.zeros((height + 1, width), bool)
    for ring in rings:
        u, v = _outline(ring)
        later, before = u[1:], u[:-1]
        column = np.minimum(later, before)  # Of the step between two columns of the fine grid.
        steps = (later != before) & (column % SCALE == SCALE // 2)
        column = column[steps] // SCALE - left
        row = (np.minimum(v[1:], v[:-1])[steps] + 0.5) / SCALE - 0.5
        row = np.ceil(np.clip(row - top, 0, height)).astype(int)
        within = (column >= 0) & (column < width)
        np.logical_xor.at(toggles, (row[within], column[within]), True)
    return np.logical_xor.accumulate(toggles, axis=0)[:height]


def _outline(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points (u, v) of an outline on the fine grid, in order."""
    points = (SCALE * ring + 0.5).astype("int64")
    starts, ends = points, following(points)
    span = np.abs(ends - starts)  # [n, 2]
    is_flat = span[:, 0] >= span[:, 1]
    along = np.where(is_flat, 0, 1)  # The axis of which every step is taken.
    index = np.arange(len(points))
    length = span[index, along]
    flip = starts[index, along] > ends[index, along]
    low = np.where(flip[:, None], ends, starts)
    high = np.where(flip[:, None], starts, ends)
    slope = (high - low)[index, 1 - along] / np.maximum(length, 1)
    edge = np.repeat(index, length + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(length + 1) - length - 1, length + 1)
    step = np.where(flip[edge], length[edge] - step, step)
    main = step + low[index, along][edge]
    other = (low[index, 1 - along][edge] + slope[edge] * step + 0.5).astype("int64")
    return np.where(is_flat[edge], main, other), np.where(is_flat[edge], other, main)


def _drawn(rings: Sequence[np.ndarray], size: tuple[int, int], edge: Edge) -> np.ndarray:
    """Fills rings with their outlines; the outlines of holes belong to the shape."""
    if edge == "nearest":
        pixels = np.zeros(size, "uint8")
        cv2.fillPoly(pixels, [pixels_of(ring, edge).astype("int32") for ring in rings], 1)
        return pixels > 0
    canvas = Image.new("1", size[::-1])
    draw = ImageDraw.Draw(canvas)
    for number, ring in enumerate(rings):
        points = list(map(tuple, pixels_of(ring, edge).tolist()))
        if len(points) == 1:
            points *= 2
        draw.polygon(points, fill=int(number == 0), outline=1)
    return np.array(canvas)


def following(points: np.ndarray) -> np.ndarray:
    """Returns the point after each point of a ring `[n, 2]`; several times as fast as np.roll."""
    return np.concatenate([points[1:], points[:1]])


def pixels_of(points: np.ndarray, edge: Edge) -> np.ndarray:
    """Returns the pixel of each point, int `[n, 2]`."""
    return (np.rint(points) if edge == "nearest" else np.floor(points)).astype(int)


def _near(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cuts a ring that reaches far beyond the image at one image size beyond it."""
    height, width = size
    for axis, limit in ((0, width), (1, height)):
        for sign in (1, -1):
            value = sign * ring[:, axis]
            edge = 2 * limit if sign == 1 else limit
            if (value > edge).any():
                ring = _cut(ring, sign, axis, edge)
    return ring


def _cut(ring: np.ndarray, sign: int, axis: int, edge: float) -> np.ndarray:
    """Keeps the part of a ring where sign * coordinate <= edge (Sutherland and Hodgman, 1974)."""
    kept: list[np.ndarray] = []
    for start, end in zip(ring, following(ring), strict=True):
        a, b = sign * start[axis] - edge, sign * end[axis] - edge
        if a <= 0:
            kept.append(start)
        if a * b < 0:
            kept.append(start + (end - start) * (a / (a - b)))
    return np.array(kept) if kept else np.zeros((1, 2))
