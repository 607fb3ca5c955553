import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from fcn_keras.errors import ConfigError
from fcn_keras.metrics import ConfusionMatrix, count_pixels, segmentation_metrics
from fcn_keras.text import METRIC_NAMES


def one_hot(classes, count):
    return np.eye(count, dtype="float32")[classes]


def formulas(n):
    """Computes the paper's four metrics (section 5) term by term."""
    n = n.astype("float64")
    classes = range(len(n))
    t = [sum(n[i, j] for j in classes) for i in classes]
    union = [t[i] + sum(n[j, i] for j in classes) - n[i, i] for i in classes]
    iou = {i: n[i, i] / union[i] for i in classes if union[i]}
    accuracy = [n[i, i] / t[i] for i in classes if t[i]]
    return {
        "pixel_accuracy": sum(n[i, i] for i in classes) / sum(t),
        "mean_accuracy": sum(accuracy) / len(accuracy),
        "mean_iou": sum(iou.values()) / len(iou),
        "frequency_weighted_iou": sum(t[i] * iou[i] for i in iou) / sum(t),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_matrix_and_metrics_accumulate_over_batches(seed, classes):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (6, 7, 5)).astype("uint8")
    truth[rng.random(truth.shape) < 0.2] = 255
    predicted = rng.integers(0, max(1, classes - 1), truth.shape)  # The last class is missing.
    metric = ConfusionMatrix(classes)
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        metric.update_state(truth[start:stop], one_hot(predicted[start:stop], classes))
    valid = truth != 255
    expected = confusion_matrix(truth[valid], predicted[valid], labels=range(classes))
    np.testing.assert_array_equal(metric.confusion(), expected)
    for name, value in formulas(expected).items():
        assert segmentation_metrics(expected)[name] == pytest.approx(value, rel=1e-12)
        assert float(metric.result()[name]) == pytest.approx(value, rel=1e-5)


def test_counts_are_exact_beyond_float32():
    metric = ConfusionMatrix(2)
    metric.matrix.assign(np.array([[2**40, 0], [0, 1]]))
    metric.update_state(np.zeros((1, 1, 1), "uint8"), one_hot(np.zeros((1, 1, 1), int), 2))
    assert metric.confusion()[0, 0] == 2**40 + 1


def test_matrix_can_be_restored():
    metric = ConfusionMatrix(2)
    metric.restore([[2**40, 0], [3, 1]])
    np.testing.assert_array_equal(metric.confusion(), [[2**40, 0], [3, 1]])


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        ([[1, 2]], r"must be pixel counts \[2, 2\], found int64 \[1, 2\]"),
        (5, r"found int64 \[\]"),
        ([["1", "2"], ["3", "4"]], "found <U1"),
        ([[1.5, 0], [0, 1]], "whole numbers of at least 0"),
        ([[-1, 0], [0, 1]], "whole numbers of at least 0"),
        ([[np.nan, 0], [0, 1]], "whole numbers of at least 0"),
        ([[np.inf, 0], [0, 1]], "whole numbers of at least 0"),
        (np.array([[2**63, 0], [0, 1]], "uint64"), "whole numbers of at least 0"),
    ],
)
def test_only_counts_are_restored(confusion, message):
    metric = ConfusionMatrix(2)
    with pytest.raises(ConfigError, match=message):
        metric.restore(confusion)
    assert not metric.confusion().any()
    metric.restore(np.array([[2.0, 0], [0, 1]]))
    assert metric.confusion().tolist() == [[2, 0], [0, 1]]


def test_update_state_compiles_with_xla():
    # On a GPU, Keras compiles a model's steps with XLA by default.
    metric = ConfusionMatrix(2)
    truth = np.array([[[0, 1, 255]]], "uint8")
    tf.function(metric.update_state, jit_compile=True)(truth, one_hot(truth % 2, 2))
    np.testing.assert_array_equal(metric.confusion(), [[1, 0], [0, 1]])


def test_missing_classes_are_left_out():
    # Class 2 is missing; class 1 is predicted, but not in the ground truth.
    confusion = np.array([[6, 2, 0], [0, 0, 0], [0, 0, 0]])
    result = segmentation_metrics(confusion)
    np.testing.assert_allclose(result["iou"], [0.75, 0, np.nan])
    assert result["mean_iou"] == pytest.approx(0.375)
    assert result["mean_accuracy"] == pytest.approx(0.75)


