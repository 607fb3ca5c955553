import keras
import numpy as np
import pytest
from numpy_caffe import Caffe

import fcn_keras
from fcn_keras.errors import ModelError, WeightsError
from fcn_keras.layers.caffe import CeilMaxPooling2D, GroupedConv2D, LocalResponseNormalization
from fcn_keras.models.classifiers.alexnet import AlexNet
from fcn_keras.models.classifiers.googlenet import GoogLeNet

BUILDERS = {"alexnet": AlexNet, "googlenet": GoogLeNet}


class Models(Caffe):
    def alexnet(self, x):
        x = self.lrn(self.pool(self.relu_conv(x, "conv1", stride=4)))
        x = self.lrn(self.pool(self.relu_conv(x, "conv2", pad=2, groups=2)))
        x = self.relu_conv(x, "conv3", pad=1)
        x = self.relu_conv(self.relu_conv(x, "conv4", pad=1, groups=2), "conv5", pad=1, groups=2)
        x = np.maximum(self.dense(self.pool(x), "fc6"), 0)
        return self.dense(np.maximum(self.dense(x, "fc7"), 0), "fc8")

    def googlenet(self, x):
        x = self.lrn(self.pool(self.relu_conv(x, "conv1_7x7_s2", pad=3, stride=2)))
        x = self.lrn(self.relu_conv(self.relu_conv(x, "conv2_3x3_reduce"), "conv2_3x3", pad=1))
        x = self.pool(x)
        for module in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
            name = f"inception_{module}"
            if module in ("4a", "5a"):
                x = self.pool(x)
            branches = (
                self.relu_conv(x, f"{name}_1x1"),
                self.relu_conv(self.relu_conv(x, f"{name}_3x3_reduce"), f"{name}_3x3", pad=1),
                self.relu_conv(self.relu_conv(x, f"{name}_5x5_reduce"), f"{name}_5x5", pad=2),
                self.relu_conv(self.pool(x, stride=1, pad=1), f"{name}_pool_proj"),
            )
            x = np.concatenate(branches, -1)
        return self.dense(x.mean((0, 1)), "loss3_classifier")


@pytest.mark.parametrize(
    ("name", "parameters", "size"), [("alexnet", 60_965_224, 227), ("googlenet", 6_998_552, 224)]
)
def test_parameter_counts_match_published_ones(weightless, name, parameters, size):
    model = BUILDERS[name]()
    assert model.count_params() == parameters
    assert model.input_shape == (None, size, size, 3)


@pytest.mark.parametrize(
    ("name", "size"), [pytest.param("alexnet", 227, marks=pytest.mark.slow), ("googlenet", 224)]
)
def test_logits_match_caffe(name, size, rng):
    model = BUILDERS[name](classifier_activation=None)
    for layer in model.layers:  # With Keras' small initial weights, LRN would have no effect.
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([1.5 * kernel, rng.normal(scale=0.1, size=bias.shape)])
    image = rng.uniform(-124, 151, (size, size, 3))
    expected = getattr(Models(model), name)(image)
    logits = np.asarray(model(image[None].astype("float32")))[0]
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("alexnet", {"conv1": 55, "pool1": 27, "pool2": 13, "pool5": 6}),
        (
            "googlenet",
            {
                "conv1_7x7_s2": 112,
                "pool1_3x3_s2": 56,
                "pool2_3x3_s2": 28,
                "pool3_3x3_s2": 14,
                "pool4_3x3_s2": 7,
                "inception_5b_output": 7,
            },
        ),
    ],
)
def test_map_sizes_match_caffe(name, sides):
    size = {"alexnet": 227, "googlenet": 224}[name]
    model = BUILDERS[name](include_top=False, input_shape=(size, size, 3))
    for layer, side in sides.items():
        assert model.get_layer(layer).output.shape[1:3] == (side, side)


