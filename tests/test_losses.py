import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_keras.errors import ConfigError
from fcn_keras.losses import MaskedCrossentropy, balancing_weights


def formula(labels, logits, weights=None, sample=None):
    """Computes the loss in float64, pixel by pixel."""
    logits = logits.astype("float64")
    numerator = denominator = 0.0
    for index in np.ndindex(labels.shape):
        y = labels[index]
        if y == 255:
            continue
        w = (1 if weights is None else weights[y]) * (1 if sample is None else sample[index])
        z = logits[index]
        numerator += w * (np.log(np.exp(z - z.max()).sum()) + z.max() - z[y])
        denominator += w
    return numerator / denominator if denominator else 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.booleans())
def test_loss_is_weighted_mean_over_valid_pixels(seed, void_share, weighted):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (2, 5, 6)).astype("uint8")
    labels[rng.random(labels.shape) < void_share] = 255
    logits = rng.normal(scale=5, size=(2, 5, 6, 4)).astype("float32")
    weights = rng.uniform(0.1, 3, 4) if weighted else None
    loss = MaskedCrossentropy(class_weights=weights)
    assert float(loss(labels, logits)) == pytest.approx(formula(labels, logits, weights), rel=1e-5)
    assert float(loss(labels[..., None], logits)) == float(loss(labels, logits))


def test_sample_weights_multiply_pixel_losses(rng):
    labels = rng.integers(0, 3, (2, 3, 3)).astype("uint8")
    logits = rng.normal(size=(2, 3, 3, 3)).astype("float32")
    sample = rng.uniform(0, 2, (2, 3, 3)).astype("float32")
    actual = MaskedCrossentropy()(labels, logits, sample_weight=sample)
    assert float(actual) == pytest.approx(formula(labels, logits, sample=sample), rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 2), (2, 3, 1), (1, 3, 2), (1, 1, 1)])
def test_sample_weights_may_have_sizes_of_one(rng, shape):
    labels = rng.integers(0, 3, (2, 3, 2)).astype("uint8")
    logits = rng.normal(size=(2, 3, 2, 3)).astype("float32")
    sample = rng.uniform(0.1, 2, shape).astype("float32")
    expected = formula(labels, logits, sample=np.broadcast_to(sample, labels.shape))
    for weights in (sample, sample[..., None]):
        found = MaskedCrossentropy()(labels, logits, sample_weight=weights)
        assert float(found) == pytest.approx(expected, rel=1e-5)


def test_void_batch_has_zero_loss_and_gradient():
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 1)])
    model.compile(keras.optimizers.SGD(1.0), loss=MaskedCrossentropy())
    before = model.get_weights()
    void = np.full((1, 4, 4), 255, "uint8")
    assert model.train_on_batch(np.ones((1, 4, 4, 2), "float32"), void) == 0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_evaluate_reports_loss_of_formula(rng):
    labels = rng.integers(0, 3, (2, 4, 4)).astype("uint8")
    labels[0, :2] = 255
    x = rng.normal(size=(2, 4, 4, 2)).astype("float32")
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 1)])
    model.compile(loss=MaskedCrossentropy())
    expected = formula(labels, np.asarray(model(x)))
    assert model.evaluate(x, labels, batch_size=2, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_loss_is_serialisable():
    loss = MaskedCrossentropy(7, [1, 2.5], reduction="sum", sample_rate=0.5, seed=4)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()


def test_loss_of_version_0_1_can_be_read():
    # There the sample rate was called `keep`.
    assert MaskedCrossentropy.from_config({"keep": 0.25, "seed": 4}).sample_rate == 0.25


def test_balancing_exponent_goes_from_no_to_full_balancing():
    pixels = np.array([900, 90, 10, 0])
    np.testing.assert_allclose(balancing_weights(pixels, 0)[:3], 1)
    alike = balancing_weights(pixels, 1)[:3] * pixels[:3]
    np.testing.assert_allclose(alike, alike[0])
    half = balancing_weights(pixels, 0.5)
    assert half[0] < half[1] < half[2] == half[3]
    assert (half * pixels).sum() / pixels.sum() == pytest.approx(1)


@pytest.mark.parametrize("weighted", [False, True])
def test_sum_reduction_is_mean_times_total_weight(rng, weighted):
    labels = rng.integers(0, 4, (2, 5, 6)).astype("uint8")
    labels[0, :2] = 255
    logits = rng.normal(scale=5, size=(2, 5, 6, 4)).astype("float32")
    weights = rng.uniform(0.1, 3, 4) if weighted else None
    pixel_weights = np.where(
        labels == 255, 0, (np.ones(4) if weights is None else weights)[labels % 4]
    )
    actual = MaskedCrossentropy(class_weights=weights, reduction="sum")(labels, logits)
    expected = formula(labels, logits, weights) * pixel_weights.sum()
    assert float(actual) == pytest.approx(expected, rel=1e-5)


def sampled_gradient(loss, labels, logits):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(labels, logits)
    return float(value), tape.gradient(value, logits).numpy()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_patch_sampling_affects_gradient_but_not_value(rng, reduction):
    labels = rng.integers(0, 3, (4, 60, 80)).astype("uint8")
    labels[:, :5] = 255
    logits = rng.normal(size=(4, 60, 80, 3)).astype("float32")
    whole = MaskedCrossentropy(reduction=reduction)
    value, every = sampled_gradient(whole, labels, logits)
    loss = MaskedCrossentropy(reduction=reduction, sample_rate=0.25, seed=1)
    actual, some = sampled_gradient(loss, labels, logits)
    assert actual == value  # fit and evaluate print the loss of all pixels.

    kept = (some != 0).any(axis=-1)
    assert not kept[labels == 255].any()
    assert kept[labels != 255].mean() == pytest.approx(0.25, abs=0.02)
    only = np.where(kept, labels, 255)
    np.testing.assert_allclose(some, sampled_gradient(whole, only, logits)[1], rtol=1e-5)

    again = (sampled_gradient(loss, labels, logits)[1] != 0).any(axis=-1)
    assert (again != kept).any()  # Each batch is sampled separately,
    twin = MaskedCrossentropy(reduction=reduction, sample_rate=0.25, seed=1)
    np.testing.assert_array_equal(sampled_gradient(twin, labels, logits)[1], some)  # by the seed.


def test_patch_sampling_uses_keras_seed(rng):
    labels = rng.integers(0, 3, (1, 20, 30)).astype("uint8")
    logits = rng.normal(size=(1, 20, 30, 3)).astype("float32")
    drawn = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(seed)
        drawn.append(sampled_gradient(MaskedCrossentropy(sample_rate=0.5), labels, logits)[1])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


def test_patch_sampling_trains_on_images_of_any_size(rng):
    model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Conv2D(3, 1)])
    model.compile(keras.optimizers.SGD(0.5), loss=MaskedCrossentropy(sample_rate=0.5))
    sizes = [(4, 6), (5, 3), (7, 8)]
    data = tf.data.Dataset.from_generator(
        lambda: ((np.ones((1, *s, 2), "float32"), np.ones((1, *s), "uint8")) for s in sizes),
        output_signature=(
            tf.TensorSpec((1, None, None, 2)),
            tf.TensorSpec((1, None, None), tf.uint8),
        ),
    ).apply(tf.data.experimental.assert_cardinality(3))
    first = model.evaluate(data, verbose=0)
    assert model.evaluate(data, verbose=0) == first  # Not sampled.
    assert model.fit(data, epochs=3, shuffle=False, verbose=0).history["loss"][-1] < first / 2


NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "average"}, "reduction='average': must be mean or sum"),
        ({"sample_rate": 0}, "sample_rate=0: must be above 0 and at most 1"),
        ({"sample_rate": 1.5}, "sample_rate=1.5"),
        ({"sample_rate": "half"}, "sample_rate='half'"),
        ({"ignore_class": "void"}, "ignore_class='void': must be an integer, or None"),
        ({"ignore_class": [255, 254]}, "ignore_class=.* must be an integer, or None"),
        ({"class_weights": [1, -5, 2]}, "the weight of class 1 must be .* at least 0, found -5"),
        ({"class_weights": [1, NAN]}, "the weight of class 1 must be .* at least 0, found nan"),
        ({"class_weights": {2: float("inf")}}, "the weight of class 2 must be .* found inf"),
        ({"class_weights": {1: 1e39}}, "class 1 must be a float32 .* found 1e.39"),
        ({"class_weights": [1e-50, 0]}, "class_weights: all are 0"),
        ({"class_weights": [True, 1]}, "class 0 must be .* found True"),
        ({"class_weights": {True: 1}}, "True must be a class id"),
        ({"ignore_class": True}, "ignore_class=True: must be an integer"),
        ({"sample_rate": True}, "sample_rate=True: must be above 0"),
        ({"seed": "three"}, "seed='three': must be an integer, or None"),
        ({"seed": 1.5}, "seed=1.5: must be an integer, or None"),
        ({"class_weights": {"road": 2}}, "'road' must be a class id"),
        ({"class_weights": {-1: 2}}, "-1 must be a class id"),
        ({"class_weights": [0, 0]}, "class_weights: all are 0"),
        ({"class_weights": 3}, "class_weights=3: must be a list with a weight per class"),
        ({"class_weights": "balanced"}, "class_weights='balanced': must be a list"),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ConfigError, match=message):
        MaskedCrossentropy(**options)


def test_class_weights_may_be_a_dict_by_class_as_in_keras(rng):
    labels = rng.integers(0, 4, (2, 5, 6)).astype("uint8")
    logits = rng.normal(size=(2, 5, 6, 4)).astype("float32")
    expected = formula(labels, logits, [1, 5, 2, 1])  # Keras weights unnamed classes by 1.
    loss = MaskedCrossentropy(class_weights={2: 2, 0: 1, np.int64(1): np.float32(5)})
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-5)
    config = json.loads(json.dumps(keras.losses.serialize(loss)))
    again = keras.losses.deserialize(config)
    assert float(again(labels, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 5], "must have a weight for each of the 3 classes, found 2"),
        ([1, 5, 2, 1], "must have a weight for each of the 3 classes, found 4"),
        ({1: 5, 7: 2}, "7 is not a class; the model has 3 classes, 0 to 2"),
    ],
)
def test_class_weights_of_another_number_of_classes_are_an_error(weights, message):
    labels, logits = np.zeros((1, 2, 2), "uint8"), np.zeros((1, 2, 2, 3), "float32")
    with pytest.raises(ConfigError, match=message):
        MaskedCrossentropy(class_weights=weights)(labels, logits)


