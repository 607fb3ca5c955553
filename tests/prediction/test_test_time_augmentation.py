import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores

import fcn_keras
from fcn_keras.evaluation.evaluate import evaluate
from fcn_keras.prediction.predict_image import predict
from fcn_keras.prediction.test_time_augmentation import SCALES, mean_probabilities


def pixelwise(images):
    """Logits that depend only on the pixel."""
    x = tf.cast(images, tf.float32) / 64
    return tf.concat([x, x[..., :1] * x[..., 1:2]], -1)


def test_one_view_gives_the_softmax(rng):
    images = tf.constant(rng.integers(0, 256, (2, 7, 9, 3), "uint8"))
    found = mean_probabilities(pixelwise, images, scales=(1.0,), mirror=False)
    np.testing.assert_array_equal(found, tf.nn.softmax(pixelwise(images)))


def test_mirroring_changes_nothing_for_a_pixelwise_model(rng):
    images = tf.constant(rng.integers(0, 256, (1, 21, 34, 3), "uint8"))
    for scales in ((1.0,), (0.5, 1.0, 1.5)):
        plain = mean_probabilities(pixelwise, images, scales, mirror=False)
        np.testing.assert_allclose(
            mean_probabilities(pixelwise, images, scales, mirror=True), plain, atol=1e-6
        )


def test_probabilities_are_averaged_and_mirrored_back(rng):
    image = tf.constant(rng.integers(0, 256, (1, 6, 8, 3), "uint8"))
    ramp = tf.reshape(tf.range(8, dtype=tf.float32), (1, 1, 8, 1))  # Not mirror-symmetric.

    def logits(images):
        return pixelwise(images) * ramp

    here = tf.nn.softmax(logits(image))
    there = tf.nn.softmax(pixelwise(image) * ramp[:, :, ::-1])
    found = mean_probabilities(logits, image, scales=(1.0,))
    np.testing.assert_allclose(found, (here + there) / 2, atol=1e-6)


def test_probabilities_have_the_images_size_at_any_scale(rng):
    for size in ((1, 1), (3, 40), (31, 17)):
        images = tf.constant(rng.integers(0, 256, (2, *size, 3), "uint8"))
        seen = []

        def logits(view, seen=seen):
            seen.append(tuple(view.shape[1:3]))
            assert view.dtype == tf.uint8
            return pixelwise(view)

        found = mean_probabilities(logits, images, scales=(0.3, 1.0, 1.5))
        assert found.shape == (2, *size, 4)
        np.testing.assert_allclose(tf.reduce_sum(found, -1), 1, atol=1e-5)
        assert len(seen) == 6 and seen[0] == tuple(max(1, round(0.3 * s)) for s in size)


@pytest.mark.parametrize("heads", [None, {"a": 3, "b": 2}])
def test_predict_returns_the_class_of_the_highest_mean(rng, heads):
    model = randomise_scores(fcn_keras.FCN8s(heads or 3, backbone="tiny", weights=None))
    image = rng.integers(0, 256, (40, 52, 3), "uint8")
    mean = mean_probabilities(lambda x: model(x, training=False), tf.constant(image[None]), SCALES)
    expected = keras.tree.map_structure(lambda p: np.argmax(p[0], -1), mean)
    masks = predict(model, image, tta=True)
    if heads is None:
        assert masks.dtype == np.uint8
        np.testing.assert_array_equal(masks, expected)
        assert (masks != predict(model, image)).any()
    else:
        for head in heads:
            np.testing.assert_array_equal(masks[head], expected[head])


def test_evaluate_counts_the_masks_of_predict(rng):
    model = randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None))
    image = rng.integers(0, 256, (1, 33, 47, 3), "uint8")
    truth = rng.integers(0, 3, (1, 33, 47), "uint8")
    data = tf.data.Dataset.from_tensors((image, truth))
    for tta in (False, True):
        mask = predict(model, image[0], tta=tta)
        counts = np.bincount(3 * truth.ravel().astype(int) + mask.ravel(), minlength=9)
        found = evaluate(model, data, tta=tta).confusion
        np.testing.assert_array_equal(found, counts.reshape(3, 3))
