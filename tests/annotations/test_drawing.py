"""Shapes drawn over each other, and what is counted."""

import math
import os

import numpy as np
import pytest

from pipelines import DataError
from pipelines.annotations import drawing
from pipelines.annotations.annotated import (
    VOID,
    Bitmap,
    Broken,
    Ellipse,
    Line,
    Point,
    Polygon,
    Shape,
)
from pipelines.annotations.drawing import draw
from pipelines.annotations.rle import Runs, as_counts


def square(left, top, side):
    corners = [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]
    return Polygon(((np.array(corners, float),),))


def polygon(*points):
    return Polygon(((np.array(points, float).reshape(-1, 2),),))


def test_later_shapes_are_on_top_and_painted_over_pixels_are_counted():
    shapes = [Shape(1, square(0, 0, 10)), Shape(2, square(5, 5, 10)), Shape(2, square(6, 6, 2))]
    drawn = draw(shapes, (20, 20), 0)
    assert np.bincount(drawn.mask.ravel()).tolist() == [400 - 175, 75, 100]
    assert drawn.painted_over == 25  # Shapes of the same class cover nothing.


def test_large_first_keeps_small_objects():
    shapes = [Shape(1, square(5, 5, 3)), Shape(2, square(0, 0, 20)), Shape(VOID, square(6, 6, 1))]
    assert draw(shapes, (20, 20), 0).mask[5, 5] == 2
    drawn = draw(shapes, (20, 20), 0, overlap="large-first")
    assert drawn.mask[5, 5] == 1 and drawn.mask[6, 6] == VOID
    assert drawn.painted_over == 9 + 1


def test_large_first_knows_the_area_of_all_shapes():
    mask = np.ones((4, 4), bool)
    shapes = [
        Shape(1, Point(10, 10, 3)),
        Shape(2, Bitmap(lambda: mask, 9, 9)),  # 16 pixels.
        Shape(3, Ellipse(10, 10, 4, 4)),  # 50 pixels.
        Shape(4, Runs(as_counts([0, 400]), (20, 20))),
        Shape(5, square(2, 2, 16)),
    ]
    drawn = draw(shapes, (20, 20), 0, overlap="large-first")
    assert drawn.mask[10, 10] == 1 and drawn.mask[12, 12] == 2
    assert drawn.mask[6, 10] == 3 and drawn.mask[3, 3] == 5 and drawn.mask[0, 0] == 4


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (polygon([1, 1], [5, 5]), drawing.TOO_FEW),
        (Polygon(((np.zeros((0, 2)),),)), drawing.TOO_FEW),
        (polygon([1, 1], [5, 1], [3, 1]), drawing.NO_AREA),
        (polygon([1.1, 1.1], [1.2, 1.1], [1.2, 1.2]), drawing.NO_AREA),
        (square(100, 100, 5), drawing.OUTSIDE),
        (square(-100, 0, 5), drawing.OUTSIDE),
        (polygon([1, 1], [math.nan, 5], [5, 5]), drawing.FAR),
        (polygon([1, 1], [math.inf, 5], [5, 5]), drawing.FAR),
        (polygon([1, 1], [1e300, 5], [5, 5]), drawing.FAR),
        (Ellipse(math.nan, 1, 1, 1), drawing.FAR),
        (Ellipse(100, 100, 2, 2), drawing.OUTSIDE),
        (Line(np.array([[1.0, 1.0], [5.0, 5.0]])), drawing.NO_WIDTH),
        (Line(np.array([[1.0, 1.0], [math.inf, 5.0]]), 2), drawing.FAR),
        (Point(3, 3), drawing.NO_WIDTH),
        (Point(math.nan, 3, 5), drawing.FAR),
        (Bitmap(lambda: np.ones((3, 3), bool), 50, 0), drawing.OUTSIDE),
        (Bitmap(lambda: np.zeros((3, 3), bool), 0, 0), drawing.NO_AREA),
        (Runs(as_counts([400]), (20, 20)), drawing.NO_AREA),
    ],
)
@pytest.mark.parametrize("edge", ["centre", "containing", "nearest"])
def test_what_cannot_be_drawn_is_counted(geometry, reason, edge):
    if reason == drawing.NO_AREA and isinstance(geometry, Polygon):
        edge = "centre"  # By the other rules the outline has pixels.
    drawn = draw([Shape(1, geometry)], (20, 20), 0, edge=edge)
    assert drawn.left_out == {reason: 1} and not drawn.mask.any()


