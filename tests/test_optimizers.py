"""Compares CaffeSGD step by step with Caffe's rule in NumPy float64, and AdamW with Keras'."""

import json

import keras
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from fcn_keras.errors import ConfigError
from fcn_keras.losses import MaskedCrossentropy
from fcn_keras.optimizers import CaffeSGD, FusedAdamW, LossScaling

RATE, MOMENTUM, DECAY, CLASSES = 0.02, 0.9, 0.3, 3


def small_model():
    return keras.Sequential(
        [
            keras.Input((None, None, 2)),
            keras.layers.Conv2D(4, 3, activation="relu", bias_initializer="random_normal"),
            keras.layers.Conv2D(CLASSES, 1, bias_initializer="random_normal", name="score"),
        ]
    )


def gradients(weights, image, label, reduction):
    """Computes the gradients of the loss of `small_model` on one image by hand."""
    kernel1, bias1, kernel2, bias2 = weights
    windows = sliding_window_view(image, (3, 3), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    x = windows.reshape(-1, 18)
    hidden = x @ kernel1.reshape(18, -1) + bias1
    active = np.maximum(hidden, 0)
    scores = active @ kernel2[0, 0] + bias2
    share = np.exp(scores - scores.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    valid = label.ravel() != 255
    share[valid, label.ravel()[valid]] -= 1
    share *= valid[:, None] / (valid.sum() if reduction == "mean" else 1)
    back = share @ kernel2[0, 0].T * (hidden > 0)
    return [
        (x.T @ back).reshape(kernel1.shape),
        back.sum(axis=0),
        (active.T @ share)[None, None],
        share.sum(axis=0),
    ]


def caffe(weights, batches, reduction, iter_size, rules=2 * [(1, 1), (2, 0)]):  # noqa: B006
    """Runs Caffe's SGD: divide by iter_size, add decay, apply momentum; double rate for biases.

    `rules` has lr_mult and decay_mult of each weight.
    """
    weights = [w.astype("float64") for w in weights]
    history = [np.zeros_like(w) for w in weights]
    for start in range(0, len(batches), iter_size):
        total = [np.zeros_like(w) for w in weights]
        for image, label in batches[start : start + iter_size]:
            for diff, gradient in zip(
                total, gradients(weights, image, label, reduction), strict=True
            ):
                diff += gradient
        for i, (rate, decay) in enumerate(rules):
            diff = total[i] / iter_size + decay * DECAY * weights[i]
            history[i] = MOMENTUM * history[i] + rate * RATE * diff
            weights[i] = weights[i] - history[i]
    return weights


@pytest.fixture
def batches(rng):
    """12 images and labels of varying size."""
    made = []
    for _ in range(12):
        height, width = rng.integers(5, 9, 2)
        label = rng.integers(0, CLASSES, (height - 2, width - 2)).astype("uint8")
        label[0] = 255
        made.append((rng.normal(size=(height, width, 2)), label))
    return made


def optimizer(iter_size=1):
    return CaffeSGD(
        RATE,
        MOMENTUM,
        l2=DECAY,
        bias_rate=2.0,
        gradient_accumulation_steps=iter_size,
    )


def step(model, batches):
    for image, label in batches:
        model.train_on_batch(image[None].astype("float32"), label[None])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("iter_size", [1, 3])
def test_updates_match_caffe(batches, reduction, iter_size):
    model = small_model()
    model.compile(optimizer(iter_size), loss=MaskedCrossentropy(reduction=reduction))
    start = model.get_weights()
    for done in range(iter_size, len(batches) + 1, iter_size):
        step(model, batches[done - iter_size : done])
        expected = caffe(start, batches[:done], reduction, iter_size)
        for ours, theirs in zip(model.get_weights(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_biases_of_other_layers_are_updated_like_kernels(batches, tmp_path):
    # As in the reference's FCN-AlexNet: Caffe's defaults (1, 1) but for the score layer's bias.
    model = small_model()
    rule = CaffeSGD(RATE, MOMENTUM, l2=DECAY, bias_rate=2.0, bias_layers=["score"])
    model.compile(rule, loss=MaskedCrossentropy())
    start = model.get_weights()
    step(model, batches[:6])
    model.save(tmp_path / "half.keras")
    model = keras.models.load_model(tmp_path / "half.keras")
    assert model.optimizer.bias_layers == ("score",)
    step(model, batches[6:])
    expected = caffe(start, batches, "mean", 1, [(1, 1), (1, 1), (1, 1), (2, 0)])
    for ours, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_training_resumes_exactly_after_saving(batches, tmp_path):
    through, first = small_model(), small_model()
    first.set_weights(through.get_weights())
    for model in (through, first):
        model.compile(optimizer(3), loss=MaskedCrossentropy())
    step(through, batches)
    step(first, batches[:7])  # During an accumulation.
    first.save(tmp_path / "half.keras")
    second = keras.models.load_model(tmp_path / "half.keras")
    assert isinstance(second.optimizer, CaffeSGD)
    step(second, batches[7:])
    for ours, theirs in zip(second.get_weights(), through.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("steps", [1, 3])
def test_adamw_matches_keras(batches, steps):
    schedule = keras.optimizers.schedules.CosineDecay(0.02, 12)
    options = {"gradient_accumulation_steps": steps} if steps > 1 else {}
    theirs, ours = small_model(), small_model()
    ours.set_weights(theirs.get_weights())
    start = ours.get_weights()
    theirs.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.1, **options), MaskedCrossentropy()
    )
    ours.compile(
        FusedAdamW(schedule, weight_decay=0.1, gradient_accumulation_steps=steps),
        MaskedCrossentropy(),
    )
    again = keras.optimizers.deserialize(keras.optimizers.serialize(ours.optimizer))
    assert again.get_config() == ours.optimizer.get_config()
    for model in (theirs, ours):
        step(model, batches)
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations) == 12 // steps
    for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    assert all(np.abs(b - a).mean() > 0.01 for a, b in zip(start, ours.get_weights(), strict=True))


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm", "clipvalue"])
@pytest.mark.parametrize("scaled", [False, True])
def test_the_mean_gradient_is_clipped_like_in_keras(clip, scaled):
    options = {clip: 1.0, "gradient_accumulation_steps": 2}
    adam = {"epsilon": 1.0, "weight_decay": 0.0}
    pairs = [
        (keras.optimizers.SGD(1.0, **options), CaffeSGD(1.0, 0.0, **options)),
        (keras.optimizers.AdamW(1.0, **adam, **options), FusedAdamW(1.0, **adam, **options)),
    ]
    batches = [([10, 0], [3, 4]), ([0, 0.5], [0, 0]), ([0.1, 0], [0.2, 0]), ([0, 0.3], [0, 0])]
    for pair in pairs:
        found = []
        for kind, rule in zip(
            (keras.optimizers.LossScaleOptimizer, LossScaling), pair, strict=True
        ):
            weights = [keras.Variable(np.zeros(2, "float32")) for _ in range(2)]
            used = kind(rule, initial_scale=1.0) if scaled else rule
            for gradients in batches:
                used.apply([np.array(one, "float32") for one in gradients], weights)
            found.append([np.array(one) for one in weights])
        np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    rule, weight = CaffeSGD(1.0, 0.0, **options), keras.Variable(np.zeros(2, "float32"))
    for gradient in ([10, 0], [0, 0.5]):
        rule.apply([np.array(gradient, "float32")], [weight])
    norm = np.hypot(5, 0.25)  # Of the mean [5, 0.25].
    by_hand = [-1, -0.25] if clip == "clipvalue" else [-5 / norm, -0.25 / norm]
    np.testing.assert_allclose(weight, by_hand, rtol=1e-5)


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("scaled", [False, True])
def test_adamw_excludes_variables_from_the_decay_like_keras(batches, by_name, scaled):
    theirs, ours = small_model(), small_model()
    ours.set_weights(theirs.get_weights())
    for model, kind in ((theirs, keras.optimizers.AdamW), (ours, FusedAdamW)):
        rule = kind(0.02, weight_decay=0.5)
        assert rule.weight_decay == 0.5
        given = rule
        if scaled:
            kind = LossScaling if model is ours else keras.optimizers.LossScaleOptimizer
            rule = kind(rule)
            given = rule if model is ours else rule.inner_optimizer
        if by_name:
            given.exclude_from_weight_decay(var_names=["bias"])
        else:
            given.exclude_from_weight_decay(var_list=[model.layers[0].kernel])
        model.compile(rule, MaskedCrossentropy())
        step(model, batches)
    for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("after_build", [False, True])
def test_caffe_sgd_excludes_variables_from_the_decay(after_build):
    kernels = [keras.Variable(np.ones(2), name=f"{name}kernel") for name in ("", "score_")]
    rule = CaffeSGD(0.5, 0.0, l2=0.1)
    if after_build:
        rule.build(kernels)
    rule.exclude_from_weight_decay(var_names=["score"])
    rule.apply(2 * [np.zeros(2, "float32")], kernels)
    np.testing.assert_allclose(kernels[0], 0.95, rtol=1e-6)  # 1 - 0.5 * 0.1 * 1
    np.testing.assert_array_equal(kernels[1], 1)


@pytest.mark.parametrize("decay", [-0.1, float("nan"), float("inf"), None, "0.1"])
def test_an_invalid_decay_is_rejected(decay):
    with pytest.raises(ConfigError, match="weight_decay=.*: must be at least 0"):
        FusedAdamW(weight_decay=decay)


def test_decay_below_float32_precision_has_no_effect(batches):
    nets = small_model(), small_model(), small_model()
    rules = (
        FusedAdamW(1e-4, weight_decay=1e-4),
        FusedAdamW(1e-4, weight_decay=0),
        FusedAdamW(1e-4, weight_decay=1),
    )
    for model, rule in zip(nets, rules, strict=True):
        model.set_weights(nets[0].get_weights())
        model.compile(rule, MaskedCrossentropy())
    for model in nets:
        step(model, batches)
    for a, b, c in zip(*(model.get_weights() for model in nets), strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).all()


def test_amsgrad_is_rejected():
    with pytest.raises(ConfigError, match="Use keras.optimizers.AdamW"):
        FusedAdamW(amsgrad=True)


def test_batch_normalisation_has_no_decay_and_no_bias_rate():
    norm = keras.layers.BatchNormalization()
    norm.build((None, 2))
    rule = CaffeSGD(0.5, 0.9, l2=0.1, bias_rate=2.0)
    rule.apply(2 * [np.ones(2, "float32")], norm.trainable_variables)
    np.testing.assert_array_equal(norm.gamma, [0.5, 0.5])
    np.testing.assert_array_equal(norm.beta, [-0.5, -0.5])


def test_bfloat16_layers_have_float32_weights_and_updates(batches):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small_model()
    finally:
        keras.config.set_dtype_policy(before)
    model.compile(optimizer(), loss=MaskedCrossentropy())
    start = model.get_weights()
    step(model, batches[:1])
    assert {w.dtype for w in model.get_weights()} == {np.dtype("float32")}
    for ours, theirs in zip(model.get_weights(), caffe(start, batches[:1], "mean", 1), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": 5e-4}, "Use l2"),
        ({"l2": -1.0}, "l2=-1.0: must be at least 0"),
        ({"bias_rate": -2.0}, "bias_rate=-2.0: must be at least 0"),
        ({"bias_layers": "score"}, "bias_layers='score': must be a list of layer names"),
        ({"l2": True}, "l2=True: must be at least 0"),
        ({"learning_rate": "fast"}, "learning_rate='fast': must be at least 0"),
        ({"learning_rate": -0.1}, "learning_rate=-0.1: must be at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: must be at least 0"),
        ({"momentum": 1.5}, "momentum=1.5: must be 0 to 1"),
        ({"momentum": "much"}, "momentum='much': must be 0 to 1"),
        ({"gradient_accumulation_steps": True}, "gradient_accumulation_steps=True: must be an"),
        ({"l2": float("nan")}, "l2=nan: must be at least 0"),
        (
            {"gradient_accumulation_steps": 0},
            "gradient_accumulation_steps=0: must be an integer",
        ),
        (
            {"gradient_accumulation_steps": 1.5},
            "gradient_accumulation_steps=1.5: must be an integer",
        ),
    ],
)
def test_invalid_options_are_rejected(options, message):
    with pytest.raises(ConfigError, match=message):
        CaffeSGD(**options)


@pytest.mark.parametrize("kind", [CaffeSGD, FusedAdamW])
@pytest.mark.parametrize("rate", [1, np.float32(1), np.int64(1)])
def test_numbers_of_numpy_count_as_numbers(kind, rate):
    rule = kind(rate, gradient_accumulation_steps=np.int64(2))
    assert float(rule.learning_rate) == 1
    assert rule.get_config()["gradient_accumulation_steps"] == 2
    json.dumps(keras.optimizers.serialize(rule))


def test_bias_layers_that_match_no_layer_are_an_error(batches, tmp_path):
    model = small_model()
    model.compile(CaffeSGD(RATE, bias_layers=["score", "scroe"]), MaskedCrossentropy())
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")  # Still loads.
    with pytest.raises(ConfigError, match="no trained layer .* 'scroe'. The layers are .*, score"):
        step(model, batches[:1])