def test_nothing_is_ignored_without_an_ignored_class(rng):
    labels = rng.integers(0, 4, (2, 5, 6)).astype("uint8")
    logits = rng.normal(size=(2, 5, 6, 4)).astype("float32")
    loss = MaskedCrossentropy(ignore_class=None)
    assert float(loss(labels, logits)) == pytest.approx(formula(labels, logits), rel=1e-5)
    labels[0, 0, 0] = 255
    with pytest.raises(ConfigError, match="must be 0 to 3, found 255"):
        loss(labels, logits)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 4), (2, 3, 4, 1), (1, 3, 4, 1), (2, 1, 1)])
def test_sample_weights_of_images_and_pixels_have_one_meaning(rng, shape):
    labels = rng.integers(0, 3, (2, 3, 4)).astype("uint8")
    logits = rng.normal(size=(2, 3, 4, 3)).astype("float32")
    sample = rng.uniform(0.5, 2, shape).astype("float32")
    each = sample[..., 0] if len(shape) == 4 else sample
    each = each[:, None, None] if each.ndim == 1 else each
    expected = formula(labels, logits, sample=np.broadcast_to(each, labels.shape))
    actual = MaskedCrossentropy()(labels, logits, sample_weight=sample)
    assert float(actual) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(3,), (4,), (3, 4), (2, 4, 3), (2, 3, 4, 3)])
def test_sample_weights_of_another_shape_are_an_error(shape):
    labels, logits = np.zeros((2, 3, 4), "uint8"), np.zeros((2, 3, 4, 3), "float32")
    with pytest.raises(ConfigError, match=r"sample_weight: must be \[b\].* pass class_weights"):
        MaskedCrossentropy()(labels, logits, sample_weight=np.ones(shape, "float32"))


def test_keras_own_class_weights_are_refused_with_the_name_of_ours():
    model = keras.Sequential([keras.Input((4, 5, 2)), keras.layers.Conv2D(3, 1)])
    model.compile(loss=MaskedCrossentropy())
    data = tf.data.Dataset.from_tensors((np.ones((2, 4, 5, 2)), np.zeros((2, 4, 5), "uint8")))
    with pytest.raises(ConfigError, match="For a weight per class, pass class_weights to the loss"):
        model.fit(data, class_weight={0: 1, 1: 5, 2: 2}, shuffle=False, verbose=0)


def test_fit_weights_images():
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(2, 1)])
    model.compile(loss=MaskedCrossentropy())
    x = np.stack([np.ones((4, 4, 2)), -np.ones((4, 4, 2))]).astype("float32")
    y = np.zeros((2, 4, 4), "uint8")
    alone = model.evaluate(x[:1], y[:1], verbose=0)
    weighted = model.evaluate(x, y, sample_weight=np.array([1.0, 0.0]), verbose=0)
    assert weighted == pytest.approx(alone, rel=1e-6)


def test_label_255_cannot_be_a_class_and_void():
    labels, logits = np.zeros((1, 2, 2), "int32"), np.zeros((1, 2, 2, 256), "float32")
    with pytest.raises(ConfigError, match="with 256 classes, label 255 is both a class and void"):
        MaskedCrossentropy()(labels, logits)
    labels[0, 0] = 255, 65535
    loss = MaskedCrossentropy(ignore_class=65535)(labels, logits)
    assert float(loss) == pytest.approx(np.log(256), rel=1e-6)
    assert float(MaskedCrossentropy()(labels % 255, logits[..., :255])) == pytest.approx(
        np.log(255)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("sample_rate", [1, 0.5])
def test_what_void_pixels_hold_has_no_effect(rng, value, sample_rate):
    labels = rng.integers(0, 3, (2, 3, 4)).astype("uint8")
    logits = rng.normal(size=(2, 3, 4, 3)).astype("float32")
    labels[0, 1] = 255
    sample = rng.uniform(0.5, 2, labels.shape).astype("float32")
    sample[1, 0] = 0
    expected = formula(labels, logits, sample=sample)
    logits[0, 1] = logits[1, 0] = value
    sample[0, 1] = value
    found = MaskedCrossentropy(sample_rate=sample_rate)(labels, logits, sample_weight=sample)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    logits[1, 1] = value  # Not void.
    assert np.isnan(MaskedCrossentropy()(labels, logits))


def test_numbers_of_numpy_count_as_numbers():
    loss = MaskedCrossentropy(np.int64(7), None, "mean", np.float32(0.5), np.int64(3))
    config = json.loads(json.dumps(loss.get_config()))
    assert (config["ignore_class"], config["sample_rate"], config["seed"]) == (7, 0.5, 3)
