import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores

import fcn_keras
from fcn_keras.errors import ModelError
from fcn_keras.evaluation.calibration import STEPS, best_offsets, calibrate
from fcn_keras.metrics import segmentation_metrics

TINY = {"backbone": "tiny", "weights": None}


def confusion(logits, labels):
    count = logits.shape[-1]
    cells = count * labels.ravel() + np.argmax(logits, -1).ravel()
    return np.bincount(cells, minlength=count**2).reshape(count, count)


def mean_iou(logits, labels):
    return segmentation_metrics(confusion(logits, labels))["mean_iou"]


def test_offsets_recover_a_class_that_is_never_most_likely(rng):
    labels = (rng.random(20_000) < 0.05).astype(int)  # A thin pole: one pixel in twenty.
    evidence = 2.5 * labels + rng.normal(size=len(labels))
    logits = np.stack([np.full(len(labels), 3.5), evidence], 1).astype("float32")
    offsets = best_offsets(logits, labels)
    found = mean_iou(logits + offsets, labels)
    assert found > mean_iou(logits, labels) + 0.1
    assert not (offsets % STEPS[-1]).any()
    shifts = [(0, shift) for shift in np.arange(-4, 4, STEPS[-1])]
    assert found > max(mean_iou(logits + np.float32(shift), labels) for shift in shifts) - 1e-3


def test_perfect_logits_get_no_offsets(rng):
    labels = rng.integers(0, 3, 500)
    assert not best_offsets(np.eye(3, dtype="float32")[labels], labels).any()


def data(rng, sizes):
    """Images whose brightness encodes the class with some noise; part of the masks is void."""
    pairs = []
    for size in sizes:
        masks = rng.choice([0, 0, 0, 1, 1, 2], (1, size[0] // 8, size[1] // 8)).astype("uint8")
        masks = masks.repeat(8, axis=1).repeat(8, axis=2)
        masks[:, :5] = 255
        noise = rng.integers(0, 60, (*masks.shape, 3))
        pairs.append(((70 * (masks % 5)[..., None] + noise).astype("uint8"), masks))
    signature = (
        tf.TensorSpec((None, None, None, 3), tf.uint8),
        tf.TensorSpec((None, None, None), tf.uint8),
    )
    made = tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=signature)
    return made.apply(tf.data.experimental.assert_cardinality(len(pairs)))


@pytest.mark.parametrize("build", fcn_keras.MODELS.values())
@pytest.mark.parametrize("zoom", [1, 1.5])
def test_calibration_shifts_logits_and_reports_the_right_metrics(rng, build, zoom):
    keras.utils.set_random_seed(0)
    model = randomise_scores(build(3, zoom=zoom, **TINY))
    images = data(rng, [(40, 56), (64, 48)])
    before, weights = fcn_keras.evaluate(model, images), model.get_weights()
    logits = [model(image, training=False).numpy() for image, _ in images]
    found = calibrate(model, images)
    for (image, _), old in zip(images, logits, strict=True):
        np.testing.assert_allclose(model(image, training=False), old + found.offsets, atol=1e-4)
    # There are fewer pixels than the sample size, so the sample contains all of them.
    assert found.before == pytest.approx(before.mean_iou, abs=1e-6)
    after = fcn_keras.evaluate(model, images).mean_iou
    assert found.after == pytest.approx(after, abs=2e-3)
    assert found.after > found.before and found.offsets.any()
    changed = [(old != new).any() for old, new in zip(weights, model.get_weights(), strict=True)]
    assert sum(changed) == 1  # Only one bias.


def test_unsupported_models_are_an_error_and_stay_unchanged(rng):
    images = data(rng, [(40, 56)])
    learned = randomise_scores(fcn_keras.FCN8s(3, learn_upsampling=True, **TINY))
    kernel = learned.get_layer("upscore8").kernel
    kernel.assign(2 * kernel)
    weights = learned.get_weights()
    with pytest.raises(ModelError, match="its upsampling changes constants"):
        calibrate(learned, images)
    for old, new in zip(weights, learned.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    other = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    with pytest.raises(ModelError, match="has none of the layers score_pool3"):
        calibrate(other, images)
