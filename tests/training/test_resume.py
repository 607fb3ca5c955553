"""`fcn-keras train --resume`: interrupted runs resume exactly."""

import contextlib
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import kill_points
import numpy as np
import pytest
import tensorflow as tf
import yaml
from kill_points import MOMENTS
from PIL import Image

import pipelines
from fcn_keras import outputs
from fcn_keras.surgery import transfer
from fcn_keras.training import checkpoint_file, compiling

EPOCHS, STEPS = 6, 7
OPTIONS = (
    *("--backbone", "tiny", "--weights", "none", "--head-width", "16", "--batch-size", "2"),
    *("--crop", "32x48", "--epochs", EPOCHS, "--checkpoint-every", "1"),
)


@pytest.fixture(scope="module")
def folders(write_folders):
    """A custom data set with 14 training and 12 validation images."""
    rng = np.random.default_rng(0)

    def draw():
        mask = rng.integers(0, 3, (5, 7), "uint8").repeat(8, axis=0).repeat(8, axis=1)
        image = np.repeat(mask[..., None] * 80, 3, axis=-1) + rng.integers(0, 40, (40, 56, 3))
        return image.astype("uint8"), mask

    return write_folders({"train": 2 * STEPS, "val": 12}, draw)


def command(*arguments):
    return [sys.executable, "-m", "fcn_keras", "train", *map(str, arguments)]


@pytest.fixture(scope="module")
def interrupted(folders, tmp_path_factory, run_command):
    """A finished run, and for each of `MOMENTS` the files that a kill at that moment leaves."""
    root = tmp_path_factory.mktemp("whole")
    with contextlib.ExitStack() as watches:
        for moment in MOMENTS:
            copy = partial(shutil.copytree, root / "run", root / moment)
            watches.enter_context(kill_points.at(moment, copy))
        status = run_command(
            "train", "--data", folders / "data.yaml", *OPTIONS, "--out", root / "run"
        )
    assert status == 0
    return root


@pytest.fixture(scope="module")
def whole(interrupted):
    """An uninterrupted run."""
    return interrupted / "run"


def assert_same_end(run, whole):
    """Compares last weights and the best epoch."""
    ends = [json.loads((one / "finished.json").read_text()) for one in (run, whole)]
    assert ends[0] == ends[1]