def test_classes_that_the_truth_lacks_count_as_zero_or_not_at_all():
    # Class 1 is predicted, but not in the ground truth: IUs 6 / 8, 0 and 4 / 4.
    confusion = np.array([[6, 2, 0], [0, 0, 0], [0, 0, 4]])
    for skip_absent, expected in ((False, (0.75 + 0 + 1) / 3), (True, (0.75 + 1) / 2)):
        found = segmentation_metrics(confusion, skip_absent=skip_absent)
        assert found["mean_iou"] == pytest.approx(expected)
        assert found["mean_accuracy"] == pytest.approx((6 / 8 + 1) / 2)
        metric = ConfusionMatrix(3, skip_absent=skip_absent)
        metric.restore(confusion)
        assert float(metric.result()["mean_iou"]) == pytest.approx(expected)
        assert float(metric.result()["mean_accuracy"]) == pytest.approx((6 / 8 + 1) / 2)
        again = ConfusionMatrix.from_config(metric.get_config())
        assert again.skip_absent is skip_absent
    metric = ConfusionMatrix(3)
    metric.restore(confusion)
    assert float(metric.result()["mean_iou"]) == pytest.approx((0.75 + 0 + 1) / 3)


@pytest.mark.parametrize("shape", [(2, 4, 5, 5), (2, 4, 5, 1), (2, 4, 5)])
def test_logits_of_another_number_of_classes_are_an_error(shape):
    truth = np.zeros((2, 4, 5), "uint8")
    with pytest.raises(ConfigError, match="num_classes=3, but the logits have the shape"):
        ConfusionMatrix(3).update_state(truth, np.zeros(shape, "float32"))


@pytest.mark.parametrize("count", [0, -1, 2.0, "3", None, {"a": 2}, True])
def test_number_of_classes_is_checked(count):
    with pytest.raises(ConfigError, match="num_classes=.*: must be a whole number of at least 1"):
        ConfusionMatrix(count)
    with pytest.raises(ConfigError, match="num_classes=.*: must be a whole number of at least 1"):
        count_pixels(np.zeros(2, int), np.zeros(2, int), count)
    assert ConfusionMatrix(np.int64(3)).confusion().shape == (3, 3)
    assert ConfusionMatrix(1).confusion().shape == (1, 1)


def test_nothing_is_ignored_without_an_ignored_class():
    metric = ConfusionMatrix(256, ignore_class=None)
    metric.update_state(np.array([[[255, 1]]], "uint8"), np.eye(256, dtype="float32")[[[[255, 0]]]])
    assert metric.confusion()[255, 255] == metric.confusion()[1, 0] == 1


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (np.zeros((2, 3)), r"pixel counts \[classes, classes\], found float64 \[2, 3\]"),
        (np.zeros(4), r"found float64 \[4\]"),
        (np.zeros((0, 0)), r"found float64 \[0, 0\]"),
        ([["a", "b"], ["c", "d"]], "found <U1"),
        (np.array([[1, -1], [0, 2]]), "counts of at least 0"),
        (np.array([[1, np.nan], [0, 2]]), "counts of at least 0"),
    ],
)
def test_what_is_no_confusion_matrix_is_an_error(confusion, message):
    with pytest.raises(ConfigError, match=message):
        segmentation_metrics(confusion)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([[0, 3]], [[0, 0]], r"masks: class ids must be 0 to 2, or 255 \(ignored\), found 3"),
        ([[0, -1]], [[0, 0]], "masks: class ids .* found -1"),
        ([[0, 1]], [[0, 3]], "prediction: class ids .* found 3"),
        ([[0.5, 1.2]], [[0, 1]], "masks: class ids must be whole numbers, found fractions"),
        ([[0, 1]], [[0, np.nan]], "prediction: class ids must be whole numbers, found fractions"),
        ([[0, np.inf]], [[0, 1]], "masks: class ids must be whole numbers, found fractions"),
        ([["a", "b"]], [[0, 1]], "masks: class ids must be whole numbers, found <U1"),
        ([[0], [1]], [[0, 1]], r"must have the shape of the prediction, \(1, 2\), found \(2, 1\)"),
    ],
)
def test_pixels_beyond_the_classes_are_not_counted_elsewhere(truth, prediction, message):
    with pytest.raises(ConfigError, match=message):
        count_pixels(np.array(truth), np.array(prediction), 3)
    with pytest.raises(ConfigError, match=message):
        count_pixels(truth, prediction, 3)


