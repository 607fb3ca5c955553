import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def shared():
    """The folder of real data and weights; tests that need it are skipped where it is absent."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("FCN_KERAS_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set FCN_KERAS_SHARED)")
    return folder


@pytest.fixture
def two_folders(tmp_path):
    """A user's own data set of three classes: {train, val}/{images, masks} and data.yaml."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 256, (40, 56, 3), "uint8")
            mask = rng.integers(0, 3, (40, 56), "uint8")
            mask[0] = 255
            Image.fromarray(image).save(tmp_path / split / "images" / f"{i}.jpg")
            Image.fromarray(mask).save(tmp_path / split / "masks" / f"{i}.png")
    (tmp_path / "data.yaml").write_text(
        "train: {images: train/images, masks: train/masks}\n"
        "val: {images: val/images, masks: val/masks}\n"
        "classes: [ground, {name: road, colour: [128, 64, 128]}, car]\n"
    )
    return tmp_path
