"""Tests on several devices; `test_devices.py` runs this file in separate processes.

Logical CPU devices, which share the processor, replace GPUs. TensorFlow only allows setting their
number before anything else, and one strategy per process.
"""

import csv
import functools
import json
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores

import fcn_keras
from fcn_keras.distribution import workers
from fcn_keras.distribution.devices import count, strategy_for, validation
from fcn_keras.errors import ConfigError
from fcn_keras.losses import MaskedCrossentropy
from fcn_keras.metrics import ConfusionMatrix
from fcn_keras.optimizers import CaffeSGD, FusedAdamW, LossScaling
from fcn_keras.runs.resolve import resolve
from fcn_keras.training import fitting
from fcn_keras.training.compiling import compiled

COUNT = int(os.environ.get("LOGICAL_CPUS", "2"))
STEPS, BATCH, CLASSES = 20, 8, 4

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * COUNT
)


@functools.cache
def batches():
    """Images and masks with varying void fractions, up to all pixels of a replica."""
    rng = np.random.default_rng(0)
    made = []
    for step in range(STEPS):
        images = rng.normal(size=(BATCH, 12, 10, 3)).astype("float32")
        masks = rng.integers(0, CLASSES, (BATCH, 12, 10)).astype("uint8")
        masks[rng.random(masks.shape) < rng.random((BATCH, 1, 1))] = 255
        if step % 3 == 0:
            masks[-BATCH // COUNT :] = 255
        made.append((images, masks))
    return made


def dataset(pairs, dtype=tf.float32):
    """Builds a data set like those of `pipelines`: known length, without `tf.data`'s `batch`."""
    signature = (
        tf.TensorSpec((None, None, None, 3), dtype),
        tf.TensorSpec((None, None, None), tf.uint8),
    )
    data = tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(len(pairs)))


def trained(devices, loss=None, optimizer=None, layers=(), fit=None, **options):
    """Trains on `batches`; returns model, metric, the logs of each step and the history."""
    keras.utils.set_random_seed(1)
    with strategy_for(devices).scope():
        convolution = functools.partial(keras.layers.Conv2D, kernel_size=3, padding="same")
        model = keras.Sequential(
            [
                keras.Input((None, None, 3)),
                convolution(8, activation="relu"),
                *(layer() for layer in layers),
                convolution(CLASSES, dtype="float32"),
            ]
        )
        metric = ConfusionMatrix(CLASSES)
        model.compile(
            optimizer() if optimizer else keras.optimizers.SGD(0.5, momentum=0.9),
            loss=loss() if loss else MaskedCrossentropy(),
            metrics=[metric],
            **options,
        )
    steps = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(logs))
    if fit is None:
        fitted = model.fit(dataset(batches()), shuffle=False, verbose=0, callbacks=[note])
    else:
        fitted = fit(model, [note])
    return model, metric, steps, fitted.history


def assert_same_training(one, many, tolerance=2e-6):
    for a, b in zip(one[0].weights, many[0].weights, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=tolerance, err_msg=a.path)
    for a, b in zip(one[2], many[2], strict=True):  # The loss and metrics of every step.
        assert b == pytest.approx(a, rel=1e-5)
    assert many[3]["loss"] == pytest.approx(one[3]["loss"], rel=1e-6)
    np.testing.assert_array_equal(many[1].confusion(), one[1].confusion())


