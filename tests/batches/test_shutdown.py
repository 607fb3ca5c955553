"""A process exits when its script ends, with its own status, even while tf.data reads."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipelines.batches.shutdown import PATIENCE

TIMES = 10  # Without the exit hook, only half of ten processes exited.


@pytest.fixture(scope="module")
def slow_to_read(write_folders):
    """Images that decode slowly, so that TensorFlow's threads are always reading."""
    rng = np.random.default_rng(0)

    def draw():
        image = rng.integers(0, 256, (900, 900, 3), "uint8")
        return image, image[..., 0] % 3

    return write_folders({"train": 6, "val": 6}, draw) / "data.yaml"


BATCHES = """
import pipelines
split = pipelines.read({data!r}, "train")
alive = []
for number in range({iterators}):
    alive.append(iter(pipelines.{dataset}))
    next(alive[-1])
"""
TRAIN = (
    "train_dataset(split, batch_size=2, augmentation=pipelines.Augmentation((64, 64)), "
    "seed=number, start=(0, 0))"
)
IGNORING = f"{TRAIN}.ignore_errors().prefetch(4)"  # Asks for more after each error.
DATASETS = {
    "train": TRAIN,
    "ignoring": IGNORING,
    "eval": "eval_dataset(split)",
    "joint": "joint_dataset({'image': split}, {'mask': split})",
}


def script(data, dataset="train", iterators=1, end=""):
    return BATCHES.format(data=str(data), dataset=DATASETS[dataset], iterators=iterators) + end


def run(*arguments):
    """The exit status and standard error of a Python process, which has a minute to finish."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


def test_script_exits_with_its_status_while_reading(slow_to_read):
    status, err = run("-c", script(slow_to_read, iterators=6, end="raise SystemExit(3)"))
    assert status == 3, err
    assert "Traceback" not in err


def test_ignoring_errors_does_not_delay_the_exit(slow_to_read):
    began = time.monotonic()
    status, err = run("-c", script(slow_to_read, "ignoring"))
    assert (status, "Traceback" in err) == (0, False), err
    assert time.monotonic() - began < PATIENCE


@pytest.mark.soak
@pytest.mark.parametrize(
    ("dataset", "iterators"),
    [("train", 1), ("train", 5), ("ignoring", 1), ("eval", 2), ("joint", 2)],
)
def test_every_script_exits(slow_to_read, dataset, iterators):
    assert_all_end(0, "-c", script(slow_to_read, dataset, iterators))


@pytest.mark.soak
def test_every_failing_script_exits(slow_to_read):
    assert_all_end(1, "-c", script(slow_to_read, end="raise RuntimeError"))


@pytest.mark.soak
def test_every_test_run_exits(slow_to_read, tmp_path):
    body = script(slow_to_read, iterators=2).replace("\n", "\n    ")
    (tmp_path / "test_it.py").write_text(f"alive = []\ndef test_it():\n    global alive{body}\n")
    assert_all_end(0, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path)


@pytest.mark.soak
def test_every_command_exits_with_its_error(slow_to_read, tmp_path):
    def train(number):
        return run(
            *("-m", "fcn_keras", "train", "--data", slow_to_read, "--out", tmp_path / str(number)),
            *("--backbone", "tiny", "--weights", "none", "--head-width", 4, "--crop", "32x32"),
            *("--batch-size", 2, "--learning-rate", 1e30, "--warmup-steps", 0),
            *("--optimizer", "sgd", "--schedule", "constant"),
        )

    with ThreadPoolExecutor(2) as pool:
        for status, err in pool.map(train, range(TIMES)):
            assert (status, err.count("\n")) == (2, 1), err
            assert err.startswith("error: the loss became")


def assert_all_end(expected, *arguments):
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda _: run(*arguments), range(TIMES)))
    assert [status for status, _ in ends] == [expected] * TIMES, ends
