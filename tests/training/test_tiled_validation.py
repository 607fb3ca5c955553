"""Validation in tiles gives the loss and the confusion matrix of whole images."""

import csv
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores

import fcn_keras
from fcn_keras.errors import ConfigError
from fcn_keras.runs.resolve import resolve
from fcn_keras.training import compiling, fitting

CLASSES = 3
SIZES = [(391, 450), (40, 56), (352, 340)]  # Above the limit, below it, above it and void.
NAMES = {"class_names": ("a", "b", "c"), "palette": np.eye(3, dtype="uint8")}


@pytest.fixture
def small_tiles(monkeypatch):
    """Cuts images above 100,000 pixels into tiles of at most 320."""
    monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_PIXELS", 100_000)
    monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_TILE", 320)


def pairs():
    rng = np.random.default_rng(0)
    made = []
    for height, width in SIZES:
        mask = rng.integers(0, CLASSES, (1, -(-height // 8), -(-width // 8)), "uint8")
        mask = mask.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width].copy()
        mask[:, :5] = 255
        noise = rng.integers(0, 60, (*mask.shape, 3))
        made.append(((80 * (mask % 255)[..., None] % 200 + noise).astype("uint8"), mask))
    made[-1][1][:] = 255
    return made


def dataset(made):
    signature = (
        tf.TensorSpec((1, None, None, 3), tf.uint8),
        tf.TensorSpec((1, None, None), tf.uint8),
    )
    data = tf.data.Dataset.from_generator(lambda: iter(made), output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(len(made)))


def compiled(pixels=None, **options):
    settings = {"backbone": "tiny", "weights": None, "head_width": 16, "data": "none"}
    config = resolve("default", {**settings, "precision": "float32", **options})
    keras.utils.set_random_seed(0)
    model = randomise_scores(compiling.build_model(config, CLASSES))
    compiling.compile_model(model, config, 10, pixels)
    return model


def seen_by(model):
    """Returns a list to which the heights and widths of what the model sees are appended."""
    sizes, call = [], model.call

    def noted(images, *arguments, **options):
        tf.py_function(lambda size: sizes.append(tuple(size.numpy())), [tf.shape(images)[1:3]], [])
        return call(images, *arguments, **options)

    model.call = noted
    return sizes


def by_hand(model, weights, reduction):
    """The mean of the images' losses, and the confusion matrix, of whole images in float64."""
    losses, confusion = [], np.zeros((CLASSES, CLASSES), "int64")
    for image, mask in pairs():
        logits = np.float64(model(image, training=False))
        scores = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        labels = mask[mask != 255]
        each, weight = -scores[mask != 255][np.arange(len(labels)), labels], weights[labels]
        total = (weight * each).sum()
        losses.append(total if reduction == "sum" else total / max(weight.sum(), 1e-9))
        np.add.at(confusion, (labels, logits[mask != 255].argmax(axis=-1)), 1)
    return np.mean(losses), confusion


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_loss_and_confusion_are_those_of_whole_images(small_tiles, reduction, balance):
    pixels = np.array([100, 300, 200])
    weights = np.ones(CLASSES)
    if balance:  # frequency ** -0.5, with a mean of 1 over the pixels.
        weights = pixels**-0.5 / ((pixels**-0.5 * pixels).sum() / pixels.sum())
    model = compiled(pixels, class_balance=balance, loss_reduction=reduction)
    loss, confusion = by_hand(model, weights, reduction)
    seen = seen_by(model)
    found = model.evaluate(dataset(pairs()), return_dict=True, verbose=0)
    assert len(seen) > 10 and (40, 56) in seen  # The loop is also traced with a size.
    assert max(max(size) for size in seen) <= 320
    assert found["loss"] == pytest.approx(loss, rel=1e-6)
    metric = next(one for one in model.metrics[1].metrics if hasattr(one, "confusion"))
    np.testing.assert_array_equal(metric.confusion(), confusion)
    shares = fcn_keras.segmentation_metrics(confusion)
    assert found["mean_iou"] == pytest.approx(shares["mean_iou"], rel=1e-6)


def test_small_images_are_validated_as_by_keras():
    model = compiled()
    data = dataset([(image[:, :60], mask[:, :60]) for image, mask in pairs()])
    found = model.evaluate(data, return_dict=True, verbose=0)
    model.test_step = lambda batch: type(model).test_step(model, batch)
    model.make_test_function(force=True)
    assert model.evaluate(data, return_dict=True, verbose=0) == found


def test_sample_weights_and_unknown_geometry_are_validated_whole(small_tiles):
    image, mask = pairs()[0]
    weights = np.linspace(0, 2, mask.size, dtype="float32").reshape(mask.shape)
    model = compiled()
    found = model.test_on_batch(image, mask, weights, return_dict=True)
    logits = model(image, training=False)
    wanted = fcn_keras.MaskedCrossentropy()(mask, logits, weights)
    assert found["loss"] == pytest.approx(float(wanted), rel=1e-6)
    zoomed = compiled(zoom=1.5)
    seen = seen_by(zoomed)
    zoomed.evaluate(dataset(pairs()[:1]), verbose=0)
    assert set(seen) == {SIZES[0]}


def test_a_label_beyond_the_classes_is_told(small_tiles):
    image, mask = pairs()[0]
    mask[0, -1, -1] = 7
    with pytest.raises(tf.errors.InvalidArgumentError, match="class ids must be 0 to 2"):
        compiled().evaluate(dataset([(image, mask)]), verbose=0)


@pytest.mark.parametrize("more", [1, -1])
@pytest.mark.parametrize("number", [0, 1])
def test_masks_of_another_size_are_told(small_tiles, number, more):
    image, mask = pairs()[number]
    with pytest.raises(tf.errors.InvalidArgumentError, match="masks: must have the size of the im"):
        other = np.zeros((1, mask.shape[1], mask.shape[2] + more), "uint8")
        compiled().evaluate(dataset([(image, other)]), verbose=0)


class Record(keras.callbacks.Callback):
    """Counts the steps of each validation; can stop the run after a number of batches."""

    def __init__(self, fail_after=None):
        super().__init__()
        self.validations, self.fail_after, self.done = [], fail_after, 0

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.done == self.fail_after:
            raise ConfigError("stopped")

    def on_test_begin(self, logs=None):
        self.validations.append(0)

    def on_test_batch_end(self, batch, logs=None):
        self.validations[-1] += 1


def run(out, record, **options):
    small = [(image[:, :40, :48], mask[:, :40, :48]) for image, mask in pairs()[:2]]

    def train_data(start=None):
        data = dataset(small)
        return data if start is None else data.repeat().skip(2 * start[0] + start[1])

    settings = {"backbone": "tiny", "weights": None, "head_width": 16, "data": "none"}
    more = {"epochs": 2, "validate_every": 2, "batch_size": 1, "crop": None, "dropout": 0}
    config = resolve("default", {**settings, **more, "precision": "float32"})
    fitting.fit(config, train_data, dataset(pairs()), out, callbacks=[record], **NAMES, **options)
    return list(csv.DictReader((out / "history.csv").read_text().splitlines()))


def test_a_run_is_validated_as_with_whole_images(tmp_path, request):
    whole = run(tmp_path / "whole", Record())
    request.getfixturevalue("small_tiles")
    record = Record()
    tiled = run(tmp_path / "tiled", record)
    assert record.validations == [len(SIZES)]  # One step per image, every second epoch.
    stopped = tmp_path / "stopped"
    with pytest.raises(ConfigError, match="stopped"):
        run(stopped, Record(fail_after=3), checkpoint_every=2)
    resumed = run(stopped, Record(), checkpoint_every=2, resume=True)
    for other in (tiled, resumed):
        for a, b in zip(whole, other, strict=True):
            assert (a["val_loss"] == "") == (b["val_loss"] == "") == (int(a["epoch"]) % 2 == 1)
            for name in ("loss", "val_loss", "val_mean_iou"):
                if a[name]:
                    assert float(b[name]) == pytest.approx(float(a[name]), rel=1e-6), name
    reports = [json.loads((tmp_path / one / "metrics.json").read_text()) for one in
               ("whole", "tiled", "stopped")]  # fmt: skip
    assert reports[0]["confusion"] == reports[1]["confusion"] == reports[2]["confusion"]


LARGE = """
import resource, sys
import numpy as np
import tensorflow as tf
import fcn_keras
from fcn_keras.runs.resolve import resolve
from fcn_keras.training import fitting
def batch(height, width):
    mask = np.zeros((1, height, width), "uint8")
    return tf.data.Dataset.from_tensors((np.full((*mask.shape, 3), 90, "uint8"), mask))
def train_data(start=None):
    return batch(32, 32) if start is None else batch(32, 32).repeat()
config = resolve("default", {"backbone": "tiny", "weights": None, "head_width": 16, "data": "none",
    "epochs": 1, "batch_size": 1, "crop": None, "precision": "float32"})
names = [str(number) for number in range(21)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fitting.fit(config, train_data, batch(4000, 6000), sys.argv[1], class_names=names,
    palette=np.zeros((21, 3), "uint8"))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_validating_24_megapixels_takes_less_than_3_gb(tmp_path):
    command = [sys.executable, "-c", LARGE, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 3e9