def test_lrn_matches_caffe(rng):
    x = rng.normal(scale=50, size=(2, 3, 4, 11))
    actual = LocalResponseNormalization(5, 1e-2, 0.75)(x.astype("float32"))
    expected = [Caffe.lrn(image, 5, 1e-2, 0.75) for image in x]
    assert np.abs(expected / x).min() < 0.5
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("incomplete", ["last", "first"])
@pytest.mark.parametrize("size", range(3, 9))
def test_pooling_rounds_up_like_caffe(size, incomplete, rng):
    x = rng.normal(size=(1, size, 13 - size, 2)).astype("float32") - 9  # Zero padding would show.
    layer = CeilMaxPooling2D(3, 2, incomplete)
    if incomplete == "last":
        expected = Caffe.pool(x[0])
    else:
        expected = Caffe.pool(x[0, ::-1, ::-1])[::-1, ::-1]
    np.testing.assert_array_equal(layer(x)[0], expected)
    assert layer.compute_output_shape(x.shape) == (1, *expected.shape)
    assert layer.compute_output_shape((None, None, size, 2))[:2] == (None, None)


def test_map_smaller_than_window_pools_to_one_cell(rng):
    for size in (1, 2):
        x = rng.normal(size=(1, size, size, 2)).astype("float32") - 9
        layer = CeilMaxPooling2D(3, 2)
        assert layer.compute_output_shape(x.shape) == (1, 1, 1, 2)
        np.testing.assert_array_equal(layer(x)[0, 0, 0], x.max((0, 1, 2)))


def test_grouped_convolutions_match_keras(rng):
    x = rng.normal(size=(2, 9, 8, 4)).astype("float32")
    inputs = keras.Input((None, None, 4))
    options = {"filters": 6, "kernel_size": 3, "groups": 2, "padding": "same"}
    ours = keras.Model(inputs, GroupedConv2D(**options)(inputs))
    theirs = keras.Model(inputs, keras.layers.Conv2D(**options)(inputs))
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    for model in (ours, theirs):
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.train_on_batch(x, np.ones((2, 9, 8, 6), "float32"))
    for mine, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", BUILDERS)
def test_models_without_top_take_any_size(name, rng):
    image = rng.normal(size=(1, 96, 131, 3)).astype("float32")
    model = BUILDERS[name](include_top=False)
    maps = np.asarray(model(image))
    assert maps.shape[3] == {"alexnet": 256, "googlenet": 1024}[name]
    for pooling, pool in (("avg", np.mean), ("max", np.max)):
        pooled = BUILDERS[name](include_top=False, pooling=pooling)
        pooled.set_weights(model.get_weights())
        np.testing.assert_allclose(pooled(image), pool(maps, (1, 2)), rtol=1e-4, atol=1e-5)


def test_input_tensor_may_belong_to_another_model(rng):
    image = keras.Input((64, 64, 1))
    colour = keras.layers.Concatenate()([image, image, image])
    model = GoogLeNet(include_top=False, input_tensor=colour, name="grey")
    assert model.name == "grey"
    assert model(rng.normal(size=(1, 64, 64, 1))).shape == (1, 2, 2, 1024)


