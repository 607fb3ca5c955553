"""`fcn-keras data convert`, what `data init` says of annotations, and training on the result."""

import shlex

import pytest
from drawn_folders import fill
from exports import SQUARE, coco, labelme, picture

import fcn_keras


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(count):
    return [{"id": n, "file_name": f"{n}.png", "height": 64, "width": 64} for n in range(count)]


def test_the_printed_commands_can_be_pasted(here, fcn_keras_cli):
    annotations = [{"image_id": n, "segmentation": [SQUARE]} for n in range(4)]
    coco(here / "my export", annotations, images=images(4))
    status, out, err = fcn_keras_cli("data", "init", "./my export")
    (line,) = [line for line in out.splitlines() if line.startswith("  fcn-keras ")]
    assert status == 2 and not err and "`image_id`" in out
    status, out, err = fcn_keras_cli(*shlex.split(line)[1:])
    assert status == 0 and "train: 4 images" in out and not err
    check, train = [shlex.split(line) for line in out.splitlines() if line.startswith("  fcn-ker")]
    assert train[:4] == ["fcn-keras", "train", "--data", "my export_masks/data.yaml"]
    status, out, _ = fcn_keras_cli(*check[1:])
    assert status == 0 and "no faults" in out


def test_options_reach_the_conversion(here, fcn_keras_cli):
    labelme(here / "DATA", [("cat", "line", [[5, 5], [15, 5]]), ("dog", "point", [[20, 15]])])
    run = ("data", "convert", "DATA", "--out", "out", "--format", "labelme")
    status, out, _ = fcn_keras_cli(*run, "--lines", "2", "--merge", "cat,dog=pet")
    assert status == 0 and "pet" in out
    status, out, _ = fcn_keras_cli(*run, "--keep", "cat,dog", "--lines", "0")
    assert status == 0 and "left out: 2 x line or point without a width" in out
    picture(here / "DATA/b.png")
    labelme(here / "DATA", [("cat", "point", [[5, 5]])], name="b.json", image="", imagePath="c.png")
    (here / "DATA/b.png").unlink()
    status, _, err = fcn_keras_cli(*run)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and "c.png" in err
    status, out, err = fcn_keras_cli(*run, "--on-bad-file", "skip")
    assert status == 0 and err.startswith("warning: ") and "train: 1 image\n" in out


def test_init_tells_of_annotations_beside_masks(here, fcn_keras_cli):
    fill(here / "data")
    labelme(here / "data/json", [("cat", "point", [[5, 5]])])
    status, out, _ = fcn_keras_cli("data", "init", "data")
    assert status == 0 and (here / "data.yaml").exists()
    assert "annotations in the format labelme: json/a.json" in out


def drawn_coco(root):
    annotations = [
        {"image_id": n, "segmentation": [[8, 8, 50, 8, 50, 40, 8, 40]]} for n in range(6)
    ]
    coco(root, annotations, images=images(6))


def drawn_labelme(root):
    for n in range(6):
        shapes = [("cat", "rectangle", [[8, 8], [50, 40]])]
        labelme(root, shapes, name=f"{n}.json", image=f"{n}.png", size=(64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("draw", [drawn_coco, drawn_labelme])
def test_a_training_runs_from_what_is_written(here, run_command, draw):
    draw(here / "export")
    assert run_command("data", "convert", "export", "--out", "masks") == 0
    options = {"epochs": 1, "crop": (64, 64), "batch_size": 2, "head_width": 16}
    result = fcn_keras.train("quickstart", data="masks/data.yaml", out="run", **options)
    assert result is not None and (here / "run/finished.json").exists()
