from pathlib import Path

import pytest

from fcn_keras.reporting.tables import confusion
from fcn_keras.runs.reading import Run


def run_with(matrix):
    classes = [{"name": name, "colour": "#000000"} for name in "abcd"[: len(matrix)]]
    return Run("run", Path("run"), {}, classes, metrics={"confusion": matrix})


def cells(matrix, what):
    rows = confusion(run_with(matrix))["matrix"]
    return [[cell[what] for cell in row["cells"]] for row in rows]


def test_confusions_have_a_colour_scale_of_their_own():
    matrix = [[900, 80, 20], [0, 500, 0], [4, 0, 196]]
    assert cells(matrix, "text") == [["90", "8", "2"], ["", "100", ""], ["2", "", "98"]]
    assert cells(matrix, "shade") == [[0.9, 1.0, 0.25], [0, 1.0, 0], [0.25, 0, 0.98]]
    assert cells(matrix, "is_right") == [[i == j for j in range(3)] for i in range(3)]
    assert confusion(run_with(matrix))["largest_error"] == pytest.approx(0.08)


def test_without_errors_there_are_no_confusions():
    found = confusion(run_with([[5, 0], [0, 7]]))
    assert found["largest_error"] == 0 and found["confusions"] == []
    assert cells([[5, 0], [0, 7]], "shade") == [[1.0, 0], [0, 1.0]]


def test_a_class_without_pixels_has_no_shares():
    matrix = [[3, 1], [0, 0]]
    assert cells(matrix, "text") == [["75", "25"], ["", "n/a"]]
    assert cells(matrix, "shade") == [[0.75, 1.0], [0, 0]]


def test_the_most_frequent_confusions_are_sorted_by_pixels():
    found = confusion(run_with([[900, 80, 20], [0, 500, 0], [150, 0, 50]]))["confusions"]
    assert found == [("c", "a", 0.75, 150), ("a", "b", 0.08, 80), ("a", "c", 0.02, 20)]
