import keras
import numpy as np
import pytest
from keras import layers
from nets import randomise_scores

import fcn_keras
from fcn_keras.errors import ModelError


def features(strides=(8, 16, 32), channels=3, size=(None, None), padding="same", as_dict=False):
    """Builds a small model whose blocks halve the map; outputs the maps of the given strides."""
    image = keras.Input((*size, channels))
    x, maps = layers.Rescaling(1 / 255)(image), {}
    for stride in (2, 4, 8, 16, 32):
        x = layers.Conv2D(4, 3, strides=2, padding=padding, activation="relu")(x)
        maps[stride] = x
    outputs = {stride: maps[stride] for stride in strides}
    return keras.Model(image, outputs if as_dict else list(outputs.values()), name="mine")


@pytest.mark.parametrize("build", [fcn_keras.FCN32s, fcn_keras.FCN16s, fcn_keras.FCN8s])
@pytest.mark.parametrize("size", [(64, 96), (45, 67), (1, 1)])
def test_functional_models_are_backbones(build, size):
    model = build(3, backbone=features())
    assert model.name == f"{build.__name__.lower()}_mine"
    assert model(np.zeros((2, *size, 3), "uint8")).shape == (2, *size, 3)


def test_backbone_keeps_weights_and_preprocessing(rng):
    mine = features()
    before = [weight.copy() for weight in mine.get_weights()]
    model = randomise_scores(fcn_keras.FCN32s(3, backbone=mine, dropout=0.0))
    image = rng.integers(0, 256, (1, 64, 64, 3)).astype("float32")
    kernel, bias = model.get_layer("score_fr").get_weights()
    scores = np.asarray(mine(image)[2])[0] @ kernel[0, 0] + bias  # [2, 2, 3]
    # The middle of the map, where four cells have equal weights.
    middle = np.asarray(model(image))[0, 31:33, 31:33].mean(axis=(0, 1))
    np.testing.assert_allclose(middle, scores.mean(axis=(0, 1)), rtol=1e-4, atol=1e-5)
    for weight, now in zip(before, mine.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, now)


def test_features_may_be_a_list_or_dict_in_any_order(rng):
    image = rng.integers(0, 256, (1, 40, 50, 3), "uint8")
    for given in (features((32, 4, 16, 8)), features(as_dict=True)):
        assert fcn_keras.FCN8s(2, backbone=given)(image).shape == (1, 40, 50, 2)


def test_keras_hub_pyramid_outputs_are_used(rng):
    maps = features((4, 8, 16, 32))
    backbone = keras.Model(maps.input, maps.outputs[-1], name="hub")  # Outputs the last map only.
    backbone.pyramid_outputs = {f"P{2 + i}": tensor for i, tensor in enumerate(maps.outputs)}
    model = fcn_keras.FCN8s(2, backbone=backbone)
    assert model.name == "fcn8s_hub"
    assert model(rng.integers(0, 256, (1, 40, 50, 3), "uint8")).shape == (1, 40, 50, 2)


def test_other_keras_applications_are_backbones(rng, tmp_path):
    net = keras.applications.MobileNetV3Small(
        input_shape=(None, None, 3), include_top=False, weights=None
    )
    maps = [layer.output for layer in net.layers if len(layer.output.shape) == 4]
    shapes = keras.Model(net.input, maps).compute_output_shape((1, 256, 256, 3))
    last = {256 // shape[1]: tensor for tensor, shape in zip(maps, shapes, strict=True)}
    mine = keras.Model(net.input, [last[8], last[16], last[32]], name="mobilenet_v3_small")
    model = randomise_scores(fcn_keras.FCN8s(4, backbone=mine))
    image = rng.integers(0, 256, (1, 45, 67, 3), "uint8")
    assert fcn_keras.predict(model, image[0]).shape == (45, 67)
    model.save(tmp_path / "mine.keras")
    again = fcn_keras.load(tmp_path / "mine.keras")
    np.testing.assert_array_equal(again.model(image), model(image))


def test_fc6_and_fc7_are_added_only_on_request():
    assert "fc6" not in {layer.name for layer in fcn_keras.FCN8s(2, backbone=features()).layers}
    wide = fcn_keras.FCN8s(2, backbone=features(), head_width=5)
    assert wide.get_layer("fc7").output.shape[-1] == 5


def test_image_may_have_other_channels_and_fixed_size():
    model = fcn_keras.FCN8s(2, backbone=features(channels=5), input_shape=(40, 56, 5))
    assert model.input_shape == (None, 40, 56, 5) and model.output_shape == (None, 40, 56, 2)
    assert model.name.startswith("fcn8s_")
    vgg = fcn_keras.FCN32s(2, backbone="tiny", weights=None, input_shape=(64, None, 3))
    assert vgg.input_shape == (None, 64, None, 3)


def flat():
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.GlobalAveragePooling2D()(image), name="flat")


def twice():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(2, 3, strides=32, padding="same", name="a")(image)
    return keras.Model(image, [x, layers.ReLU(name="b")(x)], name="twice")


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": Subclassed(name="mine")}, "has no layer graph"),
        ({"backbone": flat()}, "must be a feature map [b, h, w, c]"),
        ({"backbone": twice()}, "both have stride 32"),
        ({"backbone": features((8, 16))}, "must have an output of stride 32, found strides 8, 16"),
        ({"backbone": features((16, 32))}, "backbone='mine': has no features of stride 8 to fuse"),
        ({"backbone": features(padding="valid")}, "Use padding='same' in its layers"),
        ({"backbone": features(channels=4)}, "Use input_shape=(None, None, 4)"),
        (
            {"backbone": features(size=(64, 64))},
            "must take images of any size, found 64 x 64 pixels",
        ),
        ({"backbone": features(), "weights": "x.h5"}, "weights='x.h5': a custom backbone"),
        ({"backbone": features(), "geometry": "reference"}, "geometry='reference': a custom"),
        ({"backbone": "resnet"}, "or pass a keras.Model"),
        ({"input_shape": (64, 64)}, "input_shape=(64, 64): must be (height, width, channels)"),
        ({"input_shape": (None, None, None)}, "must be (height, width, channels)"),
        (
            {"input_shape": (None, None, 4), "inputs": {"rgb": fcn_keras.Modality()}},
            "Set the number of channels in inputs",
        ),
        (
            {"backbone": features(), "inputs": dict.fromkeys("ab", fcn_keras.Modality())},
            "inputs: a custom backbone takes one image, found 2",
        ),
    ],
)
def test_invalid_arguments_are_rejected(options, message):
    with pytest.raises(ModelError) as error:
        fcn_keras.FCN8s(3, **{"backbone": "tiny", "weights": None, **options})
    assert message in str(error.value)


def test_model_name_can_be_set():
    options = {"backbone": "tiny", "weights": None, "head_width": 8}
    assert fcn_keras.FCN16s(2, name="street", **options).name == "street"
    assert fcn_keras.FCN16s(2, **options).name == "fcn16s_tiny"
