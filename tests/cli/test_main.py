"""Runs the commands in this process, as typed on a command line, and checks their exit status."""

import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from nets import randomise_scores
from PIL import Image

import fcn_keras
import pipelines
from fcn_keras.runs.recipes import RECIPES
from fcn_keras.text import METRIC_NAMES

TINY = ("--backbone", "tiny", "--weights", "none", "--head-width", "16")


def test_train_evaluate_predict_and_export(fcn_keras_cli, two_folders):
    root, run = two_folders, two_folders / "run"
    data = ("--data", root / "data.yaml")
    status, out, err = fcn_keras_cli(
        "train", *data, "--out", run, *TINY,
        *("--epochs", 3, "--validate-every", 2, "--batch-size", 2, "--crop", "32x48"),
    )  # fmt: skip
    assert status == 0, err
    lines = [line for line in out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    assert all(
        part in lines[1] for part in ("epoch 2/3", "loss", "val mean IU", "images/s", "left")
    )

    metrics = json.loads((run / "metrics.json").read_text())
    assert {*METRIC_NAMES, "per_class", "confusion"} <= metrics.keys()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["options"]["crop"] == [32, 48] and config["options"]["precision"] != "auto"
    assert config["classes"][1] == {"name": "road", "colour": [128, 64, 128], "value": 1}
    history = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert [row["val_loss"] != "" for row in history] == [False, True, True]
    with Image.open(run / "pictures" / "00.png") as picture:
        assert picture.size == (4 * 56 + 12, 40)
    assert (run / "report.html").is_file() and "report: " in out

    figures = root / "figures.json"
    status, out, err = fcn_keras_cli("evaluate", run, *data, "--json", figures)
    assert status == 0, err
    assert "road" in out and "mean IU" in out
    evaluated = json.loads(figures.read_text())
    for key in (*METRIC_NAMES, "per_class", "confusion"):
        assert evaluated[key] == metrics[key]

    masks = root / "masks"
    bad = root / "bad.jpg"
    bad.write_text("<html>")
    for name in ("x", "y"):
        Image.new("RGBA", (5, 4), (9, 9, 9, 100)).save(root / f"{name}.png")
    status, out, err = fcn_keras_cli(
        "predict", run / "model.keras", root / "val" / "images", bad, root / "x.png",
        root / "y.png", "--out", masks,
    )  # fmt: skip
    assert status == 2
    assert err.splitlines() == [
        f"error: {bad}: not an image; it starts with '<html>'. Replace the file.",
        f"warning: {root / 'x.png'}: its transparent pixels are composited on white. "
        "(2 files like this)",
    ]
    assert "4 of 5 images" in out
    for name in ("0", "1"):
        with (
            Image.open(masks / f"{name}.png") as mask,
            Image.open(masks / f"{name}_overlay.png") as o,
        ):
            assert mask.mode == "P" and mask.size == o.size == (56, 40)
            assert tuple(mask.getpalette()[3:6]) == (128, 64, 128)
            assert np.asarray(mask).max() < 3

    status, out, err = fcn_keras_cli("export", run, "--out", root / "saved_models" / "mine")
    assert status == 0, err
    assert (root / "saved_models" / "mine" / "1" / "saved_model.pb").is_file()

    status, _, err = fcn_keras_cli("train", *data, "--out", run, *TINY)
    assert status == 2 and "already contains a run" in err
    status, _, err = fcn_keras_cli("evaluate", run, "--data", "synthetic")
    assert status == 2 and "the model has 3 classes, synthetic val has 5" in err


def test_train_takes_other_splits(fcn_keras_cli, two_folders):
    run = two_folders / "run"
    arguments = ("train", "--data", two_folders / "data.yaml", "--out", run, *TINY)
    options = ("--epochs", 1, "--batch-size", 2, "--crop", "32x32")
    status, _, err = fcn_keras_cli(*arguments, *options, "--train-split", "test")
    assert status == 2 and "no split 'test'; it has train, val" in err
    splits = ("--train-split", "val", "--val-split", "train")
    status, out, err = fcn_keras_cli(*arguments, *options, *splits)
    assert status == 0, err
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["options"]["train_split"], config["options"]["val_split"]) == ("val", "train")
    metrics = json.loads((run / "metrics.json").read_text())
    assert np.sum(metrics["confusion"]) == 4 * 39 * 56  # The four training images.


@pytest.fixture
def untrained(two_folders):
    """A model with the three classes of `two_folders`."""
    model = fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=4)
    model.save(two_folders / "model.keras")
    return two_folders / "model.keras"


