import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

import fcn_keras
from fcn_keras.errors import ModelError, WeightsError
from fcn_keras.models.applications import APPLICATIONS

# By backbone: keras.applications' constructor and preprocessing, and its last maps of stride 8, 16.
THEIRS = {
    "resnet50": (
        keras.applications.ResNet50,
        keras.applications.resnet50.preprocess_input,
        ("conv3_block4_out", "conv4_block6_out"),
    ),
    "mobilenet_v2": (
        keras.applications.MobileNetV2,
        keras.applications.mobilenet_v2.preprocess_input,
        ("block_6_expand_relu", "block_13_expand_relu"),
    ),
    "efficientnet_v2_b0": (
        keras.applications.EfficientNetV2B0,
        keras.applications.efficientnet_v2.preprocess_input,
        ("block4a_expand_activation", "block6a_expand_activation"),
    ),
    "convnext_tiny": (
        keras.applications.ConvNeXtTiny,
        keras.applications.convnext.preprocess_input,
        ("convnext_tiny_downsampling_block_1", "convnext_tiny_downsampling_block_2"),
    ),
}
# One model in the quick tests; the others rarely behave differently.
NETS = [
    pytest.param(name, marks=() if name == "mobilenet_v2" else pytest.mark.slow) for name in THEIRS
]
# The colour that each preprocessing maps to zero, RGB.
MEAN = {
    "resnet50": (123.68, 116.779, 103.939),
    "mobilenet_v2": (127.5, 127.5, 127.5),
    "efficientnet_v2_b0": (0.485 * 255, 0.456 * 255, 0.406 * 255),
    "convnext_tiny": (0.485 * 255, 0.456 * 255, 0.406 * 255),
}


def randomised(net, seed=0):
    """Changes the initial values, with which half of the branches output zero."""
    rng = np.random.default_rng(seed)
    for layer in net.layers:
        if "scale" in layer.name or isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1, w.shape) for w in layer.get_weights()])
    return net


def maps_of(net, names):
    """Returns layer outputs; for ConvNeXt's downsampling, the unnamed addition before it."""
    operations = {operation.name: i for i, operation in enumerate(net.operations)}
    return [net.operations[operations[name] - ("downsampling" in name)].output for name in names]


def test_applications_are_backbones():
    assert set(APPLICATIONS) == set(THEIRS) <= set(fcn_keras.BACKBONES)


