"""`fcn_keras.train` matches `fcn-keras train`."""

import csv
import dataclasses
import json
import shutil
import threading
from contextlib import contextmanager

import keras
import numpy as np
import pytest
from PIL import Image

import fcn_keras
import pipelines
from fcn_keras.errors import ConfigError
from fcn_keras.training import run_log, run_reports
from fcn_keras.training.machines import watched
from fcn_keras.training.watching import Silence, Watch
from pipelines.batches import service

TINY = {"backbone": "tiny", "weights": None, "head_width": 8, "precision": "float32"}
TINY |= {"batch_size": 2, "crop": (32, 32), "epochs": 2, "learning_rate": 0.01}


class Notebook(Watch):
    """Keeps the lines it receives."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def test_train_matches_the_command(two_folders, fcn_keras_cli):
    data, watch = two_folders / "data.yaml", Notebook()
    run = fcn_keras.train(data=str(data), out=two_folders / "script", watch=watch, **TINY)
    assert watch.lines[0].startswith("epoch 1/2  loss ")
    assert f"report: {run.folder / 'report.html'}" in watch.lines
    arguments = ["--backbone", "tiny", "--weights", "none", "--head-width", 8, "--epochs", 2]
    arguments += ["--precision", "float32", "--batch-size", 2, "--crop", "32x32"]
    arguments += ["--learning-rate", 0.01, "--data", data, "--out", two_folders / "command"]
    status, _, err = fcn_keras_cli("train", *arguments)
    assert status == 0, err
    by_hand, by_command = (
        json.loads((two_folders / name / "finished.json").read_text())
        for name in ("script", "command")
    )
    assert by_hand["updates"] == by_command["updates"] == 4
    command = fcn_keras.Run.open(two_folders / "command")
    assert run.config.model_dump() == command.config.model_dump()
    assert run.evaluation.mean_iou == pytest.approx(command.evaluation.mean_iou, abs=0.02)
    assert run.is_finished and len(run.history) == 2 and run.model.classes[0] == "ground"


def test_predict_writes_the_mask_values_of_the_training_data(two_folders, fcn_keras_cli):
    table = np.zeros(256, "uint8")
    table[:3] = 7, 200, 9  # In the order of the classes below.
    for path in two_folders.glob("*/masks/*.png"):
        with Image.open(path) as mask:
            ids = np.array(mask)
        Image.fromarray(np.where(ids == 255, 255, table[ids]).astype("uint8")).save(path)
    text = (two_folders / "data.yaml").read_text()
    text = text.replace("{name: road,", "{name: road, value: 200,") + "offset: 7\n"
    (two_folders / "data.yaml").write_text(text)
    run = fcn_keras.train(
        data=str(two_folders / "data.yaml"), out=two_folders / "run", watch=Silence(), **TINY
    )
    assert run.model.values.tolist() == [7, 200, 9]
    written = {}
    for name, extra in (("ids", []), ("values", ["--values"])):
        out = two_folders / name
        arguments = ["predict", run.folder, two_folders / "val/images", "--out", out, *extra]
        status, _, err = fcn_keras_cli(*arguments)
        assert status == 0, err
        with Image.open(out / "0.png") as mask:
            written[name] = np.array(mask), np.array(mask.convert("RGB"))
    np.testing.assert_array_equal(written["values"][0], table[written["ids"][0]])
    np.testing.assert_array_equal(written["values"][1], written["ids"][1])  # Colours.

    config = run.folder / "config.yaml"  # As version 0.1 wrote it.
    lines = config.read_text().splitlines()
    config.write_text("\n".join(line for line in lines if not line.startswith("  value:")))
    status, _, err = fcn_keras_cli(*arguments[:4], two_folders / "none", "--values")
    assert status == 2 and "does not say which mask value each class has" in err
    assert fcn_keras.load(run.folder).classes == ("ground", "road", "car")


def test_resume_starts_a_new_run_and_keeps_a_finished_one(two_folders, capsys):
    data = str(two_folders / "data.yaml")

    class Crash(Silence):
        def progress(self, text, total):
            if text.startswith("checking"):
                raise RuntimeError("crash")
            return super().progress(text, total)

    with pytest.raises(RuntimeError):
        fcn_keras.train(data=data, out=two_folders / "run", watch=Crash(), **TINY)
    with pytest.raises(ConfigError, match="run: not a run"):
        fcn_keras.Run.open(two_folders / "run")
    run = fcn_keras.train(data=data, out=two_folders / "run", resume=True, watch=Silence(), **TINY)
    assert not capsys.readouterr().out
    before = (run.folder / "model.keras").read_bytes()
    again = run.resume(watch=Silence())
    assert (again.folder / "model.keras").read_bytes() == before


def test_train_takes_a_recipe_a_file_or_a_config(two_folders):
    data = str(two_folders / "data.yaml")
    options = {**TINY, "epochs": 1, "watch": Silence()}
    one = fcn_keras.train("quickstart", data=data, out=two_folders / "a", **options)
    assert one.config.colour == 0.5 and one.config.scale == (0.8, 1.25)  # From the recipe.
    two = fcn_keras.train(
        one.folder / "config.yaml", out=two_folders / "b", seed=3, watch=Silence()
    )
    assert two.config == one.config.model_copy(update={"seed": 3})
    three = fcn_keras.train(two.config, out=two_folders / "c", watch=Silence())
    assert three.config == two.config


def test_run_resumes_from_any_working_directory(two_folders, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(two_folders)
    options = {**TINY, "epochs": 1, "watch": Silence()}
    run = fcn_keras.train(data="data.yaml", out=two_folders / "run", **options)
    (run.folder / "finished.json").unlink()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert run.resume(watch=Silence()).is_finished
    assert run.config.data == str(two_folders / "data.yaml")


def test_each_stage_is_a_run(two_folders):
    run = fcn_keras.train(
        data=str(two_folders / "data.yaml"),
        out=two_folders / "run",
        stages=("fcn32s", "fcn16s"),
        watch=Silence(),
        **{**TINY, "epochs": 1},
    )
    assert [stage.folder.name for stage in run.stages] == ["32s", "16s"]
    assert all(stage.is_finished for stage in run.stages)
    assert run.evaluation.mean_iou == run.stages[-1].evaluation.mean_iou
    (last,) = run.history  # One epoch.
    assert last == run.stages[-1].history[0] != run.stages[0].history[0]
    shutil.rmtree(run.folder / "16s")
    assert fcn_keras.Run.open(run.folder).history == []  # The last stage has not started.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "data: not given"),
        ({"data": "synthetic", "epochs": 0}, "epochs=0: must be at least 1 (--epochs)."),
        ({"data": "synthetic", "epoch": 3}, "did you mean `epochs`?"),
        ({"recipe": "camvidd", "data": "synthetic"}, "recipe='camvidd': unknown"),
        ({"recipe": {"epochs": 3}}, "data: not given"),
        ({"data": "synthetic", "stages": "16,32"}, "stages=fcn16s,fcn32s"),
        ({"data": "synthetic", "stages": 5}, "stages=5: must be a list"),
        ({"data": ["x" * 900]}, "... (list): "),
        ({"data": "synthetic", "checkpoint_every": "soon"}, "checkpoint_every='soon': must be"),
        ({"data": "synthetic", "stages": ("fcn8s", "fcn16s")}, "from coarse to fine"),
    ],
)
def test_invalid_options_are_an_error_before_reading_data(tmp_path, options, message):
    with pytest.raises(ConfigError) as error:
        fcn_keras.train(out=tmp_path / "run", **options)
    assert message in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options, told",
    [
        ({}, "warmup_steps=50: the whole training has 6 steps, so the warm-up takes only half of "),
        ({"warmup_steps": 4}, "the warm-up takes only half of them, 3."),
        ({"warmup_steps": 3}, None),
        ({"warmup_steps": 0}, None),
    ],
)
def test_warmup_of_the_whole_training_is_told(two_folders, capsys, options, told):
    options = {**TINY, "epochs": 3, "batch_size": 2, **options}  # Two batches per epoch.
    fcn_keras.train(data=two_folders / "data.yaml", out=two_folders / "run", **options)
    err = capsys.readouterr().err
    assert err == "" if told is None else told in err and err.count("\n") == 1


class Reporter(Silence):
    """Writes a report in the middle of the training, as `fcn-keras report RUN --pictures` does."""

    def __init__(self, folder, split):
        self.folder, self.split = folder, split

    @contextmanager
    def training(self, steps, epochs):
        def report(epoch, logs=None):
            if epoch == 0:
                run_reports.measure(self.folder, self.split, Silence())
                self.page = fcn_keras.Run.open(self.folder).report()
                self.measured = (self.folder / "validation.csv").read_text()

        yield [keras.callbacks.LambdaCallback(on_epoch_end=report)]


@pytest.mark.parametrize("is_better", [True, False])
def test_a_report_in_the_middle_of_a_training_is_replaced(two_folders, monkeypatch, is_better):
    """Whether or not a later epoch is better than the one that was reported."""
    monkeypatch.setattr(run_log, "_is_better", lambda current, best: is_better or not best)
    data = str(two_folders / "data.yaml")
    watch = Reporter(two_folders / "run", pipelines.read(data, "val"))
    run = fcn_keras.train(data=data, out=two_folders / "run", watch=watch, **TINY)
    text = watch.page.read_text()
    assert "not finished" not in text and "2 of 2 epochs" in text
    measured = (run.folder / "validation.csv").read_text()
    assert (measured != watch.measured) is is_better
    assert run.best_epoch == (2 if is_better else 1)
    mean_iou = {row["image"]: row["mean_iou"] for row in csv.DictReader(measured.splitlines())}
    for example in watch.split.examples:  # As `evaluate` measures the model on this image alone.
        one = dataclasses.replace(watch.split, examples=(example,))
        expected = fcn_keras.evaluate(run.model, one).mean_iou
        assert float(mean_iou[example.id]) == pytest.approx(expected, abs=1e-5)
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.*") if path.is_file()}
    run.resume(watch=Silence())
    assert {p: p.stat().st_mtime_ns for p in before if p.name != ".lock"} == {
        p: time for p, time in before.items() if p.name != ".lock"
    }


@pytest.mark.parametrize("missing", ["report.html", "validation.csv"])
def test_a_report_that_a_kill_prevented_is_written_by_a_resume(two_folders, missing):
    options = {**TINY, "epochs": 1, "watch": Silence()}
    run = fcn_keras.train(data=str(two_folders / "data.yaml"), out=two_folders / "run", **options)
    (run.folder / missing).unlink()
    if missing == "validation.csv":
        assert "no pictures" in run.report().read_text()  # By a user, after the kill.
    run.resume(watch=Silence())
    assert (run.folder / missing).exists()
    assert "no pictures" not in (run.folder / "report.html").read_text()


class Remover(Watch):
    """Removes the run's folder at a moment of the second epoch."""

    def __init__(self, folder, moment):
        self.folder, self.moment = folder, moment

    @contextmanager
    def training(self, steps, epochs):
        def remove(number, logs=None):
            if number == 1 and self.folder.exists():
                shutil.rmtree(self.folder)

        yield [keras.callbacks.LambdaCallback(**{self.moment: remove})]