@pytest.mark.parametrize("name", BUILDERS)
def test_classifiers_can_be_saved(name, tmp_path, rng):
    model = BUILDERS[name](include_top=False, pooling="max")
    image = rng.normal(size=(1, 67, 90, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(image), model(image))
    model.save_weights(tmp_path / "model.weights.h5")
    again = BUILDERS[name](False, weights=tmp_path / "model.weights.h5", pooling="max")
    np.testing.assert_array_equal(again(image), model(image))


@pytest.mark.parametrize("name", BUILDERS)
def test_invalid_arguments_are_rejected(name, tmp_path):
    build = BUILDERS[name]
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "garbage.weights.h5").write_bytes(b"0" * 1000)
    for error, options, message in (
        (ModelError, {"input_shape": (None, None, 3)}, "the size must be fixed"),
        (ModelError, {"input_shape": (10, 10, 3)}, "at least"),
        (ModelError, {"include_top": False, "pooling": "min"}, "pooling='min'"),
        (ModelError, {"pooling": ["avg"]}, "pooling=['avg']: must be None, 'avg' or 'max'"),
        (ModelError, {"include_top": "no"}, "include_top='no': must be True or False"),
        (ModelError, {"weights": 5}, "weights=5: must be the path of a file, or None"),
        (ModelError, {"classes": 0}, "classes=0: must be an integer of at least 1"),
        (ModelError, {"classes": 2.5}, "classes=2.5: must be an integer of at least 1"),
        (ModelError, {"name": None}, "name=None: must be a text"),
        (ModelError, {"classifier_activation": "sofmax"}, "classifier_activation='sofmax': unkn"),
        (ModelError, {"input_shape": 224}, "input_shape=224: must be (height, width, channels)"),
        (ModelError, {"input_shape": (224, 224)}, "must be (height, width, channels)"),
        (ModelError, {"input_shape": (224.0, 224, 3)}, "must be (height, width, channels)"),
        (ModelError, {"input_tensor": np.zeros((1, 224, 224, 3))}, "input_tensor: must be a Keras"),
        (ModelError, {"input_tensor": keras.Input((224, 3))}, "input_tensor: must be a Keras"),
        (
            WeightsError,
            {"weights": "imagenet"},
            "fcn_keras.surgery.caffe.load_weights reads Caffe's",
        ),
        (WeightsError, {"weights": "missing.weights.h5"}, "'missing.weights.h5': no such file"),
        (WeightsError, {"weights": tmp_path / "garbage.weights.h5"}, "garbage.weights.h5: corrupt"),
        (WeightsError, {"weights": tmp_path / "other.weights.h5"}, "other.weights.h5: not the wei"),
    ):
        if "weights" in options:
            options["include_top"] = False  # AlexNet with top has hundreds of megabytes.
        with pytest.raises(error) as caught:
            build(**{"input_shape": (224, 224, 3), **options})
        assert message in str(caught.value)


def test_image_smaller_than_the_first_window_is_rejected():
    with pytest.raises(ModelError, match="the size must be at least 11 x 11"):
        AlexNet(include_top=False, input_shape=(10, None, 3))
    assert GoogLeNet(False, input_shape=(1, 1, 3)).output_shape == (None, 1, 1, 1024)
    # By hand: 222 pixels give 111, 55, 27, 13, 6 cells, and the classifier averages 7 x 7.
    with pytest.raises(ModelError, match="the size must be at least 223 x 223"):
        GoogLeNet(input_shape=(222, 224, 3))


def test_numpy_numbers_are_numbers():
    shape = (np.int64(223), np.int32(224), np.uint8(3))
    model = GoogLeNet(np.bool_(True), input_shape=shape, classes=np.int64(7))
    assert model.input_shape == (None, 223, 224, 3) and model.output_shape == (None, 7)


# FCN-32s with these backbones.


@pytest.mark.parametrize(("name", "millions"), [("alexnet", 57), ("googlenet", 6)])
def test_fcn_parameter_counts_match_the_paper(weightless, name, millions):
    model = fcn_keras.FCN32s(21, backbone=name, weights=None)
    assert round(model.count_params() / 1e6) == millions  # Table 1


