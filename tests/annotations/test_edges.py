"""Which pixels polygons cover, against the tools that define the rules."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pipelines.annotations.edges import fill

SIZE = (40, 50)
NUMBER = st.floats(-20, 70, width=32)
RINGS = st.lists(st.tuples(NUMBER, NUMBER), min_size=3, max_size=12).map(
    lambda p: np.array(p, float)
)


def whole(parts, edge, size=SIZE):
    """The region as a mask of the whole image."""
    region, mask = fill(parts, size, edge), np.zeros(size, bool)
    if region is not None:
        pixels, left, top = region
        mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return mask


@settings(max_examples=300)
@given(st.lists(RINGS, min_size=1, max_size=3))
def test_centres_are_those_of_pycocotools(rings):
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    runs = coco.frPyObjects([ring.ravel().tolist() for ring in rings], *SIZE)
    want = coco.decode(coco.merge(runs)).astype(bool)
    np.testing.assert_array_equal(whole([(ring,) for ring in rings], "centre"), want)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.floats(0, 49), st.floats(0, 39)), min_size=3, max_size=12))
def test_containing_pixels_are_those_of_pillow(points):
    # labelme.utils.shape_to_mask
    canvas = Image.new("1", SIZE[::-1])
    ImageDraw.Draw(canvas).polygon([(int(x), int(y)) for x, y in points], outline=1, fill=1)
    got = whole([(np.array(points),)], "containing")
    # Pillow rounds an edge that runs exactly between two pixels by its place in the image.
    assert np.count_nonzero(got != np.array(canvas)) <= len(points)


@settings(max_examples=200)
@given(RINGS)
def test_nearest_pixels_are_those_of_opencv(ring):
    want = np.zeros(SIZE, "uint8")
    cv2.fillPoly(want, [np.round(ring).astype("int32")], 1)
    np.testing.assert_array_equal(whole([(ring,)], "nearest"), want > 0)


@pytest.mark.parametrize(
    ("edge", "columns"),
    [
        ("centre", range(3, 6)),  # Centres 3.5, 4.5 and 5.5 are in 2.6 .. 6.4.
        ("containing", range(2, 7)),  # 2.6 is in pixel 2, 6.4 in pixel 6.
        ("nearest", range(3, 7)),  # 2.6 is nearest to 3, 6.4 to 6.
    ],
)
def test_the_rules_on_a_rectangle_between_pixels(edge, columns):
    ring = np.array([[2.6, 10], [6.4, 10], [6.4, 20], [2.6, 20]])
    assert np.flatnonzero(whole([(ring,)], edge).any(0)).tolist() == list(columns)


@pytest.mark.parametrize("edge", ["centre", "containing", "nearest"])
def test_holes_and_several_parts(edge):
    outer, hole, inner, other = (
        np.array([[a, a], [b, a], [b, b], [a, b]], float)
        for a, b in ((0, 30), (5, 25), (10, 20), (32, 38))
    )
    mask = whole([(outer, hole), (inner,), (other,)], edge)
    assert mask[2, 2] and mask[15, 15] and mask[35, 35]
    assert not mask[7, 7] and not mask[31, 31]


@pytest.mark.parametrize("edge", ["centre", "containing", "nearest"])
@pytest.mark.parametrize("reach", [100, 1e4, 1e7])
def test_what_is_outside_is_clipped(edge, reach):
    # The left half, whatever the distance of the other corners.
    ring = np.array([[-reach, -reach], [25, -reach], [25, reach], [-reach, reach]])
    mask = whole([(ring,)], edge)
    assert mask[:, :25].all() and not mask[:, 26:].any()
    assert fill([(ring - (2 * reach, 0),)], SIZE, edge) is None


def test_a_slanted_edge_that_reaches_far_keeps_its_slope():
    ring = np.array([[0, 0], [1e6, 1e6], [0, 1e6]])  # Below the diagonal.
    mask = whole([(ring,)], "centre", (100, 100))
    rows, columns = np.indices((100, 100))
    assert mask[columns < rows - 1].all() and not mask[columns > rows + 1].any()
