import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores

import fcn_keras
from fcn_keras.errors import ModelError
from fcn_keras.surgery.transfer import start_from

TINY = {"backbone": "tiny", "weights": None}


@pytest.mark.parametrize("build", fcn_keras.MODELS.values())
@pytest.mark.parametrize("zoom", [0.4, 1.5])
def test_logits_have_the_image_size(build, zoom):
    model = build(4, zoom=zoom, **TINY)
    for size in ((1, 1), (61, 93), (32, 200)):
        assert model(np.zeros((2, *size, 3), "uint8")).shape == (2, *size, 4)


def test_zoomed_model_matches_model_on_enlarged_image(rng):
    plain = randomise_scores(fcn_keras.FCN8s(4, **TINY))
    zoomed = fcn_keras.FCN8s(4, zoom=1.5, **TINY)
    zoomed.set_weights(plain.get_weights())
    image = rng.integers(0, 256, (1, 41, 63, 3), "uint8")
    enlarged = tf.image.resize(image, (62, 94))  # 61.5 and 94.5, rounded half to even.
    expected = tf.image.resize(plain(enlarged, training=False), (41, 63))
    np.testing.assert_allclose(zoomed(image, training=False), expected, atol=1e-5)
    assert np.ptp(expected) > 1


def test_zoom_works_with_reference_geometry_and_several_inputs(rng):
    image = rng.integers(0, 256, (1, 40, 52, 3), "uint8")
    alexnet = {"backbone": "alexnet", "weights": None, "head_width": 8, "geometry": "reference"}
    assert fcn_keras.FCN32s(3, zoom=1.5, **alexnet)(image).shape == (1, 40, 52, 3)
    inputs = {"left": fcn_keras.Modality(), "right": fcn_keras.Modality()}
    late = fcn_keras.FCN8s(3, zoom=1.5, inputs=inputs, **TINY)
    assert late({"left": image, "right": image}).shape == (1, 40, 52, 3)


def test_zoom_is_saved_and_exported(tmp_path, rng):
    model = randomise_scores(fcn_keras.FCN8s(3, zoom=1.5, **TINY))
    image = rng.integers(0, 256, (35, 50, 3), "uint8")
    model.save(tmp_path / "model.keras")
    mask = fcn_keras.predict(model, image)
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(fcn_keras.predict(again, image), mask)
    version = fcn_keras.export(again, tmp_path / "saved").path
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    np.testing.assert_array_equal(serve(image=image[None])["mask"][0], mask)
    assert len(np.unique(mask)) > 1


def test_models_with_different_zoom_share_weights(tmp_path):
    plain = randomise_scores(fcn_keras.FCN8s(3, **TINY))
    plain.save(tmp_path / "plain.keras")
    zoomed = fcn_keras.FCN8s(3, zoom=2, **TINY)
    start = start_from(zoomed, tmp_path / "plain.keras")
    assert not start.zero and not start.bilinear and not start.left
    for theirs, ours in zip(plain.get_weights(), zoomed.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_invalid_zoom_is_rejected():
    for zoom in (0, -1.5, 11, "2"):
        with pytest.raises(ModelError, match=f"zoom={zoom!r}: must be a number from 0.1 to 10"):
            fcn_keras.FCN8s(3, zoom=zoom, **TINY)