@pytest.mark.parametrize("weights", [None, (1, 2, 0.3, 5)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_training_matches_one_device(reduction, weights):
    loss = functools.partial(MaskedCrossentropy, class_weights=weights, reduction=reduction)
    rate = {"mean": 0.5, "sum": 1e-3}[reduction]
    optimizer = functools.partial(keras.optimizers.SGD, rate, momentum=0.9)
    one, many = (trained(devices, loss, optimizer) for devices in (1, COUNT))
    assert_same_training(one, many)
    assert len({float(step["loss"]) for step in many[2]}) == STEPS


def test_uneven_batches_evaluate_as_on_one_device():
    uneven = [batches()[0], tuple(part[:-1] for part in batches()[1])]
    one, many = (
        trained(devices)[0].evaluate(dataset(uneven), verbose=0, return_dict=True)
        for devices in (1, COUNT)
    )
    assert many == pytest.approx(one, rel=1e-5)


def test_every_pixel_is_counted_in_a_scope():
    with strategy_for(COUNT).scope():
        image = keras.Input((None, None, 3))
        model = keras.Model(image, keras.layers.Conv2D(CLASSES, 3, padding="same")(image))
        inside = fcn_keras.evaluate(model, [(images + 128, masks) for images, masks in batches()])
    labelled = sum((masks != 255).sum() for _, masks in batches())
    assert inside.confusion.sum() == labelled
    outside = fcn_keras.evaluate(model, [(images + 128, masks) for images, masks in batches()])
    np.testing.assert_array_equal(inside.confusion, outside.confusion)


def test_sample_weights_apply_to_the_global_batch():
    images, masks = batches()[1]
    weights = np.linspace(0, 3, masks.size, dtype="float32").reshape(masks.shape)
    losses = []
    for devices in (1, COUNT):
        model, *_ = trained(devices)
        losses.append(model.test_on_batch(images, masks, weights, return_dict=True)["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_replicas_sample_different_pixels_reproducibly():
    loss = MaskedCrossentropy(sample_rate=0.5, seed=3)
    logits, labels = tf.zeros((2, 30, 40, 3)), tf.zeros((2, 30, 40), tf.uint8)

    @tf.function
    def kept():
        def gradient():
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = loss(labels, logits)
            return tape.gradient(value, logits) != 0

        return strategy_for(COUNT).run(gradient)

    first, second = (
        [drawn.numpy() for drawn in strategy_for(COUNT).experimental_local_results(kept())]
        for _ in range(2)
    )
    for a, b in [(first[0], first[1]), (first[0], second[0])]:
        assert 0.4 < (a != b).mean() < 0.6
    options = functools.partial(MaskedCrossentropy, sample_rate=0.5, seed=3)
    one, again = (trained(COUNT, options)[0].get_weights() for _ in range(2))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_confusion_matrix_is_restored_and_reset_exactly():
    odd = 2 * np.arange(CLASSES**2).reshape(CLASSES, CLASSES) + 2**53 + 1
    with strategy_for(COUNT).scope():
        metric = ConfusionMatrix(CLASSES)
    metric.restore(odd)
    np.testing.assert_array_equal(metric.confusion(), odd)
    images, masks = batches()[0]
    strategy_for(COUNT).run(lambda: metric.update_state(masks[:1], tf.zeros((1, 12, 10, CLASSES))))
    added = metric.confusion() - odd
    assert added.sum() == COUNT * (masks[0] != 255).sum() == added[:, 0].sum()
    metric.reset_state()
    assert not metric.confusion().any()


@pytest.mark.parametrize("limit", [{}, {"global_clipnorm": 0.1}])
@pytest.mark.parametrize("build", [FusedAdamW, CaffeSGD])
def test_gradient_accumulation_matches_one_device(build, limit):
    options = {FusedAdamW: {"weight_decay": 0.1}, CaffeSGD: {"l2": 0.1, "bias_rate": 2.0}}[build]
    optimizer = functools.partial(build, 0.02, gradient_accumulation_steps=3, **options, **limit)
    one, many = (trained(devices, optimizer=optimizer) for devices in (1, COUNT))
    assert_same_training(one, many, tolerance=5e-6)
    assert int(many[0].optimizer.iterations) == STEPS // 3


def history(run):
    with (run / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def enlarged(masks, height=48, width=40):
    """Returns images whose colours encode the classes, and their masks."""
    masks = masks.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    return masks[..., None] * np.uint8([1, 20, 60]), masks


@functools.cache
def shown():
    """Validation images of different sizes, so none can share a batch; one is void."""
    sizes = [(48, 40), (33, 40), (41, 27)]
    made = [enlarged(batches()[i][1][-1:], *size) for i, size in enumerate(sizes)]
    assert (made[0][1] == 255).all()
    return made


def run(out, devices, **options):
    """Trains a run of 20 steps with batch normalisation."""
    settings = {
        "data": "none",
        "head_width": 16,
        "dropout": 0,
        "batch_size": BATCH,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "epochs": 1,
        "validate_every": 1,
        "devices": devices,
    }

    def train_data(start=None):
        data = dataset([enlarged(masks) for _, masks in batches()], tf.uint8)
        return data if start is None else data.repeat().skip(start[0] * STEPS + start[1])

    fitting.fit(
        resolve("quickstart", settings),
        train_data,
        dataset(shown(), tf.uint8),
        out,
        class_names=list("abcd"),
        palette=np.zeros((CLASSES, 3), "uint8"),
        **options,
    )


def test_run_matches_one_device(tmp_path):
    for devices in (1, COUNT):
        run(tmp_path / str(devices), devices)
    one, many = tmp_path / "1", tmp_path / str(COUNT)
    for a, b in zip(history(one), history(many), strict=True):
        for name in a.keys() - {"seconds", "images_per_second"}:
            # Rounding changes the class of a few pixels.
            tolerance = {"rel": 1e-4} if "loss" in name else {"abs": 2e-3}
            assert float(b[name]) == pytest.approx(float(a[name]), **tolerance), name
    a, b = (fcn_keras.load(run).model for run in (one, many))
    assert a.get_config() == b.get_config()
    assert [weights.path for weights in a.weights if "moving" in weights.path]
    for x, y in zip(a.weights, b.weights, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=5e-5, err_msg=x.path)

    best = json.loads((many / "metrics.json").read_text())
    alone = fcn_keras.evaluate(b, dataset(shown(), tf.uint8)).confusion
    np.testing.assert_array_equal(best["confusion"], alone)
    losses = [MaskedCrossentropy()(masks, b(images)) for images, masks in shown()]
    written = float(history(many)[best["epoch"] - 1]["val_loss"])
    assert written == pytest.approx(float(np.mean(losses)), rel=1e-5)
    assert len(list((many / "pictures").iterdir())) == len(shown())


def test_validation_in_tiles_matches_one_device(monkeypatch):
    config = resolve("quickstart", {"data": "none", "head_width": 16, "precision": "float32"})
    made = [enlarged(batches()[i][1][-1:].repeat(9, 1).repeat(9, 2), 391, 330) for i in (0, 1)]
    made.append(shown()[1])
    found = []
    for devices, limit in ((1, 10**9), (1, 10_000), (COUNT, 10_000)):
        monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_PIXELS", limit)
        monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_TILE", 320)
        with strategy_for(devices).scope():
            model = compiled(config, CLASSES, STEPS, None, True)
        randomise_scores(model)
        data = dataset(made, tf.uint8)
        padded = validation(data, strategy_for(devices))
        if devices > 1:  # As in a cluster, each device has its own image.
            found.append(workers.evaluate(model, data))
        found.append(model.evaluate(padded, verbose=0, return_dict=True))
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6)


def test_interrupted_run_resumes_exactly(tmp_path):
    class Fault(Exception):
        pass

    def fail(batch, logs):
        if batch == 12:
            raise Fault

    complete, interrupted = tmp_path / "complete", tmp_path / "interrupted"
    run(complete, COUNT)
    fault = keras.callbacks.LambdaCallback(on_train_batch_end=fail)
    with pytest.raises(Fault):
        run(interrupted, COUNT, checkpoint_every=5, callbacks=[fault])
    fewer = shutil.copytree(interrupted, tmp_path / "fewer")
    run(interrupted, COUNT, checkpoint_every=5, resume=True)
    one, two = (json.loads((out / "finished.json").read_text()) for out in (complete, interrupted))
    assert one == two  # It contains a hash of the weights.
    one, two = (history(out)[0] for out in (complete, interrupted))
    for name in one.keys() - {"seconds", "images_per_second"}:
        assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-6), name

    run(fewer, 1, resume=True)  # As on another machine.
    a, b = (fcn_keras.load(out).model.get_weights() for out in (complete, fewer))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=5e-5)


def trained_in_float16(devices):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return trained(devices, optimizer=lambda: LossScaling(CaffeSGD(0.05, bias_rate=2.0)))
    finally:
        keras.config.set_dtype_policy(before)


def test_float16_training_matches_one_device():
    one, many = trained_in_float16(1), trained_in_float16(COUNT)
    for a, b in zip(one[0].weights, many[0].weights, strict=True):
        assert a.dtype == "float32"
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=5e-3)
    assert many[0].optimizer.dynamic_scale.numpy() == 2**15
    assert many[0].optimizer.iterations.numpy() == STEPS


def test_overflow_on_any_device_skips_the_step_on_all():
    model, *_ = trained_in_float16(COUNT)
    before = model.get_weights()
    images, masks = (part.copy() for part in batches()[1])
    images[-1] = 1e30  # Only in the last replica's part.
    masks[-1] = 0
    model.fit(dataset([(images, masks)]), shuffle=False, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.dynamic_scale.numpy() == 2**14
    model.fit(dataset([batches()[1]]), shuffle=False, verbose=0)
    assert np.isfinite(model.get_weights()[0]).all()
    assert (model.get_weights()[0] != before[0]).any()


def test_a_fault_on_any_device_names_its_step(tmp_path):
    pairs = [(images.copy(), masks.copy()) for images, masks in batches()]
    images, masks = pairs[4]
    images[-1, 0, 0], masks[-1] = np.inf, 0  # Only in the last replica's part.
    saver = fcn_keras.ResumableCheckpoint(tmp_path, every=10)

    def fit(model, callbacks):
        return model.fit(dataset(pairs), shuffle=False, verbose=0, callbacks=[saver])

    with pytest.raises(ConfigError, match="the loss became nan at step 5 of epoch 1"):
        trained(COUNT, fit=fit)
    assert fcn_keras.ResumableCheckpoint(tmp_path).is_new


def test_devices_are_counted():
    assert count("all", BATCH) == COUNT
    assert count("auto", BATCH) == 1  # "auto" counts GPUs only.
    with pytest.raises(ConfigError, match="batch_size=7, devices=all: .* multiple of"):
        count("all", 7)
    with pytest.raises(ConfigError, match="devices=8: this machine has no GPU"):
        count(8, 8)


def test_command_trains_on_several_devices(fcn_keras_cli, tmp_path):
    options = "--data synthetic --recipe quickstart --epochs 1 --crop 64x64".split()
    status, out, err = fcn_keras_cli(
        "train", *options, "--devices", COUNT, "--out", tmp_path / "run"
    )
    assert status == 0, err
    assert f"{COUNT} devices share each batch of 8 images" in out
    assert fcn_keras.load(tmp_path / "run").num_classes
    status, _, err = fcn_keras_cli("train", *options, "--devices", 9, "--out", tmp_path / "other")
    assert status == 2 and "devices=9: this machine has" in err
    assert not (tmp_path / "other").exists()


def test_loop_for_several_machines_uses_all_devices_of_a_worker():
    stacked = tuple(np.stack(part) for part in zip(*batches(), strict=True))

    def share(start, shard):
        assert (start, shard) == ((0, 0), (0, 1))
        return tf.data.Dataset.from_tensor_slices(stacked).repeat()

    def fit(model, callbacks):
        return workers.fit(model, share, epochs=1, steps_per_epoch=STEPS, callbacks=callbacks)

    one, many = trained(1), trained(COUNT, fit=fit)
    assert_same_training(one, many)
    # Nine validation images are not divisible: some devices get a void image at the end.
    images, masks = (np.concatenate(part)[3:12] for part in zip(*batches()[:2], strict=True))
    single = dataset([(images[i : i + 1], masks[i : i + 1]) for i in range(9)])
    expected = one[0].evaluate(single, verbose=0, return_dict=True)
    assert workers.evaluate(many[0], single) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(many[1].confusion(), one[1].confusion())