def test_predict_overwrites_only_its_own_results(fcn_keras_cli, two_folders, untrained):
    images, masks = two_folders / "val" / "images", two_folders / "val" / "masks"
    before = {path: path.read_bytes() for path in masks.iterdir()}
    status, _, err = fcn_keras_cli("predict", untrained, images, "--out", masks)
    assert status == 2
    assert "0.png: exists already and was not written by predict. Choose another --out." in err
    assert {path: path.read_bytes() for path in masks.iterdir()} == before
    for _ in range(2):
        status, _, err = fcn_keras_cli("predict", untrained, images, "--out", two_folders / "[b]")
        assert status == 0, err
    assert len(list((two_folders / "[b]").iterdir())) == 4


def test_predict_names_an_image_that_fails_and_predicts_the_others(
    fcn_keras_cli, two_folders, untrained
):
    images, out = two_folders / "val" / "images", two_folders / "out"
    Image.new("RGB", (700, 9)).save(images / "wide.png")
    status, printed, err = fcn_keras_cli("predict", untrained, images, "--out", out, "--tile", 99)
    assert status == 2 and "2 of 3 images predicted" in printed
    assert err.startswith(f"error: {images / 'wide.png'}: tile: must be at least ")
    assert len(err.splitlines()) == 1 and len(list(out.iterdir())) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "link"), "link: is a broken link. Choose another folder."),
        (("--out", "/proc/fcn"), "/proc/fcn: cannot be created (No such file or directory)."),
        (("--out", "m", "--tile", "none", "--overlap", 9), "--overlap 9: needs tiles"),
    ],
)
def test_predict_reports_invalid_options(
    fcn_keras_cli, two_folders, untrained, options, message, monkeypatch
):
    if "/proc/fcn" in options and os.geteuid():
        pytest.skip("other users than root get an earlier error")
    monkeypatch.chdir(two_folders)
    (two_folders / "link").symlink_to("nowhere")
    status, _, err = fcn_keras_cli("predict", untrained, two_folders / "val" / "images", *options)
    assert status == 2 and err.startswith(f"error: {message}") and len(err.splitlines()) == 1


def test_evaluate_and_predict_agree_with_tta(fcn_keras_cli, two_folders):
    keras.utils.set_random_seed(0)
    net = two_folders / "net.keras"
    randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None)).save(net)
    images, figures = two_folders / "val" / "images", two_folders / "figures.json"
    counted = []
    for tta in ((), ("--tta",)):
        out = two_folders / f"masks{len(tta)}"
        status, _, err = fcn_keras_cli("predict", net, images, "--out", out, *tta)
        assert status == 0, err
        data = ("--data", two_folders / "data.yaml", "--json", figures)
        status, _, err = fcn_keras_cli("evaluate", net, *data, *tta)
        assert status == 0, err
        masks = np.stack([np.asarray(Image.open(out / f"{i}.png")) for i in range(2)])
        truth = [Image.open(two_folders / "val" / "masks" / f"{i}.png") for i in range(2)]
        truth = np.stack([np.asarray(mask) for mask in truth])
        cells = (3 * truth.astype(int) + masks)[truth != 255]
        confusion = np.bincount(cells, minlength=9).reshape(3, 3).tolist()
        assert json.loads(figures.read_text())["confusion"] == confusion
        counted.append(confusion)
    assert counted[0] != counted[1]


def test_evaluate_takes_the_tiles_of_predict(fcn_keras_cli, two_folders, untrained):
    data, figures = ("--data", two_folders / "data.yaml"), two_folders / "figures.json"
    found = []
    for tile in ("auto", "none", 640):
        options = (*data, "--json", figures, "--tile", tile)
        status, _, err = fcn_keras_cli("evaluate", untrained, *options)
        assert status == 0, err
        found.append(json.loads(figures.read_text())["confusion"])
    assert found[0] == found[1] == found[2]
    for tile, message in (
        ("big", "--tile big: must be auto, none or a whole number of pixels."),
        ("20", "tile: must be at least "),  # The images have 39 x 56 pixels.
    ):
        status, _, err = fcn_keras_cli("evaluate", untrained, *data, "--tile", tile)
        assert status == 2 and err.startswith(f"error: {message}") and len(err.splitlines()) == 1


def test_calibrate_writes_a_better_model(fcn_keras_cli, two_folders):
    keras.utils.set_random_seed(0)
    net, out = two_folders / "net.keras", two_folders / "new" / "calibrated.keras"
    randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None)).save(net)
    before, data = net.read_bytes(), ("--data", two_folders / "data.yaml")
    status, printed, err = fcn_keras_cli("calibrate", net, *data, "--out", out)
    assert status == 0, err
    first, second = re.search(r"mean IU on .*: (\S+) -> (\S+)", printed).groups()
    assert float(second) > float(first) and net.read_bytes() == before
    figures = two_folders / "figures.json"
    status, _, err = fcn_keras_cli("evaluate", out, *data, "--split", "train", "--json", figures)
    assert status == 0, err
    assert json.loads(figures.read_text())["mean_iou"] == pytest.approx(float(second), abs=2e-3)
    status, _, err = fcn_keras_cli("calibrate", net, *data, "--out", out)
    assert status == 2 and "exists already" in err


