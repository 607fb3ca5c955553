import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from test_models import randomise_scores

import fcn_keras
from fcn_keras.errors import ModelError


@pytest.fixture(scope="module")
def model():
    return randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None))


def test_versions_are_counted_and_never_replaced(model, tmp_path):
    (tmp_path / "street" / "7").mkdir(parents=True)
    (tmp_path / "street" / "7" / "keep").touch()
    assert fcn_keras.export(model, tmp_path / "street") == tmp_path / "street" / "8"
    assert fcn_keras.export(model, tmp_path / "street") == tmp_path / "street" / "9"
    assert sorted(p.name for p in (tmp_path / "street").iterdir()) == ["7", "8", "9"]
    assert (tmp_path / "street" / "7" / "keep").exists()


def test_the_signature_is_what_a_client_is_told(model, tmp_path):
    version = fcn_keras.export(model, tmp_path / "m")
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    (image,) = signature.structured_input_signature[1].values()
    assert (image.name, image.dtype, image.shape.as_list()) == (
        "image",
        tf.uint8,
        [None, None, None, 3],
    )
    assert signature.structured_outputs["mask"].dtype == tf.uint8
    assert signature.structured_outputs["mask"].shape.as_list() == [None, None, None]


@pytest.mark.slow
def test_a_process_without_this_package_gives_the_same_masks(model, tmp_path, rng):
    version = fcn_keras.export(model, tmp_path / "m")
    images = rng.integers(0, 256, (2, 45, 67, 3), "uint8")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        f"serve = tf.saved_model.load({str(version)!r}).signatures['serving_default']\n"
        f"images = tf.constant(np.load({str(tmp_path / 'images.npy')!r}))\n"
        f"np.save({str(tmp_path / 'masks.npy')!r}, serve(image=images)['mask'].numpy())\n"
        "assert 'fcn_keras' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    expected = [fcn_keras.predict(model, image) for image in images]
    np.testing.assert_array_equal(np.load(tmp_path / "masks.npy"), expected)


def test_a_folder_that_cannot_be_made_is_named(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot write there"):
        fcn_keras.export(model, tmp_path / "file" / "m")
