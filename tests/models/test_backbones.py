import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

import fcn_keras
from fcn_keras.errors import WeightsError


def write(model, path):
    """Saves weights in the format of Keras 3 (.weights.h5) or of keras.applications (.h5)."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


@pytest.fixture(scope="module")
def trunk():
    return keras.applications.VGG16(include_top=False, weights=None)


@pytest.mark.parametrize("name", ["notop.weights.h5", "notop.h5"])
def test_file_without_top_loads_into_trunk_with_warning(trunk, tmp_path, name, caplog):
    model = fcn_keras.FCN32s(3, weights=write(trunk, tmp_path / name), head_width=8)
    for layer in trunk.layers:
        for ours, theirs in zip(
            model.get_layer(layer.name).get_weights() if layer.weights else [],
            layer.get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert "fc6 and fc7 start from He initialisation" in caplog.text
    kernel = model.get_layer("fc6").get_weights()[0]
    assert kernel.std() == pytest.approx(np.sqrt(2 / (7 * 7 * 512)), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full.weights.h5", "full.h5"])
def test_fc6_and_fc7_match_fc1_and_fc2_of_the_classifier(tmp_path, name, rng):
    classifier = keras.applications.VGG16(weights=None, classes=5)
    model = fcn_keras.FCN32s(3, weights=write(classifier, tmp_path / name))
    image = rng.uniform(0, 255, (1, 224, 224, 3)).astype("float32")
    fc2 = keras.Model(classifier.input, classifier.get_layer("fc2").output)
    expected = fc2(keras.applications.vgg16.preprocess_input(image.copy()))
    fc7 = keras.Model(model.input, model.get_layer("fc7").output)(image)
    # The middle cell of the 7 x 7 map sees the whole map, like the Dense layer.
    np.testing.assert_allclose(fc7[:, 3, 3], expected, rtol=1e-4, atol=1e-5)


def test_imagenet_weights_load(shared, caplog):
    file = shared / "weights" / "vgg16_imagenet_notop.weights.h5"
    model = fcn_keras.FCN8s(3, weights=file, head_width=8)
    # Trained filters: conv1_1 has strong edges, unlike any initialisation.
    assert np.abs(model.get_layer("block1_conv1").get_weights()[0]).max() > 0.5


def test_failed_download_names_the_file(monkeypatch, weightless):
    def unreachable(fname, origin, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- no route")

    # Keras raises this without a network; tests cannot run the download itself.
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", unreachable)
    for head_width, md5 in (
        (4096, "64373286793e3c8b2b4e3219cbf3544b"),
        (64, "6d6bbae143d832006294945121d1f1fc"),
    ):
        with pytest.raises(WeightsError) as error:
            fcn_keras.FCN32s(3, weights="imagenet", head_width=head_width)
        assert md5 in str(error.value)
        assert "weights=PATH" in str(error.value) and "vgg16_weights_tf" in str(error.value)


def test_files_without_vgg16_weights_are_rejected(tmp_path):
    garbage = tmp_path / "garbage.weights.h5"
    garbage.write_bytes(b"\x89HDF\r\n" + b"0" * 1000)
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    for path, message in (
        (tmp_path / "missing.h5", "no such file"),
        (garbage, "corrupt, or not an HDF5 file"),
        (write(other, tmp_path / "other.weights.h5"), "not the weights of keras.applications' VGG"),
        (write(other, tmp_path / "other.h5"), "not the weights of keras.applications' VGG"),
    ):
        with pytest.raises(WeightsError) as error:
            fcn_keras.FCN32s(3, weights=path, head_width=8)
        assert str(path) in str(error.value) and message in str(error.value)


def test_tiny_backbone_rejects_weights():
    with pytest.raises(WeightsError, match="weights=None"):
        fcn_keras.FCN8s(3, backbone="tiny")
