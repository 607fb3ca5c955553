"""The reference's nets, in float64 NumPy from its published layer definitions, against ours."""

import numpy as np
import pytest

import fcn_keras
from fcn_keras.errors import ModelError

MEAN = np.array(fcn_keras.MEANS["voc"])
VOC = {"image": fcn_keras.Stream(mean=fcn_keras.MEANS["voc"])}


def convolution(x, kernel, bias, pad):
    x = np.pad(x, [(pad, pad), (pad, pad), (0, 0)])
    rows, columns = x.shape[0] - kernel.shape[0] + 1, x.shape[1] - kernel.shape[1] + 1
    out = np.zeros((rows, columns, kernel.shape[3])) + bias
    for i, j in np.ndindex(kernel.shape[:2]):
        out += x[i : i + rows, j : j + columns] @ kernel[i, j]
    return out


def relu(x):
    return np.maximum(x, 0)


def max_pooling(x):
    """2 x 2 windows, stride 2; Caffe rounds the size up."""
    x = np.pad(x, [(0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)], constant_values=-np.inf)
    return np.maximum.reduce([x[::2, ::2], x[1::2, ::2], x[::2, 1::2], x[1::2, 1::2]])


def deconvolution(x, factor):
    """Stamps the bilinear filter of twice the factor, channel by channel."""
    tent = 1 - np.abs(np.arange(2 * factor) - factor + 0.5) / factor
    out = np.zeros(((x.shape[0] + 1) * factor, (x.shape[1] + 1) * factor, x.shape[2]))
    for i, j in np.ndindex(x.shape[:2]):
        window = out[i * factor : (i + 2) * factor, j * factor : (j + 2) * factor]
        window += np.outer(tent, tent)[..., None] * x[i, j]
    return out


def crop(x, like, offset):
    rows, columns = like.shape[:2]
    window = x[offset : offset + rows, offset : offset + columns]
    assert window.shape[:2] == (rows, columns)
    return window


def reference(model, name, image, scales=(1, 1)):
    """What the authors' net `name` gives for an RGB image with the weights of `model`."""

    def conv(layer, x, pad=0):
        kernel, bias = (w.astype("float64") for w in model.get_layer(layer).get_weights())
        return convolution(x, kernel, bias, pad)

    x = image[..., ::-1].astype("float64") - MEAN
    pools = {}
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        for i in range(1, count + 1):
            x = relu(conv(f"block{block}_conv{i}", x, 100 if (block, i) == (1, 1) else 1))
        x = pools[block] = max_pooling(x)
    x = relu(conv("fc7", relu(conv("fc6", x))))
    x = conv("score_fr", x)
    if name == "fcn32s":
        return crop(deconvolution(x, 32), image, 19)
    x = deconvolution(x, 2)
    x = x + crop(conv("score_pool4", pools[4] * scales[0]), x, 5)
    if name == "fcn16s":
        return crop(deconvolution(x, 16), image, 27)
    x = deconvolution(x, 2)
    x = x + crop(conv("score_pool3", pools[3] * scales[1]), x, 9)
    return crop(deconvolution(x, 8), image, 31)


def randomised(model):
    """He-like weights everywhere, so that no part of the logits is small beside the others."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights and not layer.name.startswith("upscore"):
            kernel, bias = layer.get_weights()
            std = np.sqrt(2 / np.prod(kernel.shape[:3]))
            layer.set_weights([rng.normal(0, std, kernel.shape), rng.normal(0, 1, bias.shape)])
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "height", "width", "scales"),
    [
        ("fcn32s", 61, 97, ()),
        ("fcn16s", 61, 97, (1.0,)),
        ("fcn8s", 61, 97, (1.0, 1.0)),
        ("fcn8s", 34, 1, (0.01, 0.0001)),  # At once.
    ],
)
def test_logits_are_the_references(name, height, width, scales, rng):
    options = {"skip_scales": scales} if scales else {}
    model = randomised(
        fcn_keras.MODELS[name](
            5, weights=None, head_width=16, geometry="reference", inputs=VOC, **options
        )
    )
    image = rng.integers(0, 256, (height, width, 3), "uint8")
    logits = np.asarray(model(image[None]))[0]
    expected = reference(model, name, image, scales)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "hops", "final"), [("fcn32s", 0, 19), ("fcn16s", 1, 27), ("fcn8s", 2, 31)]
)
def test_the_crops_cover_images_of_every_size(name, hops, final):
    """The sizes' arithmetic, from the published paddings, for the heights 1 to 4096."""
    size = image = np.arange(1, 4097)
    size = size + 198
    pools = []
    for _ in range(5):
        size = -(-size // 2)
        pools.append(size)
    size = size - 6  # fc6
    for hop in range(hops):
        size = 2 * (size + 1)
        assert (pools[3 - hop] >= size + (5, 9)[hop]).all()
    factor = 2 ** (5 - hops)
    assert (factor * (size + 1) >= image + final).all()


@pytest.mark.parametrize("name", fcn_keras.MODELS)
@pytest.mark.parametrize("learn", [False, True])
def test_small_images_of_any_size_give_logits_of_that_size(name, learn):
    model = fcn_keras.MODELS[name](
        2, weights=None, head_width=2, geometry="reference", learn_upsampling=learn
    )
    for height, width in ((1, 1), (1, 40), (33, 27)):
        assert model(np.zeros((1, height, width, 3), "uint8")).shape == (1, height, width, 2)


def test_a_learned_upsampling_starts_as_the_frozen_one(rng):
    frozen, learned = (
        randomised(
            fcn_keras.FCN8s(
                3, weights=None, head_width=4, geometry="reference", learn_upsampling=learn
            )
        )
        for learn in (False, True)
    )
    image = rng.integers(0, 256, (1, 20, 30, 3), "uint8")
    np.testing.assert_allclose(learned(image), frozen(image), atol=1e-4)


def test_other_backbones_have_no_reference():
    with pytest.raises(ModelError) as error:
        fcn_keras.FCN32s(3, backbone="tiny", weights=None, geometry="reference")
    assert "geometry='reference': the backbone 'tiny' has no such choice" in str(error.value)
    with pytest.raises(ModelError) as error:
        fcn_keras.FCN32s(3, weights=None, geometry="valid")
    assert "geometry='valid': must be one of same, reference" in str(error.value)