def test_masks_to_count_may_be_lists_or_whole_floats():
    for truth in ([0, 1, 255], np.array([0.0, 1, 255]), np.array([0, 1, 255], "uint64")):
        assert count_pixels(truth, [0, 1, 0], np.uint8(2)).tolist() == [[1, 0], [0, 1]]


def test_every_pixel_counts_without_an_ignored_class():
    mask = np.array([[255, 1]])
    assert count_pixels(mask, mask, 256, ignore_class=None)[255, 255] == 1
    with pytest.raises(ConfigError, match="masks: class ids must be 0 to 2, found 255. Map"):
        count_pixels(mask, mask, 3, ignore_class=None)


def test_classes_of_a_single_pixel_and_single_classes_count():
    assert segmentation_metrics([[5]])["mean_iou"] == 1
    # By hand: accuracies 1 / 1 and 2 / 4; IUs 1 / 2, 2 / 4 and, of one wrong pixel alone, 0 / 1.
    found = segmentation_metrics([[1, 0, 0], [1, 2, 1], [0, 0, 0]])
    assert found["mean_accuracy"] == pytest.approx((1 + 2 / 4) / 2)
    assert found["iou"] == pytest.approx([1 / 2, 2 / 4, 0])
    assert found["mean_iou"] == pytest.approx(1 / 3)


def test_metrics_without_labelled_pixels_are_nan():
    metric = ConfusionMatrix(3)
    metric.update_state(np.full((1, 2, 2), 255), np.zeros((1, 2, 2, 3), "float32"))
    assert metric.confusion().sum() == 0
    assert all(np.isnan(segmentation_metrics(metric.confusion())[name]) for name in METRIC_NAMES)


def test_pixels_with_zero_weight_are_ignored():
    metric = ConfusionMatrix(2)
    truth = np.array([[[0, 1]], [[1, 1]]])
    for weights in (np.array([1, 0])[:, None, None], np.array([0.5, 0.0])):
        metric.reset_state()
        metric.update_state(truth, one_hot(truth, 2), sample_weight=weights)
        np.testing.assert_array_equal(metric.confusion(), [[1, 0], [0, 1]])


def test_fit_logs_each_metric(rng):
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 1)])
    model.compile(loss="mse", metrics=[ConfusionMatrix(3)])
    x = rng.normal(size=(2, 4, 4, 2)).astype("float32")
    y = rng.integers(0, 3, (2, 4, 4, 1))
    history = model.fit(x, y, validation_data=(x, y), verbose=0).history
    assert {*METRIC_NAMES, *(f"val_{name}" for name in METRIC_NAMES)} <= history.keys()


def test_count_pixels_returns_confusion_matrix():
    truth = np.array([[0, 0, 1], [2, 255, 1]], "uint8")
    prediction = np.array([[0, 2, 1], [2, 0, 0]], "uint8")
    counted = [[1, 0, 1], [1, 1, 0], [0, 0, 1]]  # By hand; the void pixel is ignored.
    assert count_pixels(truth, prediction, 3).tolist() == counted
    void, zeros = np.full((2, 2), 255), np.zeros((2, 2), int)
    assert count_pixels(void, zeros, 1).tolist() == [[0]]
    assert count_pixels(zeros, zeros, 3).tolist() == [[4, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_label_255_cannot_be_a_class_and_void():
    with pytest.raises(ConfigError, match="with 300 classes, label 255 is both a class and void"):
        ConfusionMatrix(300)
    metric = ConfusionMatrix(300, ignore_class=65535)
    scores = np.eye(300, dtype="float32")[[[255, 299]]]
    metric.update_state(np.array([[255, 65535]]), scores)
    assert metric.confusion()[255, 255] == metric.confusion().sum() == 1
    assert ConfusionMatrix(255).num_classes == 255
