import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_keras.reporting.charts import Line, chart, number, ticks

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
    assert [text for _, _, text in line["points"]] == ["a, epoch 1: 0.5", "a, epoch 4: 0.25"]
    (x1, y1, _), (x2, y2, _) = line["points"]
    assert line["path"] == f"M{x1} {y1}L{x2} {y2}"
    assert drawn["left"] == x1 < x2 == drawn["right"]
    assert drawn["top"] <= y1 < y2 <= drawn["bottom"]
    assert chart("loss", [Line("empty", [1], [None], 0)]) is None


def test_a_single_point_can_be_drawn():
    ((x, y, _),) = chart("loss", [Line("a", [1], [0.0], 0)])["lines"][0]["points"]
    assert math.isfinite(x) and math.isfinite(y)


def test_long_lines_are_thinned_out_and_keep_their_end():
    points = Line("a", list(range(10_001)), [0.5] * 10_001, 0).points()
    assert 200 <= len(points) <= 400 and points[-1] == (10_000, 0.5)


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=20, unique=True))
def test_the_left_axis_is_close_to_the_data(values):
    if max(values) - min(values) < 1e-3 * max(values):
        return
    drawn = chart("loss", [Line("a", list(range(1, len(values) + 1)), values, 0)])
    ys = [y for _, y, _ in drawn["lines"][0]["points"]]
    height = drawn["bottom"] - drawn["top"]
    assert max(ys) - min(ys) >= 0.9 * height
    ticks = [y for y, _ in drawn["y_ticks"]]
    assert len(ticks) >= 2 and all(drawn["top"] <= y <= drawn["bottom"] for y in ticks)


def test_ticks_have_the_same_number_of_decimals():
    texts = [text for _, text in chart("IU", [Line("a", [1, 2], [0.6, 1.0], 0)])["y_ticks"]]
    assert texts == ["0.6", "0.7", "0.8", "0.9", "1.0"]


def test_the_best_epoch_is_marked_by_a_vertical_line():
    lines = [Line("a", [1, 2, 3, 4, 5], [0.1, 0.2, 0.9, 0.4, 0.5], 0)]
    drawn = chart("IU", lines, best=3)
    x, _, _ = drawn["lines"][0]["points"][2]
    assert drawn["best"] == {"x": x, "anchor": "middle", "text": "best epoch 3"}
    assert chart("IU", lines, best=1)["best"]["anchor"] == "start"
    assert chart("IU", lines, best=5)["best"]["anchor"] == "end"
    assert chart("IU", lines)["best"] is None
    assert chart("IU", lines, best=6)["best"] is None


def test_the_best_point_of_a_line_gets_a_ring_even_if_thinned_out():
    epochs = list(range(1, 1001))
    line = Line("a", epochs, [epoch / 1000 for epoch in epochs], 0, best=500)
    (drawn,) = chart("IU", [line])["lines"]
    assert 500 not in [x for x, _ in line.points()]
    assert drawn["best"][2] == "a, best epoch 500: 0.5"
    (drawn,) = chart("IU", [Line("a", [1, 2], [0.1, None], 0, best=2)])["lines"]
    assert drawn["best"] is None


@pytest.mark.parametrize(("count", "has_dots"), [(15, True), (16, False)])
def test_only_short_lines_have_dots(count, has_dots):
    (line,) = chart("IU", [Line("a", list(range(count)), [0.5] * count, 0)])["lines"]
    assert line["has_dots"] is has_dots


def test_numbers_are_short():
    assert [number(x) for x in (0.70123, 1e-5, 23_400.4, 0)] == ["0.7012", "1e-05", "23,400", "0"]
