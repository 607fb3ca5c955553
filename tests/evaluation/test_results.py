import json
import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, jaccard_score

from fcn_keras import Evaluation
from fcn_keras.evaluation.results import names_of

CONFUSION = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 6]])
NAMES = ("sky", "road", "car")


def as_labels(confusion):
    """Expands a confusion matrix into the labels of each pixel, for scikit-learn."""
    cells = np.repeat(np.arange(confusion.size), confusion.ravel())
    return np.divmod(cells, len(confusion))


def test_metrics_match_scikit_learn():
    found, (truth, predicted) = Evaluation(CONFUSION, NAMES), as_labels(CONFUSION)
    assert found.pixel_accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert found.mean_accuracy == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert found.mean_iou == pytest.approx(jaccard_score(truth, predicted, average="macro"))
    weighted = jaccard_score(truth, predicted, average="weighted")
    assert found.frequency_weighted_iou == pytest.approx(weighted)
    ious = jaccard_score(truth, predicted, average=None)
    assert [one.iou for one in found.per_class] == pytest.approx(ious)


def test_per_class_metrics():
    road = Evaluation(CONFUSION, NAMES).per_class[1]
    assert (road.name, road.pixels, road.accuracy, road.iou) == ("road", 4, 0.75, 0.5)


def test_json_has_the_metrics_of_each_class():
    # By hand: the row sums are 10, 4 and 6, the column sums 9, 5 and 6.
    assert Evaluation(CONFUSION, NAMES).to_dict()["per_class"] == [
        {"name": "sky", "iou": 8 / 11, "accuracy": 8 / 10, "pixels": 10},
        {"name": "road", "iou": 3 / 6, "accuracy": 3 / 4, "pixels": 4},
        {"name": "car", "iou": 6 / 6, "accuracy": 6 / 6, "pixels": 6},
    ]


# Class "moon" is predicted, but not in the ground truth: the IUs are 6 / 8, 0 and 4 / 4.
MOON = np.array([[6, 2, 0], [0, 0, 0], [0, 0, 4]])


@pytest.mark.parametrize(
    ("skip_absent", "mean", "text"),
    [
        (False, 1.75 / 3, "mean IU 0.583 counts the classes that the masks lack as 0 .* 0.875"),
        (True, 1.75 / 2, "mean IU 0.875 leaves out the classes that the masks lack.* 0.583"),
    ],
)
def test_both_rules_for_absent_classes_are_named_where_they_differ(skip_absent, mean, text):
    found = Evaluation(MOON, ("sky", "moon", "sea"), skip_absent)
    assert found.mean_iou == pytest.approx(mean)
    assert re.search(text, str(found))
    content = json.loads(json.dumps(found.to_dict()))
    assert content["mean_iou"] == pytest.approx(mean)
    moon = {"name": "moon", "iou": 0, "accuracy": None, "pixels": 0}
    assert content["per_class"][1] == moon
    assert content["mean_iou_absent_counted"] == pytest.approx(1.75 / 3)
    assert content["mean_iou_absent_skipped"] == pytest.approx(1.75 / 2)
    assert Evaluation.from_dict(content).mean_iou == found.mean_iou
    assert "lack" not in str(Evaluation(CONFUSION, NAMES, skip_absent))


def test_evaluation_prints_as_a_table():
    lines = str(Evaluation(CONFUSION, NAMES)).splitlines()
    assert lines[2] == "mean IU                0.742"  # (8/11 + 3/6 + 6/6) / 3
    assert lines[-4:] == [
        "class     IU  accuracy      pixels",
        "sky    0.727     0.800          10",
        "road   0.500     0.750           4",
        "car    1.000     1.000           6",
    ]


def test_evaluation_prints_each_metric_and_class():
    # By hand: 10 of 12 pixels are right; accuracies 6 / 8 and 4 / 4.
    assert str(Evaluation(MOON * 1000, ("sky", "full moon", "sea"))).splitlines() == [
        "pixel accuracy         0.833",
        "mean accuracy          0.875",
        "mean IU                0.583",
        "frequency-weighted IU  0.833",
        "",
        "mean IU 0.583 counts the classes that the masks lack as 0 where they are predicted; "
        "without them it is 0.875.",
        "",
        "class         IU  accuracy      pixels",
        "sky        0.750     0.750       8,000",
        "full moon  0.000       n/a           0",
        "sea        1.000     1.000       4,000",
    ]


def test_classes_without_names_are_numbered():
    assert names_of(3) == ("0", "1", "2")
    assert names_of(2, ["sky", "sea"]) == ("sky", "sea")


def test_json_of_version_0_2_counts_absent_classes():
    content = Evaluation(MOON, ("sky", "moon", "sea"), skip_absent=True).to_dict()
    del content["skip_absent"]
    assert Evaluation.from_dict(content).mean_iou == pytest.approx(1.75 / 3)


def test_evaluation_survives_json():
    found = Evaluation(CONFUSION, NAMES)
    again = Evaluation.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.mean_iou == found.mean_iou and again.class_names == NAMES
    assert (again.confusion == CONFUSION).all()


def test_undefined_metrics_are_nan_and_none_in_json():
    empty = Evaluation(np.zeros((2, 2), "int64"), ("a", "b"))
    assert np.isnan(empty.mean_iou) and np.isnan(empty.per_class[0].iou)
    assert empty.to_dict()["mean_iou"] is None and "n/a" in str(empty)
    assert "no labelled pixel" in empty.warnings()[0]


@pytest.mark.parametrize(
    ("confusion", "warning"),
    [
        ([[5, 1], [0, 0]], "classes missing from the masks: b."),
        (
            [[5, 0], [3, 0]],
            "every pixel is predicted as 'a', the class of 62.5 % of the pixels. Either the "
            "training had too few steps (--epochs), or the classes are imbalanced",
        ),
    ],
)
def test_suspicious_results_give_warnings(confusion, warning):
    (found,) = Evaluation(np.array(confusion), ("a", "b")).warnings()
    assert found.startswith(warning)


def test_a_single_class_gives_no_warning():
    assert Evaluation(np.array([[5]]), ("a",)).warnings() == []
