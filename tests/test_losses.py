import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_keras.losses import MaskedCrossentropy, balancing_weights


def formula(labels, logits, weights=None, sample=None):
    """The loss in float64, pixel by pixel."""
    logits = logits.astype("float64")
    above = below = 0.0
    for index in np.ndindex(labels.shape):
        y = labels[index]
        if y == 255:
            continue
        w = (1 if weights is None else weights[y]) * (1 if sample is None else sample[index])
        z = logits[index]
        above += w * (np.log(np.exp(z - z.max()).sum()) + z.max() - z[y])
        below += w
    return above / below if below else 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.booleans())
def test_loss_is_the_weighted_mean_over_valid_pixels(seed, void_share, weighted):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (2, 5, 6)).astype("uint8")
    labels[rng.random(labels.shape) < void_share] = 255
    logits = rng.normal(scale=5, size=(2, 5, 6, 4)).astype("float32")
    weights = rng.uniform(0.1, 3, 4) if weighted else None
    loss = MaskedCrossentropy(class_weights=weights)
    assert float(loss(labels, logits)) == pytest.approx(formula(labels, logits, weights), rel=1e-5)
    assert float(loss(labels[..., None], logits)) == float(loss(labels, logits))


def test_sample_weights_multiply(rng):
    labels = rng.integers(0, 3, (2, 3, 3)).astype("uint8")
    logits = rng.normal(size=(2, 3, 3, 3)).astype("float32")
    sample = rng.uniform(0, 2, (2, 3, 3)).astype("float32")
    actual = MaskedCrossentropy()(labels, logits, sample_weight=sample)
    assert float(actual) == pytest.approx(formula(labels, logits, sample=sample), rel=1e-5)


def test_an_all_void_batch_costs_nothing_and_moves_nothing():
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 1)])
    model.compile(keras.optimizers.SGD(1.0), loss=MaskedCrossentropy())
    before = model.get_weights()
    void = np.full((1, 4, 4), 255, "uint8")
    assert model.train_on_batch(np.ones((1, 4, 4, 2), "float32"), void) == 0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_fit_and_evaluate_report_the_formula(rng):
    labels = rng.integers(0, 3, (2, 4, 4)).astype("uint8")
    labels[0, :2] = 255
    x = rng.normal(size=(2, 4, 4, 2)).astype("float32")
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 1)])
    model.compile(loss=MaskedCrossentropy())
    expected = formula(labels, np.asarray(model(x)))
    assert model.evaluate(x, labels, batch_size=2, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_the_loss_survives_saving():
    loss = MaskedCrossentropy(ignore_class=7, class_weights=[1, 2.5])
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()


def test_balancing_weights_interpolate_between_as_it_is_and_alike():
    pixels = np.array([900, 90, 10, 0])
    np.testing.assert_allclose(balancing_weights(pixels, 0)[:3], 1)
    alike = balancing_weights(pixels, 1)[:3] * pixels[:3]
    np.testing.assert_allclose(alike, alike[0])
    half = balancing_weights(pixels, 0.5)
    assert half[0] < half[1] < half[2] == half[3]
    assert (half * pixels).sum() / pixels.sum() == pytest.approx(1)
