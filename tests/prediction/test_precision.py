"""The precision that is fastest on this machine."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores

import fcn_keras
from fcn_keras.distribution import processor
from fcn_keras.errors import ModelError
from fcn_keras.prediction import precision
from fcn_keras.prediction.precision import fastest, in_precision


@pytest.fixture(scope="module")
def net():
    keras.utils.set_random_seed(0)
    return randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None))


@pytest.fixture
def with_bfloat16(monkeypatch):
    monkeypatch.setattr(processor, "has_bfloat16", lambda: True)


def computes_in(model):
    return {layer.compute_dtype for layer in model.layers if layer.name.startswith("block")}


PHOTO = np.random.default_rng(0).integers(0, 256, (300, 400, 3), "uint8")


def test_many_images_are_predicted_in_bfloat16(net, with_bfloat16):
    chosen, line = fastest(net, PHOTO, 20)
    assert "bfloat16" in {layer.compute_dtype for layer in chosen.layers}
    agreement = np.mean(fcn_keras.predict(net, PHOTO) == fcn_keras.predict(chosen, PHOTO))
    assert 0.9 < agreement < 1
    assert f"{agreement:.2%} of the pixels" in line and "--precision float32" in line


def test_few_pixels_are_predicted_as_they_are(net, with_bfloat16):
    assert fastest(net, PHOTO, 8) == (net, "")  # 0.96 million pixels.
    assert fastest(net, PHOTO, 9)[0] is not net


def test_processors_without_bfloat16_compute_in_float32(net, monkeypatch):
    monkeypatch.setattr(processor, "has_bfloat16", lambda: False)
    assert fastest(net, PHOTO, 1000) == (net, "")
    chosen, line = fastest(in_precision(net, "bfloat16"), PHOTO, 1000)
    assert {layer.compute_dtype for layer in chosen.layers} == {"float32"} and not line


def test_a_model_trained_in_bfloat16_is_not_copied(net, with_bfloat16):
    half = in_precision(net, "bfloat16")
    assert fastest(half, PHOTO, 1000) == (half, "")


def test_a_precision_that_is_given_is_used_for_one_image_too(net):
    for name in ("float32", "bfloat16"):
        chosen, line = fastest(net, PHOTO[:1, :1], 1, name)
        kinds = {layer.compute_dtype for layer in chosen.layers}
        assert ("bfloat16" in kinds) == (name == "bfloat16") and not line
    with pytest.raises(ModelError, match="precision='half': must be one of"):
        fastest(net, PHOTO, 1, "half")


def test_models_with_layers_of_others_are_left_as_they_are(with_bfloat16):
    class Doubled(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(Doubled()(image)))
    assert fastest(model, PHOTO, 1000) == (model, "")


def test_only_the_middle_of_a_large_image_is_compared(net, with_bfloat16, monkeypatch):
    seen = []
    known = precision.predict
    monkeypatch.setattr(precision, "predict", lambda n, x: seen.append(x.shape) or known(n, x))
    fastest(net, np.zeros((1, 4000, 3), "uint8"), 1000)
    assert seen == [(1, 512, 3)] * 2


def test_bfloat16_of_several_images_and_heads(with_bfloat16, rng):
    left, right = (keras.Input((None, None, 3), name=name) for name in ("left", "right"))
    both = keras.layers.Concatenate()([left, right])
    heads = {name: keras.layers.Conv2D(2, 1, name=name)(both) for name in ("near", "far")}
    model = keras.Model({"left": left, "right": right}, heads)
    images = {name: rng.integers(0, 256, (30, 40, 3), "uint8") for name in ("left", "right")}
    chosen, line = fastest(model, images, 1000)
    assert chosen.get_layer("near").compute_dtype == "bfloat16" and "the same class" in line
    masks = chosen({name: tf.constant(image[None]) for name, image in images.items()})
    assert masks.keys() == {"near", "far"}
