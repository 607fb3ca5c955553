"""A finished run, and data for it."""

import shutil

import numpy as np
import pytest
from PIL import Image

CLASSES = ("<script>alert(1)</script>", "road", "car", "never there")


@pytest.fixture(scope="session")
def class_names():
    """The first would be run by a page that does not escape it; the last never occurs."""
    return CLASSES


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Four training and eleven validation images of four classes, one of which never occurs."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 11)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            mask = rng.integers(0, 3, (5, 7), "uint8").repeat(8, axis=0).repeat(8, axis=1)
            image = np.repeat(mask[..., None] * 80, 3, axis=-1)
            mask[0] = 255
            if split == "val" and number == 10:
                mask[:] = 255  # Has no mean IU.
            Image.fromarray(image).save(root / split / "images" / f"a&{number:02d}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"a&{number:02d}.png")
    (root / "data.yaml").write_text(
        "train: {images: train/images, masks: train/masks}\n"
        "val: {images: val/images, masks: val/masks}\n"
        f"classes: ['{CLASSES[0]}', {{name: road, colour: [128, 64, 128]}}, car, {CLASSES[3]}]\n"
    )
    return root / "data.yaml"


@pytest.fixture(scope="session")
def finished(data, run_command):
    """A finished run of 24 steps, which the tests must not change."""
    run = data.parent / "run"
    arguments = (
        *("train", "--data", data, "--out", run, "--backbone", "tiny", "--weights", "none"),
        *("--head-width", 16, "--batch-size", 2, "--crop", "32x48", "--learning-rate", 0.01),
        *("--epochs", 12, "--validate-every", 4, "--warmup-steps", 0),
    )
    assert run_command(*arguments) == 0
    return run


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"
