"""What must hold on several devices; `test_devices.py` runs this file, in processes of their own.

Logical CPU devices, which share the processor, stand for GPUs. TensorFlow takes their number only
before anything else, and one strategy in the life of a process.
"""

import functools
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from fcn_keras.losses import MaskedCrossentropy
from fcn_keras.metrics import ConfusionMatrix

COUNT = int(os.environ.get("LOGICAL_CPUS", "2"))
STEPS, BATCH, CLASSES = 20, 8, 4

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * COUNT
)


@functools.cache
def strategy(devices):
    if devices == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])


@functools.cache
def batches():
    """Images and masks whose void shares are ragged: from pixel to pixel, and whole replicas."""
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


def dataset(pairs):
    """Batches as `pipelines` gives them: of known number, not made by `tf.data`'s own `batch`."""
    signature = (
        tf.TensorSpec((None, None, None, 3)),
        tf.TensorSpec((None, None, None), tf.uint8),
    )
    data = tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(len(pairs)))


def trained(devices, loss=None, optimizer=None, layers=(), **options):
    """Model, metric, the logs of each step, and the history of training on `batches`."""
    keras.utils.set_random_seed(1)
    with strategy(devices).scope():
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
    fitted = model.fit(dataset(batches()), shuffle=False, verbose=0, callbacks=[note])
    return model, metric, steps, fitted.history


def assert_same_training(one, many, tolerance=2e-6):
    for a, b in zip(one[0].weights, many[0].weights, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=tolerance, err_msg=a.path)
    for a, b in zip(one[2], many[2], strict=True):  # The loss and the figures of every step.
        assert b == pytest.approx(a, rel=1e-5)
    assert many[3]["loss"] == pytest.approx(one[3]["loss"], rel=1e-6)
    np.testing.assert_array_equal(many[1].confusion(), one[1].confusion())


@pytest.mark.parametrize("weights", [None, (1, 2, 0.3, 5)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_training_is_that_of_one_device(reduction, weights):
    loss = functools.partial(MaskedCrossentropy, class_weights=weights, reduction=reduction)
    rate = {"mean": 0.5, "sum": 1e-3}[reduction]
    optimizer = functools.partial(keras.optimizers.SGD, rate, momentum=0.9)
    one, many = (trained(devices, loss, optimizer) for devices in (1, COUNT))
    assert_same_training(one, many)
    assert len({float(step["loss"]) for step in many[2]}) == STEPS


def test_uneven_shares_of_a_batch_are_evaluated_as_on_one_device():
    uneven = [batches()[0], tuple(part[:-1] for part in batches()[1])]
    one, many = (
        trained(devices)[0].evaluate(dataset(uneven), verbose=0, return_dict=True)
        for devices in (1, COUNT)
    )
    assert many == pytest.approx(one, rel=1e-5)


def test_sample_weights_count_in_the_whole_batch():
    images, masks = batches()[1]
    weights = np.linspace(0, 3, masks.size, dtype="float32").reshape(masks.shape)
    losses = []
    for devices in (1, COUNT):
        model, *_ = trained(devices)
        losses.append(model.test_on_batch(images, masks, weights, return_dict=True)["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_replicas_draw_pixels_of_their_own_by_the_seed():
    loss = MaskedCrossentropy(keep=0.5, seed=3)
    logits, labels = tf.zeros((2, 30, 40, 3)), tf.zeros((2, 30, 40), tf.uint8)

    @tf.function
    def kept():
        def gradient():
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = loss(labels, logits)
            return tape.gradient(value, logits) != 0

        return strategy(COUNT).run(gradient)

    first, second = (
        [drawn.numpy() for drawn in strategy(COUNT).experimental_local_results(kept())]
        for _ in range(2)
    )
    for a, b in [(first[0], first[1]), (first[0], second[0])]:
        assert 0.4 < (a != b).mean() < 0.6
    options = functools.partial(MaskedCrossentropy, keep=0.5, seed=3)
    one, again = (trained(COUNT, options)[0].get_weights() for _ in range(2))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_confusion_matrix_is_restored_and_emptied_exactly():
    odd = 2 * np.arange(CLASSES**2).reshape(CLASSES, CLASSES) + 2**53 + 1
    with strategy(COUNT).scope():
        metric = ConfusionMatrix(CLASSES)
    metric.restore(odd)
    np.testing.assert_array_equal(metric.confusion(), odd)
    images, masks = batches()[0]
    strategy(COUNT).run(lambda: metric.update_state(masks[:1], tf.zeros((1, 12, 10, CLASSES))))
    added = metric.confusion() - odd
    assert added.sum() == COUNT * (masks[0] != 255).sum() == added[:, 0].sum()
    metric.reset_state()
    assert not metric.confusion().any()