def test_unwritable_files_are_an_error_before_any_work(fcn_keras_cli, two_folders, untrained):
    data = ("--data", two_folders / "data.yaml")
    for json_file, message in (
        (two_folders / "data.yaml", "must be a file name that ends in .json"),
        (two_folders / "nowhere" / "f.json", "does not exist. Create it first"),
    ):
        status, out, err = fcn_keras_cli("evaluate", untrained, *data, "--json", json_file)
        assert status == 2 and message in err and "mean IU" not in out
    assert "classes" in (two_folders / "data.yaml").read_text()
    own = two_folders / "own"
    own.mkdir()
    (own / "history.csv").write_text("mine")
    status, _, err = fcn_keras_cli("train", *data, "--out", own, *TINY)
    assert status == 2 and "already contains a run or part of one (history.csv)" in err
    status, _, err = fcn_keras_cli("train", *data, "--out", two_folders / "data.yaml" / "run")
    assert status == 2 and "data.yaml is a file, not a folder" in err


@pytest.mark.parametrize(
    "command",
    [
        ("calibrate", "run", "--data", "nothing.yaml"),
        ("convert", "nothing.caffemodel", "--model", "fcn32s"),
        ("export", "run", "--format", "onnx"),
        ("export", "run"),
    ],
)
def test_an_output_is_checked_before_all_work(fcn_keras_cli, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "broken.keras").symlink_to("nowhere")
    ending = {"calibrate": ".keras", "convert": ".keras"}.get(command[0], ".onnx")
    ending = "" if command == ("export", "run") else ending
    cases = {f"file/new{ending}": "file is a file, not a folder"}
    if ending == ".keras":
        cases["broken.keras"] = "broken.keras: exists already"
        cases["new.h5"] = "must end in .keras"
    elif ending:
        cases |= {"file/new.onnx": "does not exist", "nowhere/new.onnx": "does not exist"}
        (tmp_path / "old.onnx").touch()
        cases["old.onnx"] = "exists already"
    else:
        cases["a[b]"] = "must not contain *, ? or []"
    for out, message in cases.items():
        status, _, err = fcn_keras_cli(*command, "--out", out)
        assert status == 2 and message in err and err.count("\n") == 1, err
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "broken.keras", "old.onnx"}


