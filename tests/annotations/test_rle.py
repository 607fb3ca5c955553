"""COCO's run lengths, against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipelines.annotations.rle import Runs, area, as_counts, decode

coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
MASKS = arrays(
    "uint8", array_shapes(min_dims=2, max_dims=2, max_side=70), elements=st.integers(0, 1)
)


@given(MASKS)
def test_compressed_counts_are_those_of_pycocotools(mask):
    encoded = coco.encode(np.asfortranarray(mask))
    runs = Runs(encoded["counts"], tuple(encoded["size"]))
    np.testing.assert_array_equal(decode(runs), mask.astype(bool))
    assert area(runs) == coco.area(encoded) == mask.sum()


@given(st.lists(st.integers(0, 3_000_000), min_size=1, max_size=30))
def test_large_counts(counts):
    height, width = 1, sum(counts) or 1
    encoded = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    assert area(Runs(encoded["counts"], (height, width))) == sum(counts[1::2])


def test_uncompressed_counts_run_down_the_columns():
    # Rows 1 and 2 of column 0, row 0 of column 1.
    mask = decode(Runs(as_counts([1, 3, 2]), (3, 2)))
    np.testing.assert_array_equal(mask, [[False, True], [True, False], [True, False]])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (as_counts([5]), r"add up to 5, but its size \[3, 2\] \(height, width\) has 6"),
        (as_counts([7, -1]), "-1"),
        (b"1", "add up to 1"),
        (b"", "add up to 0"),
        (b"o", "in the middle of a number"),
        (b"1 2", "a character"),
        (b"oooooooooo0", "more than 40 bits"),
    ],
)
def test_counts_that_are_wrong(counts, message):
    with pytest.raises(ValueError, match=message):
        decode(Runs(counts, (3, 2)))


@pytest.mark.parametrize("counts", [[1.5], ["1"], [True], [2**70], [None]])
def test_counts_that_are_no_numbers(counts):
    with pytest.raises(ValueError, match="whole numbers"):
        as_counts(counts)
