import csv
import json
import os
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fcn_keras
from fcn_keras.runs.config import TrainConfig
from fcn_keras.runs.lifecycle import weights_sha256
from fcn_keras.training import fitting, run_log

SHARES = np.array([6, 3, 1]) / 10  # Of the classes among the validation pixels.
STEPS = 3


def validation():
    mask = np.repeat([0, 1, 2], [60, 30, 10]).astype("uint8").reshape(1, 10, 10)
    images = np.zeros((1, 10, 10, 3), "uint8")
    return tf.data.Dataset.from_tensors((images, mask))


def training(start=None):
    data = validation().repeat()
    return data.take(STEPS) if start is None else data


class Predict(keras.callbacks.Callback):
    """Lets the model predict one class everywhere in each validation: logit 0 but for the class."""

    def __init__(self, epochs, signal_after=None):
        super().__init__()
        self.epochs, self.signal_after, self.done = epochs, signal_after, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.done == self.signal_after:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_test_begin(self, logs=None):
        number, logit = self.epochs[self.epoch]
        layer = self.model.get_layer("score_fr")
        kernel, _ = layer.get_weights()
        layer.set_weights([np.zeros_like(kernel), logit * np.eye(3)[number]])


def fit(out, epochs, resume=False, signal_after=None, **options):
    config = TrainConfig(
        data="none", model="fcn32s", backbone="tiny", weights=None, head_width=8, batch_size=1,
        epochs=len(epochs), learning_rate=1e-3, warmup_steps=0, precision="float32",
    )  # fmt: skip
    return fitting.fit(
        config, training, validation(), out,
        class_names=("a", "b", "c"), palette=np.zeros((3, 3), "uint8"), resume=resume,
        callbacks=[Predict(epochs, signal_after)], **options,
    )  # fmt: skip


def expected(number, logit):
    """Mean IU, and the mean of -log softmax, of a prediction of one class."""
    loss = np.log(np.exp(logit) + 2) - logit * SHARES[number]
    return SHARES[number] / 3, loss


@pytest.mark.parametrize(
    "epochs, best",
    [
        ([(1, 9), (0, 9), (2, 9)], 2),  # Mean IU 0.1, 0.2, 0.033: neither the first nor the last.
        ([(0, 9), (0, 0.5), (0, 5), (1, 0.1)], 2),  # Of equal mean IU, the one with the least loss.
        ([(0, 1), (0, 2), (0, 3)], 1),  # The loss only grows.
        ([(0, 3), (0, 2), (0, 1)], 3),
        ([(0, 2), (0, 2)], 1),  # Equal in both: the earliest.
    ],
)
def test_the_best_epoch_is_chosen_by_mean_iu_then_by_loss(tmp_path, epochs, best):
    report = fit(tmp_path, epochs)
    mean_iou, loss = expected(*epochs[best - 1])
    assert report["epoch"] == best
    assert report["mean_iou"] == pytest.approx(mean_iou)
    assert report["val_loss"] == pytest.approx(loss, rel=1e-5)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert {**written, "written_by": None} == {**report, "written_by": None}
    model = fcn_keras.load(tmp_path).model
    number, logit = epochs[best - 1]
    np.testing.assert_array_equal(model.get_layer("score_fr").bias, logit * np.eye(3)[number])
    assert weights_sha256(model) == written["weights_sha256"]
    assert json.loads((tmp_path / "finished.json").read_text())["best_epoch"] == best


def test_a_resumed_run_keeps_its_best_epoch(tmp_path, signal_stack):
    epochs = [(1, 1), (0, 1), (2, 1), (1, 1)]
    with pytest.raises(SystemExit):  # In the third epoch.
        fit(tmp_path, epochs, signal_after=2 * STEPS + 1)
    before = (tmp_path / "model.keras").read_bytes()
    report = fit(tmp_path, epochs, resume=True)
    assert (report["epoch"], report["mean_iou"]) == (2, pytest.approx(0.2))
    assert (tmp_path / "model.keras").read_bytes() == before


@pytest.mark.parametrize("stored", [{}, {"val_loss": None}])
def test_without_a_stored_loss_the_earlier_of_equal_epochs_is_kept(stored):
    best = {"mean_iou": 0.25, **stored}
    assert not run_log._is_better({"mean_iou": 0.25, "val_loss": 0.1}, best)
    assert run_log._is_better({"mean_iou": 0.26, "val_loss": None}, best)


