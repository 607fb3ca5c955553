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
# What is found for one of them is seldom wrong for the others.
NETS = [
    pytest.param(name, marks=() if name == "mobilenet_v2" else pytest.mark.slow) for name in THEIRS
]
# The colour that each preprocessing takes to zero, RGB.
MEAN = {
    "resnet50": (123.68, 116.779, 103.939),
    "mobilenet_v2": (127.5, 127.5, 127.5),
    "efficientnet_v2_b0": (0.485 * 255, 0.456 * 255, 0.406 * 255),
    "convnext_tiny": (0.485 * 255, 0.456 * 255, 0.406 * 255),
}


def randomised(net, seed=0):
    """Away from the starting values, by which half of a net's branches do nothing."""
    rng = np.random.default_rng(seed)
    for layer in net.layers:
        if "scale" in layer.name or isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1, w.shape) for w in layer.get_weights()])
    return net


def maps_of(net, names):
    """Outputs of layers, and of the addition before ConvNeXt's downsampling, which has no name."""
    operations = {operation.name: i for i, operation in enumerate(net.operations)}
    return [net.operations[operations[name] - ("downsampling" in name)].output for name in names]


def test_every_application_is_a_backbone():
    assert set(APPLICATIONS) == set(THEIRS) <= set(fcn_keras.BACKBONES)


@pytest.mark.parametrize("name", NETS)
def test_features_are_those_of_the_net_on_the_padded_image(name, tmp_path, rng):
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
def test_a_file_with_top_fills_the_same_layers(name, tmp_path):
    build = THEIRS[name][0]
    classifier = build(weights=None, classes=7)
    with h5py.File(tmp_path / "full.h5", "w") as file:  # As the published files are.
        legacy_h5_format.save_weights_to_hdf5_group(file, classifier)
    model = fcn_keras.FCN32s(3, backbone=name, weights=tmp_path / "full.h5")
    trunk = [w for w in model.weights if not w.path.startswith("score_fr")]
    # All but the top's kernel and bias; ConvNeXt's last normalisation stands in both.
    theirs = classifier.get_weights()[:-2]
    assert len(trunk) == len(theirs)
    for mine, expected in zip(trunk, theirs, strict=True):
        np.testing.assert_array_equal(np.asarray(mine).reshape(expected.shape), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", THEIRS)
def test_training_changes_all_layers(name, rng):
    model = randomised(fcn_keras.FCN8s(3, backbone=name, weights=None))
    image = rng.uniform(0, 255, (2, 40, 50, 3)).astype("float32")
    mask = rng.integers(0, 3, (2, 40, 50))
    model.compile(keras.optimizers.SGD(1.0), fcn_keras.MaskedCrossentropy())
    before = [np.array(w) for w in model.weights]
    for _ in range(2):  # The score layers start at zero, and so do the first gradients below them.
        model.train_on_batch(image, mask)
    same = [w.path for old, w in zip(before, model.weights, strict=True) if np.all(old == w)]
    # A linear bottleneck's shift is taken out again by the normalisations behind it.
    assert [path for path in same if not path.lower().endswith("project_bn/beta")] == []


@pytest.mark.parametrize("name", NETS)
def test_an_fcn8s_on_it_survives_saving(name, tmp_path, rng):
    model = randomised(fcn_keras.FCN8s(3, backbone=name, weights=None))
    model.get_layer("score_pool3").set_weights(
        [rng.normal(size=w.shape) for w in model.get_layer("score_pool3").get_weights()]
    )
    model.save(tmp_path / "model.keras")
    image = rng.integers(0, 256, (1, 33, 47, 3), "uint8")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(image), model(image))


@pytest.mark.parametrize("name", NETS)
def test_under_bfloat16_the_net_computes_in_it_and_the_logits_do_not(name):
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


def test_layers_have_the_same_names_in_every_model(weightless):
    first, second = (
        [layer.name for layer in fcn_keras.FCN16s(3, backbone="convnext_tiny", weights=None).layers]
        for _ in range(2)
    )
    assert first == second


def test_no_convolution_needs_xla(weightless):
    model = fcn_keras.FCN32s(3, backbone="convnext_tiny", weights=None)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert convolutions and all(layer.groups == 1 for layer in convolutions)


@pytest.mark.parametrize("name", NETS)
def test_offline_the_error_names_the_file_and_the_option(name, monkeypatch, weightless):
    def unreachable(fname, origin, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- no route")

    # What Keras raises without a network; the download itself cannot run in a test.
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", unreachable)
    with pytest.raises(WeightsError) as error:
        fcn_keras.FCN8s(3, backbone=name, weights="imagenet")
    assert "https://storage.googleapis.com/" in str(error.value)
    assert "weights=PATH" in str(error.value)


def test_weights_of_another_net_are_refused(tmp_path):
    net = keras.applications.MobileNetV2(include_top=False, weights=None)
    net.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(
        WeightsError, match=r"other\.weights\.h5: not the weights of .* ConvNeXtTin"
    ):
        fcn_keras.FCN8s(3, backbone="convnext_tiny", weights=tmp_path / "other.weights.h5")


def test_the_reference_has_no_geometry_for_them():
    with pytest.raises(ModelError, match="geometry='reference': the backbone 'resnet50' has no"):
        fcn_keras.BACKBONES["resnet50"](
            keras.Input((None, None, 3)),
            weights=None,
            head_width=1,
            dropout=0,
            geometry="reference",
        )
