"""Every export format gives the masks of `predict`, on real images and odd sizes."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores
from PIL import Image

import fcn_keras
from fcn_keras.prediction import engines
from fcn_keras.prediction.readers import savedmodel
from fcn_keras.serving.writers.engine_file import write_engine
from pipelines import read_image

ODD_SIZES = [(1, 1), (31, 31), (337, 501), (3, 2000)]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", head_width=16, weights=None))


@pytest.fixture(scope="module")
def images(shared):
    rng = np.random.default_rng(0)
    camvid = sorted((shared / "data" / "camvid" / "val").iterdir())[::25]
    voc = sorted((shared / "data" / "voc_sample").rglob("JPEGImages/*.jpg"))
    assert len(camvid) >= 4 and voc
    noise = [rng.integers(0, 256, (*size, 3), "uint8") for size in ODD_SIZES]
    return [read_image(path) for path in (*camvid, *voc)] + noise


@pytest.fixture(scope="module")
def masks(model, images):
    return [fcn_keras.predict(model, image) for image in images]


@pytest.mark.parametrize("freeze", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_saved_model_gives_the_same_masks(model, images, masks, tmp_path, freeze):
    version = fcn_keras.export(model, tmp_path / "m", freeze=freeze).path
    with savedmodel.open_signature(version, "serving_default") as run:
        for image, mask in zip(images, masks, strict=True):
            np.testing.assert_array_equal(run(image=image[None])["mask"][0], mask)
    files = [tf.io.encode_png(image).numpy() for image in images]
    with savedmodel.open_signature(version, "encoded") as run:
        found = run(image_bytes=files)["mask_bytes"]
    for png, mask in zip(found, masks, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), mask)


@pytest.mark.parametrize(
    "format", [pytest.param(name, marks=pytest.mark.extra(name)) for name in engines.ENGINES]
)
def test_engines_give_the_same_masks(model, images, masks, tmp_path, format):
    path = tmp_path / f"m{engines.ENGINES[format].ending}"
    write_engine(model, path, format)
    run = engines.open_engine(path, precision="f32" if format == "openvino" else None)
    for image, mask in zip(images, masks, strict=True):
        # If two classes score almost equally, rounding may decide differently.
        assert (run(image[None])[0] == mask).mean() >= 0.9999


def test_tiled_prediction_gives_the_same_masks(model, images, masks):
    for image, mask in zip(images, masks, strict=True):
        assert (fcn_keras.predict(model, image, tile=320) == mask).mean() >= 0.9999
