import io
import re

import keras
import pytest
from rich.console import Console

from fcn_keras.cli import progress
from fcn_keras.cli.progress import TrainingProgress

LOGS = {"loss": 1.0, "mean_iou": 0.5, "images_per_second": 3.0}


@pytest.mark.parametrize("first", [0, 10, 12])  # A new run; resumed after an epoch, and within one.
def test_time_left_is_that_of_the_steps_left(monkeypatch, first):
    clock = {"now": 1000.0}
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock["now"])
    out = io.StringIO()
    bar = TrainingProgress(Console(file=out, width=200), steps=40, epochs=4)
    bar.set_model(keras.Sequential([keras.Input((1,))], name="net"))
    bar.on_train_begin()
    for step in range(first, 40):
        clock["now"] += 300 if step == first else 2  # The first step traces the model.
        bar.on_train_batch_end(step, {"loss": 1.0, "done": step + 1})
        if step % 10 == 9:
            bar.on_epoch_end(step // 10, LOGS)
    bar.on_train_end()
    found = re.findall(r"epoch (\d)/4 .* images/s  (.+) left", out.getvalue())
    expected = [("1", "1 min 00 s"), ("2", "40 s"), ("3", "20 s"), ("4", "0 s")]
    assert found == expected[first // 10 :]


def test_an_epoch_of_one_step_has_a_time_left(monkeypatch):
    clock = {"now": 0.0}
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock["now"])
    out = io.StringIO()
    bar = TrainingProgress(Console(file=out, width=200), steps=3, epochs=3)
    bar.set_model(keras.Sequential([keras.Input((1,))], name="net"))
    bar.on_train_begin()
    for step in range(3):
        clock["now"] += 10
        bar.on_train_batch_end(step, {"loss": 1.0, "done": step + 1})
        clock["now"] += 5  # The validation.
        bar.on_epoch_end(step, LOGS)
    found = re.findall(r"images/s  (.+) left", out.getvalue())
    assert found[-2:] == ["20 s", "0 s"]  # (5 + 10 + 5) s per step since the first.
