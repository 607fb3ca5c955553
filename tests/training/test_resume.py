"""`fcn-keras train --resume`: what becomes of a run that ends before its end."""

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
    """A user's own data set: 14 images to train on, 12 to validate on."""
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
    """A finished run, and for each of `MOMENTS` what a kill at that moment would have left."""
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
    """A run that nothing interrupts."""
    return interrupted / "run"


def assert_same_run(run, whole):
    """Last weights, best model's figures and every epoch's; but for what a clock has measured."""
    ends = [json.loads((one / "finished.json").read_text()) for one in (run, whole)]
    assert ends[0] == ends[1]
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


SLOW = ("a checkpoint has no name yet", "the best model has no name yet")  # Much like the others.


@pytest.mark.parametrize(
    "moment", [pytest.param(m, marks=pytest.mark.slow if m in SLOW else ()) for m in MOMENTS]
)
def test_what_a_kill_leaves_ends_as_a_run_that_was_not_killed(
    fcn_keras_cli, interrupted, whole, tmp_path, moment
):
    run = shutil.copytree(interrupted / moment, tmp_path / "run")
    assert bool(list(run.glob("checkpoints/.*.fcn-keras-tmp"))) == moment.startswith("a checkpoint")
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 0, err
    assert_same_run(run, whole)


