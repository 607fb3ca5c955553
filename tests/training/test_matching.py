import keras
import numpy as np
import pytest

import fcn_keras
from fcn_keras.errors import ConfigError
from fcn_keras.training import checkpoint_file
from fcn_keras.training.matching import by_path

STEPS = 3


def model(*names, metrics=(), optimizer=None):
    """A net of convolutions of one shape; names of None are chosen by Keras."""
    image = x = keras.Input((4, 4, 2))
    for name in names:
        x = keras.layers.Conv2D(2, 1, name=name, activation="tanh")(x)
    net = keras.Model(image, x)
    net.compile(optimizer or keras.optimizers.Adam(0.1), "mse", metrics=list(metrics))
    return net


def fit(net, folder, stop_after=None, epochs=1):
    """Trains with a checkpoint after each step; optionally crashes."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(STEPS * 2, 4, 4, 2)), rng.normal(size=(STEPS * 2, 4, 4, 2))
    crash = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: fail(batch))

    def fail(batch):
        if batch + 1 == stop_after:
            raise RuntimeError("crash")

    checkpoint = fcn_keras.ResumableCheckpoint(folder, every=1)
    found = net.fit(
        *data, batch_size=2, epochs=epochs, shuffle=False, verbose=0, callbacks=[checkpoint, crash],
        initial_epoch=checkpoint.position.epoch,
    )  # fmt: skip
    return found.history


def state_of(net, name):
    """The weights of a layer and what the optimizer keeps of them."""
    layer = net.get_layer(name)
    slots = [v for v in net.optimizer.variables if f"/{name}_" in v.path]
    assert len(slots) == 4  # Momentum and velocity of kernel and bias.
    return [*layer.get_weights(), *(np.array(slot) for slot in slots)]


def test_layers_that_changed_places_keep_their_own_state(tmp_path):
    first, second = model("left", "right"), model("right", "left")
    with pytest.raises(RuntimeError):
        fit(first, tmp_path, stop_after=2)
    fcn_keras.ResumableCheckpoint(tmp_path).restore(second)
    for name in ("left", "right"):
        for expected, found in zip(state_of(first, name), state_of(second, name), strict=True):
            np.testing.assert_array_equal(found, expected)


def constant(name, value):
    return keras.metrics.MeanMetricWrapper(lambda y, p: np.full(2, value, "float32"), name=name)


def test_metrics_that_changed_places_keep_their_own_sums(tmp_path):
    with pytest.raises(RuntimeError):
        fit(model("a", metrics=[constant("one", 1), constant("two", 2)]), tmp_path, stop_after=2)
    logs = fit(model("a", metrics=[constant("two", 2), constant("one", 1)]), tmp_path)
    assert (logs["one"], logs["two"]) == ([1.0], [2.0])


def test_layers_that_keras_names_are_matched_by_order(tmp_path):
    first, second = model(None, "fixed_7", None), model(None, "fixed_7", None)
    assert first.layers[1].name != second.layers[1].name
    with pytest.raises(RuntimeError):
        fit(first, tmp_path, stop_after=1)
    fcn_keras.ResumableCheckpoint(tmp_path).restore(second)
    for expected, found in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "names, optimizer, message",
    [
        (("left", "middle"), None, r"middle/kernel, of shape \(1, 1, 2, 2\), is missing there"),
        (("left",), None, "the model has no (right|adam)"),
        (("left", "right", "more"), None, "more/kernel, of shape .*, is missing there"),
        (("left", "right"), keras.optimizers.Nadam(0.1), "nadam/.* is missing there"),
    ],
)
def test_another_model_is_refused(tmp_path, names, optimizer, message):
    with pytest.raises(RuntimeError):
        fit(model("left", "right"), tmp_path, stop_after=1)
    with pytest.raises(ConfigError, match=f"another model or optimizer: {message}"):
        fcn_keras.ResumableCheckpoint(tmp_path).restore(model(*names, optimizer=optimizer))


def test_other_objects_are_refused(tmp_path):
    with pytest.raises(RuntimeError):
        fit(model("a"), tmp_path, stop_after=1)
    with pytest.raises(ConfigError, match="the state of 0 further objects, found also="):
        fcn_keras.ResumableCheckpoint(tmp_path, also=[object()]).restore(model("a"))


def test_a_checkpoint_without_paths_is_matched_by_number(tmp_path):
    first, second = model("left", "right"), model("one", "two")
    with pytest.raises(RuntimeError):
        fit(first, tmp_path, stop_after=1)
    (path,) = checkpoint_file.in_order(tmp_path)
    arrays, state = checkpoint_file.read(path)
    old = {name: state[name] for name in ("position", "train_logs", "also")}
    checkpoint_file.write(path, arrays, old)  # As version 0.1 wrote it.
    fcn_keras.ResumableCheckpoint(tmp_path).restore(second)
    for expected, found in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ConfigError, match="the model has no (model|optimizer)/"):
        fcn_keras.ResumableCheckpoint(tmp_path).restore(model("left"))


def test_numbers_of_keras_do_not_count_but_those_of_users_do():
    saved = {
        "model/0": "conv2d_9/kernel",
        "model/1": "conv2d_10/kernel",
        "model/2": "head_1/kernel",
        "optimizer/0": "adam_1/iteration",
        "optimizer/1": "adam_1/conv2d_9_kernel_momentum",
        "optimizer/2": "adam_1/conv2d_10_kernel_momentum",
        "optimizer/3": "adam_1/head_1_kernel_momentum",
    }
    found = {
        "model/0": "head_1/kernel",
        "model/1": "conv2d/kernel",
        "model/2": "conv2d_1/kernel",
        "model/3": "head_2/kernel",
        "optimizer/0": "adam/iteration",
        "optimizer/1": "adam/head_1_kernel_momentum",
        "optimizer/2": "adam/conv2d_1_kernel_momentum",
        "optimizer/3": "adam/conv2d_kernel_momentum",
    }
    assert by_path(saved, found, {"conv2d", "adam"}) == {
        "model/0": "model/2",
        "model/1": "model/0",
        "model/2": "model/1",
        "optimizer/0": "optimizer/0",
        "optimizer/1": "optimizer/3",
        "optimizer/2": "optimizer/2",
        "optimizer/3": "optimizer/1",
    }