def assert_same_run(run, whole):
    """Compares last weights, the best model's metrics and the history, except for times."""
    assert_same_end(run, whole)
    assert (run / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
    histories = []
    for one in (run, whole):
        rows = list(csv.DictReader((one / "history.csv").read_text().splitlines()))
        measured = ("images_per_second", "seconds")
        histories.append([{k: v for k, v in row.items() if k not in measured} for row in rows])
    assert histories[0] == histories[1]
    assert not (run / "checkpoints").exists()


def last_step(run):
    steps = [int(path.stem[5:]) for path in (run / "checkpoints").glob("step-*.ckpt")]
    return max(steps, default=0)


SLOW = ("a checkpoint has no name yet", "the best model has no name yet")  # Similar to the others.


@pytest.mark.parametrize(
    "moment", [pytest.param(m, marks=pytest.mark.slow if m in SLOW else ()) for m in MOMENTS]
)
def test_killed_run_resumes_to_the_same_result(fcn_keras_cli, interrupted, whole, tmp_path, moment):
    run = shutil.copytree(interrupted / moment, tmp_path / "run")
    assert bool(list(run.glob("checkpoints/.*.fcn-keras-tmp"))) == moment.startswith("a checkpoint")
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 0, err
    assert_same_run(run, whole)


def test_a_run_of_an_earlier_version_resumes(fcn_keras_cli, interrupted, whole, tmp_path):
    run = shutil.copytree(interrupted / "a checkpoint has no name yet", tmp_path / "run")
    for path in checkpoint_file.in_order(run / "checkpoints"):
        arrays, state = checkpoint_file.read(path)
        (log,) = state["also"]
        best = {k: v for k, v in log["best_report"].items() if k not in NEW}
        log = {key: log[key] for key in ("last_point", "options")} | {"best_report": best}
        state = {"position": state["position"], "train_logs": {}, "also": [log]}
        checkpoint_file.write(path, arrays, state)
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 0, err
    assert_same_end(run, whole)


NEW = ("val_loss", "weights_sha256")  # What 0.1 did not write.


@pytest.mark.soak
def test_run_killed_at_every_moment_resumes_to_the_same_result(folders, whole, tmp_path):
    options = ("--data", folders / "data.yaml", *OPTIONS, "--resume", tmp_path / "run")
    for moment in MOMENTS:
        killed = [sys.executable, kill_points.__file__, moment, *command(*options)[3:]]
        done = subprocess.run(killed, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, (moment, done.stdout, done.stderr)
    done = subprocess.run(command(*options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.soak
def test_run_killed_at_random_times_resumes_to_the_same_result(folders, whole, tmp_path):
    run, chance = tmp_path / "run", random.Random(0)
    options = ("--data", folders / "data.yaml", *OPTIONS, "--resume", run)
    for kill in range(5):
        process = subprocess.Popen(command(*options), stdout=subprocess.DEVNULL)
        while process.poll() is None and last_step(run) < 1 + 6 * kill:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.4))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    done = subprocess.run(command(*options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_run(run, whole)


def test_signal_during_validation_saves_and_prints_how_to_resume(
    fcn_keras_cli, signal_stack, folders, whole, tmp_path
):
    run = tmp_path / "run"
    terminate = partial(os.kill, os.getpid(), signal.SIGTERM)
    with kill_points.at("a validation runs", terminate):
        status, _, err = fcn_keras_cli(
            "train", "--data", folders / "data.yaml", *OPTIONS, "--out", run
        )
    assert status == 128 + signal.SIGTERM
    assert f"and saved. To resume: fcn-keras train --resume {run}" in err
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 0, err
    assert_same_run(run, whole)


@pytest.mark.soak
@pytest.mark.parametrize("where", ["in an epoch", "in a validation", "while it starts"])
def test_signal_to_a_process_saves(folders, whole, tmp_path, where):
    run = tmp_path / "run"
    process = subprocess.Popen(
        command("--data", folders / "data.yaml", *OPTIONS, "--out", run),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    target = {"in an epoch": 2, "in a validation": STEPS - 1, "while it starts": -1}[where]
    while process.poll() is None and last_step(run) < target:
        time.sleep(0.001)
    if where == "in a validation":
        time.sleep(0.3)
    elif where == "while it starts":
        while process.poll() is None and not (run / "config.yaml").exists():
            time.sleep(0.001)
    process.terminate()
    _, err = process.communicate()
    if where == "while it starts" and process.returncode == -signal.SIGTERM:
        pass  # Nothing was trained, so nothing is lost.
    else:
        assert process.returncode == 128 + signal.SIGTERM, err
        assert f"and saved. To resume: fcn-keras train --resume {run}" in err
        assert "Traceback" not in err
    done = subprocess.run(command("--resume", run), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_run(run, whole)


@pytest.fixture
def started(folders, tmp_path, whole):
    """A started run, on data that the test may change: the whole run without its end."""
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(folders, data)
    shutil.copytree(whole, run)
    (run / "finished.json").unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["options"]["data"] = str(data / "data.yaml")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return data, run


def test_resume_with_other_options_is_an_error(fcn_keras_cli, started):
    data, run = started
    status, _, err = fcn_keras_cli("train", "--resume", run, "--batch-size", 4, "--seed", 3)
    assert status == 2
    assert err.splitlines() == [
        f"error: {run}: the run was started with other options: batch_size was 2, now 4; seed was "
        "0, now 3. Leave these options out, or start another run (--out)."
    ]


def test_resume_with_other_data_is_an_error(fcn_keras_cli, started):
    data, run = started
    (data / "train/images/3.png").unlink()
    (data / "train/masks/3.png").unlink()
    Image.new("RGB", (56, 40)).save(data / "train/images/5.png")
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 2
    assert (
        "the data has changed since the run was started: data.yaml train: missing: 3; changed: 5."
        in err
    )
    assert "Traceback" not in err


def test_config_that_differs_from_the_checkpoint_is_an_error(fcn_keras_cli, interrupted, tmp_path):
    run = shutil.copytree(interrupted / "a checkpoint has no name yet", tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["options"]["learning_rate"] = 0.1
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 2
    assert "the run was started with other options: learning_rate was 0.0001, now 0.1." in err


def test_infinite_or_nan_last_weights_are_an_error(fcn_keras_cli, folders, tmp_path):
    run = tmp_path / "run"
    status, _, err = fcn_keras_cli(
        *("train", "--data", folders / "data.yaml", *OPTIONS[:-4], "--out", run),
        *("--iterations", 2, "--optimizer", "sgd", "--learning-rate", 1e30, "--crop", "32x48"),
        *("--schedule", "constant", "--warmup-steps", 0),
    )
    assert status == 2
    assert "has infinite or NaN values after epoch 1" in err
    assert not (run / "model.keras").exists() and not (run / "finished.json").exists()


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("data.json", "{", "data.json: damaged or missing"),
        ("data.json", "{}", "data.json: damaged: has no entry for train"),
        ("config.yaml", "", "config.yaml: damaged or edited"),
        ("config.yaml", "options: {data: x}\nstages: 5\n", "config.yaml: damaged or edited"),
    ],
)
def test_damaged_files_of_a_run_are_named(fcn_keras_cli, started, file, content, message):
    _, run = started
    (run / file).write_text(content)
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert (status, len(err.splitlines())) == (2, 1), err
    assert message in err


def test_second_process_in_a_run_folder_is_an_error(fcn_keras_cli, started):
    _, run = started
    with outputs.locked(run):
        status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 2
    assert f"error: {run}: another training run is writing to it." in err


def test_resume_of_a_finished_run_shows_its_metrics(fcn_keras_cli, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.name != ".lock"}
    status, out, err = fcn_keras_cli("train", "--resume", whole)
    assert status == 0, err
    assert "is finished" in out and "mean IU" in out
    assert before == {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.name != ".lock"}


def test_invalid_out_and_resume_are_an_error(fcn_keras_cli, started, tmp_path):
    data, run = started
    for arguments, message in (
        (("--resume", run, "--stages", "32,8"), "stages was none, now 32,8"),
        ((), "give --out RUN for a new run, or --resume RUN to resume one"),
        (("--out", run, "--resume", run), "give --out RUN for a new run, or --resume RUN"),
        (("--out", tmp_path / "x"), "data: not given"),
        (("--resume", tmp_path / "x"), "not a run: config.yaml is missing"),
        (("--out", run, "--data", data / "data.yaml"), f"(fcn-keras train --resume {run})"),
        (
            ("--resume", run, "--recipe", "camvid"),
            "recipe='camvid': a run resumes with its own options",
        ),
        (("--resume", run, "--checkpoint-every", "often"), "checkpoint_every='often': must be"),
    ):
        status, _, err = fcn_keras_cli("train", *arguments)
        assert (status, len(err.splitlines())) == (2, 1), err
        assert message in err


def test_full_disk_is_an_error_before_training(fcn_keras_cli, folders, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=300_000))
    run = tmp_path / "run"
    status, _, err = fcn_keras_cli("train", "--data", folders / "data.yaml", *OPTIONS, "--out", run)
    assert status == 2
    assert f"error: {run}: the checkpoints and the model need about" in err
    assert "but only 0.3 MB are free" in err
    assert not (run / "config.yaml").exists()


@pytest.mark.parametrize("stages", ["32,8", pytest.param("32,16,8", marks=pytest.mark.slow)])
def test_staged_run_resumes_in_the_interrupted_stage(
    fcn_keras_cli, folders, tmp_path, stages, monkeypatch
):
    run, interrupted = tmp_path / "run", tmp_path / "moved"
    options = ("--data", folders / "data.yaml", *OPTIONS, "--epochs", 1, "--stages", stages)

    def start_from(model, *args, **kwargs):  # The second stage, before its first checkpoint.
        if not interrupted.exists():
            shutil.copytree(run, interrupted)
        return transfer.start_from(model, *args, **kwargs)

    monkeypatch.setattr(compiling, "start_from", start_from)
    status, _, err = fcn_keras_cli("train", *options, "--out", run)
    assert status == 0, err
    assert {path.parent.name for path in interrupted.glob("*/finished.json")} == {"32s"}
    status, _, err = fcn_keras_cli("train", "--resume", interrupted, "--stages", "16,8")
    assert status == 2 and f"stages was {stages}, now 16,8" in err
    status, _, err = fcn_keras_cli("train", "--resume", interrupted)
    assert status == 0, err
    ends = [json.loads((one / "finished.json").read_text()) for one in (run, interrupted)]
    assert ends[0] == ends[1]
    for name in ("32s", "8s"):
        assert len(list((interrupted / name).glob("*.keras"))) == 1


def raise_exhausted():
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    "exhaust",
    # TensorFlow retries the allocation for ten seconds.
    [raise_exhausted, pytest.param(partial(tf.zeros, [1 << 50]), marks=pytest.mark.slow)],
)
def test_out_of_memory_suggests_smaller_options(
    fcn_keras_cli, folders, tmp_path, monkeypatch, exhaust
):
    monkeypatch.setattr(tf.data.Dataset, "take", lambda *args, **kwargs: exhaust())
    run = ("--out", tmp_path / "run", "--warmup-steps", 0)
    status, _, err = fcn_keras_cli("train", "--data", folders / "data.yaml", *OPTIONS, *run)
    assert status == 2
    assert err.startswith("error: out of memory. Use smaller crops (--crop), smaller batches")
    assert len(err.splitlines()) == 1


def test_infinite_loss_names_step_and_images(fcn_keras_cli, folders, tmp_path):
    run = tmp_path / "run"
    status, _, err = fcn_keras_cli(
        *("train", "--data", folders / "data.yaml", *OPTIONS, "--out", run),
        *("--learning-rate", 1e30, "--warmup-steps", 0, "--schedule", "constant"),
    )
    assert status == 2
    found = re.fullmatch(
        r"error: .* (?:at|after) step (\d) of epoch 1 \(images (\d+), (\d+)\)\. .*"
        r"a lower learning rate \(--learning-rate\)\.\n",
        err,
    )
    step = int(found[1]) - 1
    named = pipelines.batch_ids(
        pipelines.read(folders / "data.yaml", "train"),
        batch_size=2, augmentation=pipelines.Augmentation((32, 48)), epoch=0, step=step,
    )  # fmt: skip
    assert [found[2], found[3]] == named
    kept = checkpoint_file.in_order(run / "checkpoints")
    assert all(checkpoint_file.read_state(path)["position"][1] <= step for path in kept)
