"""`fcn-keras data init`: what it prints, refuses and writes for unusual names."""

import os
import re
import resource
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from drawn_folders import fill
from PIL import Image

import pipelines
from pipelines.examples import read_example

NOTOP = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path


@pytest.mark.parametrize("name", ["-dash", "two words", "it's", "$HOME", "a;b", "né", "--out"])
def test_printed_commands_can_be_pasted(here, fcn_keras_cli, name):
    fill(here / name)
    status, out, _ = fcn_keras_cli("data", "init", f"./{name}")
    assert status == 0
    lines = [shlex.split(line) for line in out.splitlines() if line.startswith("  fcn-keras ")]
    check, train = lines
    assert check[:3] == ["fcn-keras", "data", "check"]
    assert not check[3].startswith("-") and len(pipelines.read(check[3], "train"))
    assert fcn_keras_cli(*check[1:])[0] == 0
    assert train[:4] == ["fcn-keras", "train", "--data", check[3]]
    assert train[-2:] == ["--out", f"runs/{name}"]


@pytest.mark.parametrize("arguments", [("check", "my data"), ("check", "./-data")])
def test_a_folder_given_as_data_set_names_the_command(here, fcn_keras_cli, arguments):
    fill(here / arguments[1])
    status, _, err = fcn_keras_cli("data", *arguments)
    command = err.split("`")[1]
    assert status == 2 and fcn_keras_cli(*shlex.split(command)[1:])[0] == 0


@pytest.mark.parametrize("cached", [False, True])
def test_weights_are_named_unless_they_are_cached(here, fcn_keras_cli, cached):
    fill(here / "data")
    if cached:
        (here / "keras/models").mkdir(parents=True)
        (here / "keras/models" / NOTOP).write_bytes(b"")
    _, out, _ = fcn_keras_cli("data", "init", "data")
    assert ("--weights FILE" in out) != cached


@pytest.mark.parametrize("name", ["instances.json", "data.yaml", "images.zip"])
def test_a_file_is_not_called_a_missing_folder(here, fcn_keras_cli, name):
    (here / name).write_text("{}")
    status, _, err = fcn_keras_cli("data", "init", name)
    assert status == 2 and err == (
        f"error: {name}: a file, not a folder. Give the folder that holds the images and masks.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x" * 300,), "no such folder"),
        (("data", "--out", "x" * 300 + ".yaml"), "this name is too long for a file"),
        (("data", "--out", "x" * 300 + "/a.yaml"), "does not exist"),
        (("data", "--masks", "x" * 300), "no such folder with image files"),
        (("x" * 253,), "this name is too long for a file. Choose a shorter one with --out"),
    ],
)
def test_long_names_are_refused_in_one_line(here, fcn_keras_cli, arguments, message):
    fill(here / "data")
    fill(here / ("x" * 253))
    status, _, err = fcn_keras_cli("data", "init", *arguments)
    assert status == 2 and message in err and err.count("\n") == 1
    assert not list(here.glob("*.yaml"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("place", ["root", "images", "unused", "above"])
def test_names_that_are_not_utf8(here, fcn_keras_cli, place):
    bad = os.fsdecode(b"caf\xe9")
    root = here / (bad if place == "above" else ".") / (bad if place == "root" else "data")
    fill(root, images=f"{f'{bad} images' if place == 'images' else 'images'}/{{}}.jpg")
    if place == "unused":
        fill(root, f"{bad}/x{{}}.jpg", f"{bad}/unused.png", [0])
    out = here / "made.yaml"
    arguments = [os.fsencode(one) for one in ("data", "init", root, "--out", out)]
    code = "from fcn_keras.cli import main as cli; cli.main()"
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True)
    assert b"Traceback" not in result.stderr
    if place != "unused":
        assert result.returncode == 2 and not out.exists()
        assert b"this name is not UTF-8, so a YAML file cannot hold it" in result.stderr
    else:
        assert result.returncode == 0 and len(pipelines.read(out, "train"))
        assert "caf\\udce9 (2 files)" in out.read_text("utf-8")
    if place == "above":  # Beside the data, its name is in no path of the YAML file.
        assert fcn_keras_cli("data", "init", root, "--out", root.parent / "a.yaml")[0] == 0
        assert len(pipelines.read(root.parent / "a.yaml", "train"))
    if place == "root":
        assert fcn_keras_cli("data", "init", root)[0] == 2
        assert not list(here.glob("*.yaml"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_file_names_that_are_not_utf8_are_used(here, fcn_keras_cli):
    fill(here / "data", names=[os.fsdecode(b"caf\xe9 %d" % i) for i in range(5)])
    assert fcn_keras_cli("data", "init", "data")[0] == 0
    assert fcn_keras_cli("data", "check", "data.yaml", "--json", "all.json")[0] == 0


def jpeg_masks(root):
    """Black-and-white masks of 6 images: 480 of 2,240 pixels are white, apart from compression."""
    for name in range(6):
        fill(root, names=[name])
        (root / f"masks/{name}.png").unlink()
        pixels = np.zeros((40, 56), "uint8")
        pixels[8:28, 16:40] = 255
        Image.fromarray(pixels).save(root / f"masks/{name}.jpg", quality=60)


def test_jpeg_masks_have_a_way_through(here, fcn_keras_cli):
    jpeg_masks(here / "data")
    status, _, err = fcn_keras_cli("data", "init", "data")
    assert status == 2 and err.count("\n") == 1 and not (here / "data.yaml").exists()
    assert "all 6 masks are JPEG" in err and "`mask_nearest: true`" in err
    option = re.search(r"add (--mask-threshold \d+) for black and white", err)[1]
    assert fcn_keras_cli("data", "init", "data", *option.split())[0] == 0
    assert fcn_keras_cli("data", "check", "data.yaml")[0] == 0
    split = pipelines.read("data.yaml", "train")
    assert split.class_names == ("background", "class_1")
    assert np.bincount(read_example(split, 0)[1].ravel()).tolist() == [2240 - 480, 480]


@pytest.mark.parametrize("value", ["-1", "255", "half"])
def test_a_threshold_must_leave_two_classes(here, fcn_keras_cli, value):
    jpeg_masks(here / "data")
    assert fcn_keras_cli("data", "init", "data", "--mask-threshold", value)[0] == 2
    assert not (here / "data.yaml").exists()


def test_a_full_disk_leaves_no_file(here, fcn_keras_cli):
    fill(here / "data")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        status, _, err = fcn_keras_cli("data", "init", "data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert status == 2 and err.startswith("error: data.yaml: File too large. Free some space")
    assert [path.name for path in here.iterdir()] == ["data"]
    assert fcn_keras_cli("data", "init", "data")[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_output_that_fails_leaves_no_file(here):
    fill(here / "data")
    code = "from fcn_keras.cli import main as cli; cli.main()"
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-c", code, "data", "init", "data"],
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert result.returncode != 0 and b"Traceback" not in result.stderr
    assert not (here / "data.yaml").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_an_output_whose_name_is_not_utf8_is_refused(here, fcn_keras_cli):
    fill(here / "data")
    status, _, err = fcn_keras_cli("data", "init", "data", "--out", os.fsdecode(b"x\xff.yaml"))
    assert status == 2 and "this name is not UTF-8. Choose another name" in err
    assert [path.name for path in here.iterdir()] == ["data"]