@pytest.mark.soak
def test_a_run_killed_at_every_moment_ends_as_one_that_was_not(folders, whole, tmp_path):
    options = ("--data", folders / "data.yaml", *OPTIONS, "--resume", tmp_path / "run")
    for moment in MOMENTS:
        killed = [sys.executable, kill_points.__file__, moment, *command(*options)[3:]]
        done = subprocess.run(killed, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, (moment, done.stdout, done.stderr)
    done = subprocess.run(command(*options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.soak
def test_a_run_killed_at_any_time_ends_as_one_that_was_not(folders, whole, tmp_path):
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


def test_a_signal_in_a_validation_saves_and_prints_the_command_that_goes_on(
    fcn_keras_cli, signal_stack, folders, whole, tmp_path
):
    run = tmp_path / "run"
    terminate = partial(os.kill, os.getpid(), signal.SIGTERM)
    with kill_points.at("a validation runs", terminate):
        status, _, err = fcn_keras_cli(
            "train", "--data", folders / "data.yaml", *OPTIONS, "--out", run
        )
    assert status == 128 + signal.SIGTERM
    assert f"and saved. To go on: fcn-keras train --resume {run}" in err
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 0, err
    assert_same_run(run, whole)


@pytest.mark.soak
@pytest.mark.parametrize("where", ["in an epoch", "in a validation", "while it starts"])
def test_a_process_that_gets_a_signal_saves(folders, whole, tmp_path, where):
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
        pass  # Nothing was trained, and nothing is lost.
    else:
        assert process.returncode == 128 + signal.SIGTERM, err
        assert f"and saved. To go on: fcn-keras train --resume {run}" in err
        assert "Traceback" not in err
    done = subprocess.run(command("--resume", run), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_run(run, whole)


@pytest.fixture
def begun(folders, tmp_path, whole):
    """A run that was begun, on data that the test may change: the whole one without its end."""
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(folders, data)
    shutil.copytree(whole, run)
    (run / "finished.json").unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["options"]["data"] = str(data / "data.yaml")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return data, run


def test_other_options_than_the_run_was_begun_with_are_refused(fcn_keras_cli, begun):
    data, run = begun
    status, _, err = fcn_keras_cli("train", "--resume", run, "--batch-size", 4, "--seed", 3)
    assert status == 2
    assert err.splitlines() == [
        f"error: {run}: the run was begun with other options: batch_size was 2, now 4; seed was 0, "
        "now 3. It goes on with those it has: leave these out, or begin another run (--out)."
    ]


def test_other_data_than_the_run_was_begun_with_is_refused(fcn_keras_cli, begun):
    data, run = begun
    (data / "train/images/3.png").unlink()
    (data / "train/masks/3.png").unlink()
    Image.new("RGB", (56, 40)).save(data / "train/images/5.png")
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 2
    assert (
        "the data has changed since the run was begun: data.yaml train: gone: 3; changed: 5." in err
    )
    assert "Traceback" not in err


def test_a_changed_configuration_does_not_go_with_the_checkpoint(
    fcn_keras_cli, interrupted, tmp_path
):
    run = shutil.copytree(interrupted / "a checkpoint has no name yet", tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["options"]["learning_rate"] = 0.1
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 2
    assert "the run was begun with other options: learning_rate was 0.0001, now 0.1." in err


def test_the_last_weights_are_checked_too(fcn_keras_cli, folders, tmp_path):
    run = tmp_path / "run"
    status, _, err = fcn_keras_cli(
        *("train", "--data", folders / "data.yaml", *OPTIONS[:-4], "--out", run),
        *("--iterations", 2, "--optimizer", "sgd", "--learning-rate", 1e30, "--crop", "32x48"),
        *("--schedule", "constant", "--warmup-steps", 0),
    )
    assert status == 2
    assert "has values that are infinite or no numbers after epoch 1" in err
    assert not (run / "model.keras").exists() and not (run / "finished.json").exists()


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("data.json", "{", "data.json: damaged, or not there"),
        ("data.json", "{}", "data.json: damaged: holds nothing of train"),
        ("config.yaml", "", "config.yaml: not as the run has written it"),
        ("config.yaml", "options: {data: x}\nstages: 5\n", "config.yaml: not as the run has"),
    ],
)
def test_files_of_a_run_that_are_damaged_are_named(fcn_keras_cli, begun, file, content, message):
    _, run = begun
    (run / file).write_text(content)
    status, _, err = fcn_keras_cli("train", "--resume", run)
    assert (status, len(err.splitlines())) == (2, 1), err
    assert message in err


def test_a_second_process_in_a_runs_folder_is_refused(fcn_keras_cli, begun):
    _, run = begun
    with outputs.locked(run):
        status, _, err = fcn_keras_cli("train", "--resume", run)
    assert status == 2
    assert f"error: {run}: another training is writing there." in err


def test_a_finished_run_shows_its_figures_again(fcn_keras_cli, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.name != ".lock"}
    status, out, err = fcn_keras_cli("train", "--resume", whole)
    assert status == 0, err
    assert "is finished" in out and "mean IU" in out
    assert before == {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.name != ".lock"}


def test_out_and_resume_are_told_apart(fcn_keras_cli, begun, tmp_path):
    data, run = begun
    for arguments, message in (
        (("--resume", run, "--stages", "32,8"), "stages was none, now 32,8"),
        ((), "give --out RUN for a new run, or --resume RUN to go on with one"),
        (("--out", run, "--resume", run), "give --out RUN for a new run, or --resume RUN"),
        (("--out", tmp_path / "x"), "data: not given"),
        (("--resume", tmp_path / "x"), "no run was begun there"),
        (("--out", run, "--data", data / "data.yaml"), f"(fcn-keras train --resume {run})"),
        (
            ("--resume", run, "--recipe", "camvid"),
            "recipe='camvid': a run resumes with the options it was",
        ),
        (("--resume", run, "--checkpoint-every", "often"), "checkpoint_every='often': must be"),
    ):
        status, _, err = fcn_keras_cli("train", *arguments)
        assert (status, len(err.splitlines())) == (2, 1), err
        assert message in err


def test_a_disk_without_room_for_checkpoints_is_noticed_before_training(
    fcn_keras_cli, folders, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=300_000))
    run = tmp_path / "run"
    status, _, err = fcn_keras_cli("train", "--data", folders / "data.yaml", *OPTIONS, "--out", run)
    assert status == 2
    assert (
        f"error: {run}: 0.3 MB are free there, and the checkpoints and the model take about" in err
    )
    assert not (run / "config.yaml").exists()


@pytest.mark.parametrize("stages", ["32,8", pytest.param("32,16,8", marks=pytest.mark.slow)])
def test_stages_go_on_in_the_stage_that_was_broken_off(
    fcn_keras_cli, folders, tmp_path, stages, monkeypatch
):
    run, broken = tmp_path / "run", tmp_path / "moved"
    options = ("--data", folders / "data.yaml", *OPTIONS, "--epochs", 1, "--stages", stages)

    def start_from(model, *args, **kwargs):  # The second stage, before its first checkpoint.
        if not broken.exists():
            shutil.copytree(run, broken)
        return transfer.start_from(model, *args, **kwargs)

    monkeypatch.setattr(compiling, "start_from", start_from)
    status, _, err = fcn_keras_cli("train", *options, "--out", run)
    assert status == 0, err
    assert {path.parent.name for path in broken.glob("*/finished.json")} == {"32s"}
    status, _, err = fcn_keras_cli("train", "--resume", broken, "--stages", "16,8")
    assert status == 2 and f"stages was {stages}, now 16,8" in err
    status, _, err = fcn_keras_cli("train", "--resume", broken)
    assert status == 0, err
    ends = [json.loads((one / "finished.json").read_text()) for one in (run, broken)]
    assert ends[0] == ends[1]
    for name in ("32s", "8s"):
        assert len(list((broken / name).glob("*.keras"))) == 1


def raise_exhausted():
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    "exhaust",
    # TensorFlow tries for ten seconds to get what there is not.
    [raise_exhausted, pytest.param(partial(tf.zeros, [1 << 50]), marks=pytest.mark.slow)],
)
def test_out_of_memory_says_what_to_lower(fcn_keras_cli, folders, tmp_path, monkeypatch, exhaust):
    monkeypatch.setattr(tf.data.Dataset, "take", lambda *args, **kwargs: exhaust())
    run = ("--out", tmp_path / "run")
    status, _, err = fcn_keras_cli("train", "--data", folders / "data.yaml", *OPTIONS, *run)
    assert status == 2
    assert err.startswith("error: out of memory. Use smaller crops (--crop), smaller batches")
    assert len(err.splitlines()) == 1


def test_a_loss_that_is_no_number_names_step_and_images(fcn_keras_cli, folders, tmp_path):
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