@pytest.mark.parametrize(
    "ring",
    [
        [[2, 2], [12, 12], [12, 2], [2, 12]],  # A bow tie; its signed area is 0.
        [[0, 0], [10, 0], [10, 10], [5, -5], [0, 10]],
    ],
)
def test_polygons_that_cross_themselves_are_drawn_and_told(ring):
    drawn = draw([Shape(1, polygon(*ring))], (20, 20), 0)
    assert drawn.noted == {drawing.CROSSING: 1} and drawn.mask.any() and not drawn.left_out


@pytest.mark.parametrize(
    "ring",
    [
        [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]],  # The first point again at the end.
        [[0, 0], [5, 0], [5, 0], [10, 10]],
        [[0, 0], [10, 0], [10, 10], [5, 0], [0, 10]],  # Touches its edge.
    ],
)
def test_polygons_that_touch_themselves_are_usual(ring):
    assert not draw([Shape(1, polygon(*ring))], (20, 20), 0).noted


def test_bitmaps_are_clipped():
    drawn = draw([Shape(1, Bitmap(lambda: np.ones((6, 6), bool), -2, 17))], (20, 20), 0)
    assert drawn.mask[17:, :4].all() and drawn.mask.sum() == 12


@pytest.mark.parametrize(
    ("ellipse", "area"), [(Ellipse(50, 50, 30, 20), 1885), (Ellipse(50, 50, 30, 10, 30), 942)]
)
def test_ellipses_have_their_area(ellipse, area):
    drawn = draw([Shape(1, ellipse)], (100, 100), 0)
    assert np.count_nonzero(drawn.mask) == pytest.approx(area, rel=0.01)


def test_an_ellipse_turns_clockwise():
    mask = draw([Shape(1, Ellipse(50, 50, 40, 5, 30))], (100, 100), 0).mask
    assert mask[50 + 17, 50 + 30] and not mask[50 - 17, 50 + 30]  # Down is positive.


def test_the_width_of_lines_and_points_can_be_given():
    line = Line(np.array([[5.0, 20.0], [35.0, 20.0]]), 10)
    for width, given in ((10, None), (4, 4)):
        mask = draw([Shape(1, line)], (40, 40), 0, line_width=given).mask
        assert (mask[:, 20] > 0).sum() == width
    drawn = draw([Shape(1, line), Shape(1, Point(9, 9, 5))], (40, 40), 0, line_width=0)
    assert drawn.left_out == {drawing.NO_WIDTH: 2}
    disc = draw([Shape(1, Point(20, 20))], (40, 40), 0, line_width=10).mask
    assert np.count_nonzero(disc) == pytest.approx(math.pi * 25, rel=0.3)


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (Broken("it is odd"), "shape 7: it is odd"),
        (Runs(as_counts([5]), (3, 2)), r"shape 7: .*\[3, 2\].*\[20, 20\]"),
        (Runs(as_counts([5]), (20, 20)), "shape 7: its counts add up to 5"),
    ],
)
@pytest.mark.parametrize("overlap", ["file", "large-first"])
def test_broken_shapes_are_errors_that_name_them(geometry, reason, overlap):
    with pytest.raises(DataError, match=reason):
        draw([Shape(1, geometry, label="shape 7")], (20, 20), 0, overlap=overlap)


@pytest.mark.slow
def test_a_hundred_thousand_polygons(rng):
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    shapes = [
        Shape(i % 200, Polygon(((rng.uniform(0, 3000, 2) + 10 * circle,),))) for i in range(100_000)
    ]
    before = os.times().user
    drawn = draw(shapes, (3000, 3000), 0, overlap="large-first")
    assert len(np.unique(drawn.mask)) == 200
    assert os.times().user - before < 120