@pytest.mark.parametrize("name", NETS)
def test_features_match_keras_applications_on_padded_image(name, tmp_path, rng):
    build, preprocess, taps = THEIRS[name]
    net = randomised(build(include_top=False, weights=None))
    net.save_weights(tmp_path / "notop.weights.h5")
    image = rng.integers(0, 256, (1, 61, 93, 3), "uint8")
    canvas = np.tile(np.array(MEAN[name], "float32"), (1, 64, 96, 1))
    canvas[:, 1:62, 1:94] = image
    theirs = keras.Model(net.input, [*maps_of(net, taps), net.output])(preprocess(canvas))

    inputs = keras.Input((None, None, 3))
    ours = fcn_keras.BACKBONES[name](
        inputs, weights=tmp_path / "notop.weights.h5", head_width=1, dropout=0.5
    )
    ours = keras.Model(inputs, [ours[8], ours[16], ours[32]])(image)
    for stride, mine, expected in zip((8, 16, 32), ours, theirs, strict=True):
        assert mine.shape[1:3] == (64 // stride, 96 // stride)
        scale = np.abs(expected).max()
        assert np.std(expected) > 1e-3 * scale > 0
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("name", NETS)
def test_file_with_top_loads_into_the_same_layers(name, tmp_path):
    build = THEIRS[name][0]
    classifier = build(weights=None, classes=7)
    with h5py.File(tmp_path / "full.h5", "w") as file:  # The format of the published files.
        legacy_h5_format.save_weights_to_hdf5_group(file, classifier)
    model = fcn_keras.FCN32s(3, backbone=name, weights=tmp_path / "full.h5")
    trunk = [w for w in model.weights if not w.path.startswith("score_fr")]
    # All except the top's kernel and bias; ConvNeXt's last normalisation is in both.
    theirs = classifier.get_weights()[:-2]
    assert len(trunk) == len(theirs)
    for mine, expected in zip(trunk, theirs, strict=True):
        np.testing.assert_array_equal(np.asarray(mine).reshape(expected.shape), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", THEIRS)
def test_training_updates_all_layers(name, rng):
    model = randomised(fcn_keras.FCN8s(3, backbone=name, weights=None))
    image = rng.uniform(0, 255, (2, 40, 50, 3)).astype("float32")
    mask = rng.integers(0, 3, (2, 40, 50))
    model.compile(keras.optimizers.SGD(1.0), fcn_keras.MaskedCrossentropy())
    before = [np.array(w) for w in model.weights]
    for _ in range(2):  # Score layers start at zero, so the first gradients below them are zero.
        model.train_on_batch(image, mask)
    same = [w.path for old, w in zip(before, model.weights, strict=True) if np.all(old == w)]
    # The normalisations after a linear bottleneck cancel its shift.
    assert [path for path in same if not path.lower().endswith("project_bn/beta")] == []


@pytest.mark.parametrize("name", NETS)
def test_fcn8s_can_be_saved(name, tmp_path, rng):
    model = randomised(fcn_keras.FCN8s(3, backbone=name, weights=None))
    model.get_layer("score_pool3").set_weights(
        [rng.normal(size=w.shape) for w in model.get_layer("score_pool3").get_weights()]
    )
    model.save(tmp_path / "model.keras")
    image = rng.integers(0, 256, (1, 33, 47, 3), "uint8")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(image), model(image))


@pytest.mark.parametrize("name", NETS)
def test_bfloat16_models_have_float32_logits(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = fcn_keras.FCN8s(3, backbone=name, weights=None)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("drop").compute_dtype == "bfloat16"
    assert model.get_layer("preprocessing").compute_dtype == "float32"
    logits = model(np.zeros((2, 33, 70, 3), "uint8"))
    assert logits.shape == (2, 33, 70, 3) and logits.dtype == "float32"


def test_layer_names_are_the_same_in_every_model(weightless):
    first, second = (
        [layer.name for layer in fcn_keras.FCN16s(3, backbone="convnext_tiny", weights=None).layers]
        for _ in range(2)
    )
    assert first == second


def test_grouped_convolutions_are_depthwise(weightless):
    model = fcn_keras.FCN32s(3, backbone="convnext_tiny", weights=None)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert convolutions and all(layer.groups == 1 for layer in convolutions)


@pytest.mark.parametrize("name", NETS)
def test_failed_download_names_file_and_option(name, monkeypatch, weightless):
    def unreachable(fname, origin, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- no route")

    # Keras raises this without a network; tests cannot run the download itself.
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", unreachable)
    with pytest.raises(WeightsError) as error:
        fcn_keras.FCN8s(3, backbone=name, weights="imagenet")
    assert "https://storage.googleapis.com/" in str(error.value)
    assert "weights=PATH" in str(error.value)


def test_weights_of_another_model_are_rejected(tmp_path):
    net = keras.applications.MobileNetV2(include_top=False, weights=None)
    net.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(
        WeightsError, match=r"other\.weights\.h5: not the weights of .* ConvNeXtTin"
    ):
        fcn_keras.FCN8s(3, backbone="convnext_tiny", weights=tmp_path / "other.weights.h5")


def test_reference_geometry_is_rejected():
    with pytest.raises(ModelError, match="geometry='reference': the backbone 'resnet50' does not"):
        fcn_keras.BACKBONES["resnet50"](
            keras.Input((None, None, 3)),
            weights=None,
            head_width=1,
            dropout=0,
            geometry="reference",
        )