@pytest.mark.parametrize("name", BUILDERS)
def test_scores_have_one_cell_per_32_pixels(name):
    model = fcn_keras.FCN32s(3, backbone=name, weights=None, head_width=8)
    scores = keras.Model(model.input, model.get_layer("score_fr").output)
    for height, width in ((1, 33), (61, 93), (64, 160)):
        image = np.zeros((1, height, width, 3), "uint8")
        assert scores(image).shape == (1, -(-height // 32), -(-width // 32), 3)
        assert model(image).shape == (1, height, width, 3)


@pytest.mark.parametrize(
    ("name", "size"),
    # The paper's 907 includes 192 pixels of the average pooling, which is left out here.
    [("alexnet", 355), ("googlenet", 907 - 6 * 32)],
)
def test_receptive_fields_are_centred_within_two_pixels(name, size):
    model = fcn_keras.FCN32s(2, backbone=name, weights=None, head_width=1)
    for layer in model.layers:  # No weight is negative, so any visible pixel raises a score.
        if layer.weights:
            layer.set_weights([np.full(w.shape, (w.ndim > 1) * 1e-2) for w in layer.get_weights()])
    net = keras.Model(model.get_layer("pad").output, model.get_layer("score_fr").output)
    cells = size // 32 // 2 + 1
    side, middle = 32 * (2 * cells + 1), 32 * cells + 15.5
    first = round(middle - 1.5 - (size - 1) / 2)
    rows = (first - 1, first, first + size - 1, first + size)
    images = np.zeros((4, side, 32, 3), "float32")
    for image, row in zip(images, rows, strict=True):
        image[row] = 1e4
    scores = np.asarray(net(images))[:, cells, 0, 0]
    np.testing.assert_array_equal(scores > 0, [False, True, True, False])


def test_reference_geometry_pads_100_pixels():
    image = keras.Input((500, 375, 3))
    taps = fcn_keras.BACKBONES["alexnet"](
        image, weights=None, head_width=2, dropout=0, geometry="reference"
    )
    # Map sizes: 500 + 200 -> 173, 86, 43, 21, 16; 375 + 200 -> 142, 71, 35, 17, 12.
    assert taps[32].shape == (None, 16, 12, 2)


def test_googlenet_rejects_reference_geometry():
    with pytest.raises(ModelError, match="the backbone 'googlenet' does not support it"):
        fcn_keras.BACKBONES["googlenet"](
            keras.Input((64, 64, 3)), weights=None, head_width=2, dropout=0, geometry="reference"
        )


@pytest.mark.slow
def test_fc6_and_fc7_match_the_classifier(tmp_path, rng):
    classifier = AlexNet(classes=5)
    classifier.save_weights(tmp_path / "full.weights.h5")
    model = fcn_keras.FCN32s(3, backbone="alexnet", weights=tmp_path / "full.weights.h5")
    pool5 = rng.normal(size=(2, 6, 6, 256)).astype("float32")
    ours, theirs = pool5, pool5.reshape(2, -1)
    for name in ("fc6", "fc7"):
        ours, theirs = model.get_layer(name)(ours), classifier.get_layer(name)(theirs)
    np.testing.assert_allclose(ours[:, 0, 0], theirs, rtol=1e-4, atol=1e-5)
    for name in ("conv1", "conv5"):
        for mine, expected in zip(
            model.get_layer(name).get_weights(),
            classifier.get_layer(name).get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_file_without_top_loads_into_trunk(name, tmp_path, caplog):
    trunk = BUILDERS[name](include_top=False)
    trunk.save_weights(tmp_path / "notop.weights.h5")
    model = fcn_keras.FCN32s(3, backbone=name, weights=tmp_path / "notop.weights.h5", head_width=8)
    for layer in trunk.layers:
        for mine, expected in zip(
            model.get_layer(layer.name).get_weights() if layer.weights else [],
            layer.get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(mine, expected)
    assert ("fc6 and fc7 start from He" in caplog.text) == (name == "alexnet")


def test_file_with_top_loads_into_googlenet_trunk(tmp_path):
    classifier = GoogLeNet(classes=9)
    classifier.save_weights(tmp_path / "full.weights.h5")
    model = fcn_keras.FCN32s(3, backbone="googlenet", weights=tmp_path / "full.weights.h5")
    expected = classifier.get_layer("inception_5b_1x1").get_weights()[0]
    np.testing.assert_array_equal(model.get_layer("inception_5b_1x1").get_weights()[0], expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_bfloat16_fcns_train_with_float32_logits(name, rng):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = fcn_keras.FCN32s(3, backbone=name, weights=None, head_width=8)
    finally:
        keras.config.set_dtype_policy(before)
    image = rng.uniform(0, 255, (2, 61, 93, 3)).astype("float32")
    assert model(image).dtype == "float32"
    model.compile(keras.optimizers.SGD(0.1), fcn_keras.MaskedCrossentropy())
    before = [np.array(w) for w in model.weights]
    for _ in range(2):  # The score layer starts at zero, so the first gradients below it are zero.
        model.train_on_batch(image, rng.integers(0, 3, (2, 61, 93)))
    changed = [not np.array_equal(old, new) for old, new in zip(before, model.weights, strict=True)]
    assert np.mean(changed) > 0.9