def contents(folder):
    """The text of each file in a folder, by its relative path."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_training_replaces_no_file_of_the_user(fcn_keras_cli, two_folders, tmp_path):
    data = ("--data", two_folders / "data.yaml")
    options = (*TINY, "--batch-size", 2, "--epochs", 1, "--crop", "32x32")
    run = tmp_path / "run"
    status, _, err = fcn_keras_cli("train", *data, *options, "--out", run)
    assert status == 0, err
    written = [path.name for path in run.iterdir()]
    assert {"data.json", "config.yaml", "model.keras", "report.html", ".lock"} <= set(written)
    for name in written:  # Whatever a training writes, a file of that name is the user's.
        own = tmp_path / f"own {name}"
        own.mkdir()
        (own / name).write_text("mine")
        status, _, err = fcn_keras_cli("train", *data, *options, "--out", own)
        assert status == 2 and f"already contains a run or part of one ({name})" in err
        assert contents(own) == {Path(name): b"mine"}


def test_a_start_that_was_killed_early_can_be_repeated(fcn_keras_cli, two_folders, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").touch()
    (run / "data.json").write_text('{\n  "written_by": "fcn-keras"\n}')
    options = (*TINY, "--batch-size", 2, "--epochs", 1, "--crop", "32x32")
    status, _, err = fcn_keras_cli(
        "train", "--data", two_folders / "data.yaml", *options, "--out", run
    )
    assert status == 0, err


def test_result_files_replace_only_earlier_results(fcn_keras_cli, two_folders, untrained):
    own = two_folders / "own.json"
    own.write_text('{"tool": "fcn-keras", "mean_iou": 1}')
    data = ("--data", two_folders / "data.yaml")
    status, _, err = fcn_keras_cli("evaluate", untrained, *data, "--json", own)
    assert status == 2 and "exists already and was not written by fcn-keras" in err
    assert own.read_text() == '{"tool": "fcn-keras", "mean_iou": 1}'
    for _ in range(2):
        status, _, err = fcn_keras_cli(
            *("data", "check", two_folders / "data.yaml"),
            *("--json", two_folders / "check.json", "--report", two_folders / "check.html"),
        )
        assert status == 0, err


def test_a_measurement_survives_that_one_of_its_outputs_cannot_be_written(
    fcn_keras_cli, two_folders, untrained, monkeypatch
):
    figures = two_folders / "figures.json"
    arguments = ("evaluate", untrained, "--data", two_folders / "data.yaml", "--json", figures)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fcn_keras.cli.commands.evaluate.show_evaluation", full)
        assert fcn_keras_cli(*arguments)[0] != 0
    assert 0 <= json.loads(figures.read_text())["pixel_accuracy"] <= 1
    with monkeypatch.context() as patch:
        patch.setattr("fcn_keras.outputs.write_json", full)
        status, out, _ = fcn_keras_cli(*arguments)
    assert status != 0 and "pixel accuracy" in out


@pytest.mark.parametrize(
    ("command", "key"),
    [(("data", "check"), "splits"), (("experiment", "iu-bounds", "--data"), "mean_iou")],
)
def test_a_json_file_is_written_even_if_the_output_cannot_be(
    fcn_keras_cli, two_folders, monkeypatch, command, key
):
    figures = two_folders / "figures.json"

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fcn_keras.cli.terminal.console.print", full)
    assert fcn_keras_cli(*command, two_folders / "data.yaml", "--json", figures)[0] != 0
    assert key in json.loads(figures.read_text())


def test_failed_start_leaves_no_files(fcn_keras_cli, two_folders):
    run = two_folders / "run"
    status, _, _ = fcn_keras_cli("train", "--data", two_folders / "none.yaml", "--out", run, *TINY)
    assert status == 2 and not run.exists()


@pytest.mark.parametrize("stages", [(), ("--stages", "32,16")])
@pytest.mark.parametrize(
    "mistake, message",
    [
        (("--freeze", "block9"), "freeze='block9': no layer of"),  # While the model is built.
        (("--accumulate", "9"), "accumulate=9: the run has"),  # While it is compiled.
    ],
)
def test_a_start_with_a_mistake_leaves_no_run(
    fcn_keras_cli, two_folders, tmp_path, mistake, message, stages
):
    run = tmp_path / "new" / "run"
    options = (*TINY, "--batch-size", 2, "--epochs", 1, "--crop", "32x32", *stages)
    arguments = ("train", "--data", two_folders / "data.yaml", *options, *mistake, "--out", run)
    status, _, err = fcn_keras_cli(*arguments)
    assert status == 2 and message in err, err
    assert not run.parent.exists()
    run.mkdir(parents=True)
    (run / "notes.txt").write_text("mine")
    assert fcn_keras_cli(*arguments)[0] == 2
    assert contents(run) == {Path("notes.txt"): b"mine"}


def test_different_class_names_give_a_warning(fcn_keras_cli, two_folders):
    data = two_folders / "data.yaml"
    status, _, err = fcn_keras_cli(
        "train", "--data", data, "--out", two_folders / "run", *TINY,
        *("--epochs", 1, "--batch-size", 2, "--crop", "32x32"),
    )  # fmt: skip
    assert status == 0, err
    data.write_text(data.read_text().replace("car]", "'[/cat]']"))
    status, out, err = fcn_keras_cli("evaluate", two_folders / "run", "--data", data)
    assert status == 0 and "[/cat]" in out
    assert "the model's classes are ground, road, car, the data set's ground, road, [/cat]" in err


def test_predict_matches_several_images_by_name(fcn_keras_cli, two_folders):
    streams = {"left": fcn_keras.Modality(), "right": fcn_keras.Modality()}
    options = {"backbone": "tiny", "weights": None, "head_width": 4}
    net = randomise_scores(fcn_keras.FCN32s(3, inputs=streams, **options))
    net.save(two_folders / "late.keras")
    left, right, out = two_folders / "train" / "images", two_folders / "right", two_folders / "out"
    right.mkdir()
    for number in range(4):  # Another order and another format.
        image = Image.open(left / f"{3 - number}.jpg")
        image.save(right / f"{number}.png")
    predict = ("predict", two_folders / "late.keras", f"left={left}", f"right={right}")
    status, _, err = fcn_keras_cli(*predict, "--out", out)
    assert status == 0, err
    images = {
        "left": pipelines.read_image(left / "1.jpg"),
        "right": pipelines.read_image(left / "2.jpg"),
    }
    written = np.asarray(Image.open(out / "1.png"))
    np.testing.assert_array_equal(written, fcn_keras.predict(net, images))
    assert len(list(out.iterdir())) == 4 * 2
    for arguments, message in (
        ([left], f"{left}: the model takes 2 images. Give a file or folder for each: left=IMAGES"),
        ([f"left={left}"], "right: no images given. Give right=IMAGES"),
        ([f"left={left}", f"right={left / '0.jpg'}"], "right: 1: found for only one of"),
    ):
        status, _, err = fcn_keras_cli("predict", predict[1], *arguments, "--out", out)
        assert status == 2 and message in err


def test_commands_for_one_head_reject_a_model_with_several(fcn_keras_cli, two_folders):
    heads = {"semantic": 3, "geometric": 2}
    net = fcn_keras.FCN32s(heads, backbone="tiny", weights=None, head_width=4)
    net.save(two_folders / "two.keras")
    data = ("--data", two_folders / "data.yaml", "--out", two_folders / "new.keras")
    status, _, err = fcn_keras_cli("calibrate", two_folders / "two.keras", *data)
    assert status == 2 and "has 2 maps of logits (semantic, geometric), but only" in err
    data = ("--data", two_folders / "data.yaml", "--out", two_folders / "saved")
    status, _, err = fcn_keras_cli("export", two_folders / "two.keras", *data)
    assert status == 2 and "has several heads (semantic, geometric), which only" in err


def test_predict_writes_a_mask_per_head(fcn_keras_cli, two_folders):
    heads = {"semantic": 3, "geometric": 2}
    net = randomise_scores(fcn_keras.FCN32s(heads, backbone="tiny", weights=None, head_width=4))
    net.save(two_folders / "two.keras")
    images, out = two_folders / "val" / "images", two_folders / "masks"
    status, _, err = fcn_keras_cli("predict", two_folders / "two.keras", images, "--out", out)
    assert status == 0, err
    predicted = fcn_keras.predict(net, pipelines.read_image(images / "0.jpg"))
    for head in heads:
        written = np.asarray(Image.open(out / f"0_{head}.png"))
        np.testing.assert_array_equal(written, predicted[head])
        assert (out / f"0_{head}_overlay.png").is_file()
    assert len(list(out.iterdir())) == 2 * 2 * 2


def test_evaluate_measures_each_head_on_its_masks(fcn_keras_cli, two_folders, monkeypatch):
    monkeypatch.chdir(two_folders)
    heads = {"semantic": 3, "geometric": 2}
    net = randomise_scores(fcn_keras.FCN32s(heads, backbone="tiny", weights=None, head_width=4))
    net.save("two.keras")
    shutil.copytree("val/masks", "val/halves")
    for path in Path("val/halves").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == 255, 255, mask % 2).astype("uint8")).save(path)
    Path("halves.yaml").write_text(
        "val: {images: val/images, masks: val/halves}\nclasses: [a, b]\n"
    )
    parts = ["--data", "semantic=data.yaml", "--data", "geometric=halves.yaml"]
    status, out, err = fcn_keras_cli("evaluate", "two.keras", *parts, "--json", "figures.json")
    assert status == 0, err
    assert "road" in out and "geometric, " in out
    figures = json.loads(Path("figures.json").read_text())
    for head, folder in (("semantic", "masks"), ("geometric", "halves")):
        right = labelled = 0
        for number in (0, 1):
            mask = np.asarray(Image.open(f"val/{folder}/{number}.png"))
            found = fcn_keras.predict(net, pipelines.read_image(f"val/images/{number}.jpg"))[head]
            right += (found == mask).sum()
            labelled += (mask != 255).sum()
        assert figures[head]["pixel_accuracy"] == pytest.approx(right / labelled)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["data.yaml"], "Give one data set for each: --data semantic=DATA --data geometric=DATA"),
        (["semantic=data.yaml"], "geometric: missing; "),
        (["semantic=data.yaml", "depth=data.yaml"], "--data depth=data.yaml: "),
        (["semantic=data.yaml", "semantic=data.yaml"], "--data semantic=data.yaml: "),
        (["semantic=data.yaml", "geometric=data.yaml"], "'geometric' of fcn32s_tiny has 2 classes"),
    ],
)
def test_evaluate_rejects_data_that_does_not_fit_the_heads(
    fcn_keras_cli, two_folders, monkeypatch, data, message
):
    monkeypatch.chdir(two_folders)
    heads = {"semantic": 3, "geometric": 2}
    fcn_keras.FCN32s(heads, backbone="tiny", weights=None, head_width=4).save("two.keras")
    options = [text for one in data for text in ("--data", one)]
    status, _, err = fcn_keras_cli("evaluate", "two.keras", *options)
    assert status == 2 and message in err


def raise_full(number):
    if number == "tensorflow":  # What its event files and SavedModels raise on a full disk.
        raise tf.errors.ResourceExhaustedError(
            None, None, "/run/events.v2; No space left on device\n\tFailed to flush"
        )
    raise OSError(number, os.strerror(number), "/run/model.keras")


@pytest.mark.parametrize(
    "number, reason",
    [
        ("tensorflow", "the disk: No space left on device."),
        (errno.ENOSPC, "/run/model.keras: No space left on device."),
        (errno.EDQUOT, "/run/model.keras: Disk quota exceeded."),
        (errno.EFBIG, "/run/model.keras: File too large."),
        (errno.EROFS, "/run/model.keras: Read-only file system."),
        (errno.EACCES, "/run/model.keras: Permission denied."),
        (errno.EPERM, "/run/model.keras: Operation not permitted."),
    ],
)
def test_a_full_disk_is_one_line(fcn_keras_cli, monkeypatch, tmp_path, number, reason):
    monkeypatch.setattr("fcn_keras.training.run.train", lambda *_, **__: raise_full(number))
    out = tmp_path / "run"
    status, _, err = fcn_keras_cli("train", "--data", "synthetic", *TINY, "--out", out)
    assert (status, err) == (
        2,
        f"error: {reason} Free some space or change the permissions; saved files are kept.\n",
    )


def test_long_steps_show_progress_without_a_terminal(fcn_keras_cli, two_folders, monkeypatch):
    monkeypatch.setattr("fcn_keras.text.PROGRESS_SECONDS", 0.0)
    data, run = ("--data", two_folders / "data.yaml"), two_folders / "run"
    options = (*TINY, "--batch-size", 2, "--epochs", 1, "--crop", "32x32")
    status, out, err = fcn_keras_cli("train", *data, *options, "--out", run)
    assert status == 0, err
    assert "checking data.yaml train: 4 of 4" in out
    assert "measuring the images of data.yaml val: 2 of 2" in out
    status, out, err = fcn_keras_cli("evaluate", run, *data)
    assert "evaluating on data.yaml val: 1 of 2" in out


@pytest.mark.slow
def test_ctrl_c_stops_without_a_traceback(two_folders):
    command = [sys.executable, "-m", "fcn_keras", "train", "--data", "data.yaml", "--out", "run"]
    command += [*TINY, "--batch-size", "2", "--crop", "32x32", "--epochs", "100000"]
    command += ["--validate-every", "100000"]
    process = subprocess.Popen(
        command,
        cwd=two_folders,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Background processes of a shell ignore SIGINT, and so would this one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    line = process.stdout.readline()
    while not line.startswith("epoch 2"):
        assert line, process.stderr.read()
        line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped." and "Traceback" not in err


def test_evaluate_in_a_new_process(two_folders, untrained):
    # In this process Keras is already imported; in a new one the command imports it.
    command = [sys.executable, "-m", "fcn_keras", "evaluate", "model.keras", "--data", "data.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=two_folders)
    assert done.returncode == 0, done.stderr
    assert "mean IU" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: every pixel is predicted as 'ground', the class of ")
    assert line.endswith("or the model is not trained on them.")


COMMANDS = (
    ("data", "init", "train", "--out", "own.yaml"),
    ("data", "check", "data.yaml"),
    ("train", "--data", "data.yaml", "--out", "run", *TINY, "--epochs", "1", "--crop", "32x32"),
    ("evaluate", "run", "--data", "data.yaml"),
    ("predict", "run", "val/images", "--out", "masks"),
    ("calibrate", "run", "--data", "data.yaml", "--out", "calibrated.keras"),
    ("export", "run", "--out", "saved"),
    ("report", "run"),
    ("experiment", "iu-bounds", "--data", "data.yaml"),
)


@pytest.mark.slow
def test_each_command_runs_as_installed(two_folders):
    program = Path(sys.executable).with_name("fcn-keras")
    for command in COMMANDS:
        done = subprocess.run([program, *command], capture_output=True, text=True, cwd=two_folders)
        assert done.returncode == 0, (command, done.stderr)
        assert all(line.startswith("warning: ") for line in done.stderr.splitlines()), done.stderr


def test_help_shows_defaults(fcn_keras_cli):
    status, out, _ = fcn_keras_cli("train", "--help")
    assert status == 0
    assert "[default: fcn8s]" in out and "[default: on]" in out


def test_same_seed_trains_the_same_model(fcn_keras_cli, two_folders):
    losses = {}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        status, _, err = fcn_keras_cli(
            "train", "--data", two_folders / "data.yaml", "--out", two_folders / name, *TINY,
            *("--epochs", 1, "--batch-size", 2, "--crop", "32x32", "--seed", seed),
            *("--precision", "float32", "--learning-rate", 0.01, "--warmup-steps", 0),
        )  # fmt: skip
        assert status == 0, err
        text = (two_folders / name / "history.csv").read_text()
        rows = list(csv.DictReader(text.splitlines()))
        losses[name] = [float(row[key]) for row in rows for key in ("loss", "val_loss")]
    # Threads sum in varying order, so results are equal only up to rounding.
    assert losses["a"] == pytest.approx(losses["b"], rel=1e-4)
    assert losses["a"] != pytest.approx(losses["c"], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "camvd"), "data='camvd': unknown; choose one of camvid"),
        (("--data", "/"), "data='/': a folder, not a data set. For your own images, write a YAML"),
        (("--data", "camvid", "--data-dir", "/nowhere"), "data_dir='/nowhere': no such folder"),
        (("--data", "camvid"), "data_dir (--data-dir): required for camvid"),
        (("--data", "no.yaml"), "no.yaml: no such file"),
        (("--recipe", "best"), "recipe='best': unknown"),
        (("--crop", "32"), "--crop: must be two numbers, such as 320x480"),
        (("--scale", "a,b"), "--scale: must be two numbers"),
        (("--batch-size", "0"), "batch_size=0"),
        (("--batch-size", "500"), "do not fill one batch of 500"),
        (("--backbone", "vgg61"), "backbone='vgg61': unknown"),
        (("--weights", "no.h5"), "weights='no.h5': no such file"),
        (("--freeze", "blok"), "no layer of"),
        (("--optimizer", "sgd", "--bias-layers", "scor_"), "bias_layers='scor_': no layer of"),
        (("--geometry", "reference"), "geometry='reference': the backbone 'tiny' does not support"),
        (("--mean", "vok"), "mean='vok': unknown; choose one of imagenet, voc"),
        (("--model", "fcn4s"), "fcn4s"),
        (("--stages", "8,16"), "stages=fcn8s,fcn16s: must be some of fcn32s,fcn16s,fcn8s"),
        (("--stages", "32,64"), "--stages 32,16,8), from coarse to fine"),
        (("--stages", "32,16", "--model", "fcn8s"), "already names the models"),
        (("--init-from", "/nowhere"), "/nowhere: no such file or folder"),
        (("--momentum", "0.9"), "Choose optimizer: sgd (--optimizer sgd)"),
        (("--optimizer", "adam"), "adam"),
        (("--skip-scales", "1"), "--skip-scales: must be two numbers, such as 0.01,0.0001"),
        (("--stage-rates", "1,b"), "--stage-rates: must be two numbers"),
        (("--sample-rate", "0"), "sample_rate=0"),
        (("--epochs", "1", "--iterations", "1"), "both end the run"),
        (("--epoch", "3"), "--epoch"),
    ],
)
def test_user_errors_print_one_line_and_exit_with_2(fcn_keras_cli, two_folders, arguments, message):
    base = ("--data", two_folders / "data.yaml", "--out", two_folders / "run", "--batch-size", 2)
    options = ("--backbone", "mobilenet_v2") if "--weights" in arguments else TINY
    status, _, err = fcn_keras_cli("train", *base, *options, *arguments)
    assert status == 2
    assert message in err and "Traceback" not in err


@pytest.mark.slow
def test_stages_and_one_more_stage_by_hand(fcn_keras_cli, two_folders):
    data, run = ("--data", two_folders / "data.yaml"), two_folders / "run"
    base = ("train", *data, *TINY, "--recipe", "heavy", "--iterations", 3)
    status, out, err = fcn_keras_cli(*base, "--out", run, "--stages", "32,16")
    assert status == 0, err
    assert [line for line in out.splitlines() if line.startswith("training")] == [
        "training fcn32s_tiny",
        "training fcn16s_tiny",
    ]
    assert re.search(r"epoch 1/1  loss \d,\d{3}  ", out)  # Summed over 2,184 pixels.
    for folder in (run, run / "32s", run / "16s"):
        assert {"model.keras", "config.yaml", "metrics.json"} <= set(os.listdir(folder))

    figures = two_folders / "figures.json"
    status, out, err = fcn_keras_cli("evaluate", run, *data, "--json", figures)
    assert status == 0, err
    written = json.loads((run / "16s" / "metrics.json").read_text())
    assert json.loads(figures.read_text())["confusion"] == written["confusion"]

    third = ("--out", two_folders / "8s", "--model", "fcn8s", "--init-from", run)
    status, out, err = fcn_keras_cli(*base, *third)
    assert status == 0, err
    row = next(csv.DictReader((two_folders / "8s" / "history.csv").read_text().splitlines()))
    assert float(row["learning_rate"]) == pytest.approx(1e-14)

    status, _, err = fcn_keras_cli(
        *base, *third, "--head-width", 8, "--out", two_folders / "narrow"
    )
    assert status == 2
    assert "fcn8s_tiny cannot start from fcn16s_tiny: a weight of 'fc6' has" in err
    status, _, err = fcn_keras_cli(*base, "--out", run, "--stages", "32,16")
    assert status == 2 and "already contains a run" in err

    reset = ("--reset-scores", "--out", two_folders / "reset")
    status, _, err = fcn_keras_cli(*base, *third, *reset)
    assert status == 0, err
    row = next(csv.DictReader((two_folders / "reset" / "history.csv").read_text().splitlines()))
    assert float(row["learning_rate"]) == pytest.approx(1e-10)
    status, _, err = fcn_keras_cli(*base, *reset, "--model", "fcn8s")
    assert status == 2 and "give init_from too" in err


def test_faults_in_the_data_stop_the_run_before_it_starts(fcn_keras_cli, two_folders):
    for number in (0, 1):
        path = two_folders / "train" / "masks" / f"{number}.png"
        Image.fromarray(np.full((40, 56), 77, "uint8")).save(path)
    status, _, err = fcn_keras_cli(
        "train", "--data", two_folders / "data.yaml", "--out", two_folders / "run", *TINY
    )
    assert status == 2
    assert err.count("label value 77") == 2 and "Traceback" not in err
    assert not (two_folders / "run" / "model.keras").exists()


def test_infinite_or_nan_loss_stops_the_run(fcn_keras_cli, two_folders):
    status, _, err = fcn_keras_cli(
        "train", "--data", two_folders / "data.yaml", "--out", two_folders / "run", *TINY,
        *("--batch-size", 2, "--crop", "32x32", "--learning-rate", 1e30),
    )  # fmt: skip
    assert status == 2
    assert "the loss became" in err and "a lower learning rate (--learning-rate)" in err


def test_quickstart_learns_and_prints_its_files(fcn_keras_cli, tmp_path, monkeypatch):
    short = {"epochs": 2, "validate_every": 2}
    monkeypatch.setitem(RECIPES, "quickstart", {**RECIPES["quickstart"], **short})
    status, out, err = fcn_keras_cli("quickstart", "--out", tmp_path / "run")
    assert status == 0, err
    # Predicting the background everywhere gives 0.16.
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["mean_iou"] > 0.2
    for name in ("report.html", "saved_model/1"):
        assert str(tmp_path / "run" / name) in out and (tmp_path / "run" / name).exists()
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 8


@pytest.mark.soak
def test_quickstart_reaches_its_promised_mean_iu(fcn_keras_cli, tmp_path):
    status, out, err = fcn_keras_cli("quickstart", "--out", tmp_path / "run")
    assert status == 0, err
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["mean_iou"] > 0.85
    assert str(tmp_path / "run" / "saved_model" / "1") in out
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 8


@pytest.mark.extra("openvino")
def test_export_for_other_engines_shows_the_loss_of_mean_iu(fcn_keras_cli, two_folders, untrained):
    data = ("--data", two_folders / "data.yaml")
    out = two_folders / "m.xml"
    arguments = ("export", untrained, "--out", out, "--format", "openvino", "--precision", "int8")
    status, printed, err = fcn_keras_cli(*arguments, *data)
    assert status == 0, err
    assert f"openvino int8: {out}" in printed and "pixels with the same class" in printed
    assert "mean IU on" in printed and "difference" in printed
    status, _, err = fcn_keras_cli(*arguments, *data)
    assert status == 2 and f"{out}: exists already" in err
    status, printed, err = fcn_keras_cli("export", untrained, "--out", two_folders / "m", *data)
    assert status == 0, err
    assert "mean IU on" in printed and "0.0000" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "int8"), "(--precision): a SavedModel must be float32"),
        (("--format", "litert", "--precision", "int8"), "--precision int8: needs training images"),
        (("--format", "onnx", "--freeze"), "(--freeze): only SavedModels support it"),
        (("--format", "onnx", "--max-pixels", "9"), "(--max-pixels): only SavedModels"),
        (("--format", "onnx", "--precision", "bfloat16"), "onnx supports only float32"),
        (("--format", "onnx"), "must end in .onnx"),
        (
            ("--out", "street.xml"),
            "street.xml: is a file name for openvino. Use format='openvino' (--f",
        ),
    ],
)
def test_export_rejects_invalid_combinations(
    fcn_keras_cli, untrained, tmp_path, arguments, message
):
    status, _, err = fcn_keras_cli("export", untrained, "--out", tmp_path / "m", *arguments)
    assert status == 2 and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "m").exists()