@pytest.mark.parametrize("checkpoint_every", [1, "2 h"])
@pytest.mark.parametrize("moment", ["on_epoch_begin", "on_train_batch_end", "on_epoch_end"])
def test_a_folder_removed_while_training_is_an_error(two_folders, moment, checkpoint_every):
    out = two_folders / "run"
    options = {**TINY, "epochs": 3, "warmup_steps": 0, "checkpoint_every": checkpoint_every}
    with pytest.raises(ConfigError, match="run: the run's folder was removed or emptied while"):
        fcn_keras.train(
            data=two_folders / "data.yaml", out=out, watch=Remover(out, moment), **options
        )
    assert not out.exists()


def test_options_may_be_a_dict_and_none_a_word(two_folders):
    options = {"data": str(two_folders / "data.yaml"), **TINY, "weights": "none", "epochs": 1}
    run = fcn_keras.train(options, out=two_folders / "run", stages="32,16", watch=Silence())
    assert [stage.config.weights for stage in run.stages] == [None, None]
    assert [stage.folder.name for stage in run.stages] == ["32s", "16s"]


@pytest.mark.parametrize("path", ["", None, 3])
def test_what_is_no_path_is_told(path):
    for function in (fcn_keras.load, fcn_keras.Run.open):
        with pytest.raises(ConfigError, match=r": must be a path\. Pass a string"):
            function(path)
    with pytest.raises(ConfigError, match=f"^out={path!r}: must be a path"):
        fcn_keras.train(data="synthetic", out=path)


def test_a_failed_training_leaves_no_watcher_behind(tmp_path, monkeypatch):
    stops = []
    monkeypatch.setattr(service, "watch", lambda *_: stops.append(threading.Event()) or stops[0])
    with pytest.raises(RuntimeError), watched("grpc://localhost:1", tmp_path):
        raise RuntimeError
    assert stops[0].is_set()
