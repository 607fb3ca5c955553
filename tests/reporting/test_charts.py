import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_keras.reporting.charts import POINTS, Line, chart, number, ticks

numbers = st.floats(-1e9, 1e9).filter(lambda x: x == 0 or abs(x) > 1e-12)


@given(numbers, numbers)
def test_ticks_are_few_even_and_enclose_the_numbers(one, other):
    low, high = sorted((one, other))
    found = ticks(low, high, 5)
    assert 2 <= len(found) <= 8
    step = found[1] - found[0]
    for before, after in zip(found, found[1:], strict=False):
        assert after - before == pytest.approx(step)
    slack = 1e-6 * max(step, abs(low), abs(high))
    assert found[0] <= low + slack and found[-1] >= high - slack


@given(st.integers(1, 10_000), st.integers(0, 10_000))
def test_epochs_are_counted_in_whole_numbers(first, more):
    found = ticks(first, first + more, 6, whole=True)
    assert 1 <= len(found) <= 12
    assert all(isinstance(tick, int) and first <= tick <= first + max(more, 1) for tick in found)


def test_lines_pass_over_gaps_and_lie_inside_the_axes():
    gaps = Line("a", [1, 2, 3, 4], [0.5, None, math.nan, 0.25], 0)
    drawn = chart("loss", [gaps, Line("empty", [1, 2], [None, None], 1)])
    (line,) = drawn["lines"]
    assert [text for _, _, text in line["dots"]] == ["a, epoch 1: 0.5", "a, epoch 4: 0.25"]
    (x1, y1, _), (x2, y2, _) = line["dots"]
    assert line["path"] == f"M{x1} {y1}L{x2} {y2}"
    assert drawn["left"] == x1 < x2 == drawn["right"]
    assert drawn["top"] <= y1 < y2 <= drawn["bottom"]
    assert chart("loss", [Line("empty", [1], [None], 0)]) is None


def test_a_single_point_can_be_drawn():
    ((x, y, _),) = chart("loss", [Line("a", [1], [0.0], 0)])["lines"][0]["dots"]
    assert math.isfinite(x) and math.isfinite(y)


def test_long_lines_are_thinned_out_and_keep_their_end():
    points = Line("a", list(range(10_001)), [0.5] * 10_001, 0).points()
    assert len(points) <= POINTS and points[-1] == (10_000, 0.5)


def test_numbers_are_short():
    assert [number(x) for x in (0.70123, 1e-5, 23_400.4, 0)] == ["0.7012", "1e-05", "23,400", "0"]