def rows(out):
    return list(csv.DictReader((out / "history.csv").read_text().splitlines()))


def ticking(monkeypatch):
    """Replaces the clock: each training step takes 10 seconds, and nothing else takes any."""
    clock = {"now": 0.0}
    monkeypatch.setattr(run_log.time, "perf_counter", lambda: clock["now"])

    def tick(self, batch, logs=None):
        clock["now"] += 10

    monkeypatch.setattr(Predict, "on_train_batch_begin", tick, raising=False)
    return clock


@pytest.mark.parametrize("steps", [1, STEPS - 1])
def test_the_time_before_an_interruption_counts(tmp_path, signal_stack, monkeypatch, steps):
    clock = ticking(monkeypatch)
    with pytest.raises(SystemExit):
        fit(tmp_path, [(0, 1)] * 2, signal_after=STEPS + steps)
    clock["now"] = 1e6  # The machine was off for a while.
    fit(tmp_path, [(0, 1)] * 2, resume=True)
    assert [float(row["seconds"]) for row in rows(tmp_path)] == [10 * STEPS] * 2
    assert [float(row["images_per_second"]) for row in rows(tmp_path)] == [0.1] * 2


def test_an_interrupted_validation_keeps_its_time(tmp_path, signal_stack, monkeypatch):
    clock = ticking(monkeypatch)

    def stop(self, batch, logs=None):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Predict, "on_test_batch_begin", stop, raising=False)
    with pytest.raises(SystemExit):
        fit(tmp_path, [(0, 1)])
    monkeypatch.delattr(Predict, "on_test_batch_begin")
    clock["now"] = 1e6
    fit(tmp_path, [(0, 1)], resume=True)
    (row,) = rows(tmp_path)
    assert (float(row["seconds"]), float(row["images_per_second"])) == (10 * STEPS, 0.1)


def test_the_time_for_pictures_is_not_the_time_of_steps(tmp_path, monkeypatch):
    clock, drawn = ticking(monkeypatch), run_log.side_by_side

    def slow(*args, **kwargs):
        clock["now"] += 1000
        return drawn(*args, **kwargs)

    monkeypatch.setattr(run_log, "side_by_side", slow)
    fit(tmp_path, [(1, 1), (0, 1)])  # The second is better, so it too has pictures.
    assert clock["now"] > 2000
    assert [float(row["seconds"]) for row in rows(tmp_path)] == [10 * STEPS] * 2
    assert [float(row["images_per_second"]) for row in rows(tmp_path)] == [0.1] * 2


def points(out, part):
    """Returns the steps of each tag of a part of the TensorBoard files."""
    found = EventAccumulator(str(out / "tensorboard" / part), size_guidance={"tensors": 0})
    found.Reload()
    return {tag: [point.step for point in found.Tensors(tag)] for tag in found.Tags()["tensors"]}


def test_tensorboard_has_each_epoch_once_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(run_log, "EVERY", 1)

    def kill(self, batch, logs=None):
        if self.epoch == 2:  # The last checkpoint is of the first step of the second epoch.
            raise RuntimeError("killed")

    monkeypatch.setattr(Predict, "on_train_batch_begin", kill, raising=False)
    epochs = [(0, 1)] * 4
    with pytest.raises(RuntimeError):
        fit(tmp_path, epochs, checkpoint_every=STEPS + 1)
    events = next((tmp_path / "tensorboard" / "train").iterdir())
    with events.open("ab") as file:
        file.write(b"half an event")
    monkeypatch.delattr(Predict, "on_train_batch_begin")
    time.sleep(1)  # TensorBoard orders files by the second they were made in.
    fit(tmp_path, epochs, resume=True)
    for part in ("train", "validation"):
        found = points(tmp_path, part)
        for tag, steps in found.items():
            assert len(steps) == len(set(steps)), (part, tag, steps)
        assert found["epoch/loss"] == [1, 2, 3, 4]
    # The first step after a resume has no point: Keras's mean may not include the steps before.
    assert set(range(1, 4 * STEPS + 1)) - set(points(tmp_path, "train")["step/loss"]) <= {STEPS + 2}
