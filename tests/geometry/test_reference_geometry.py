"""Compares our models with the reference's, built in float64 NumPy from its layer definitions."""

import keras
import numpy as np
import pytest
from numpy_caffe import Caffe

import fcn_keras
from fcn_keras.errors import ModelError
from fcn_keras.layers.alignment import CropLike

MEAN = np.array([104.00699, 116.66877, 122.67892])  # BGR, in the reference's data layer.
VOC = {"image": fcn_keras.Modality(mean=fcn_keras.MEANS["voc"])}


class Reference(Caffe):
    """The authors' models for an RGB image."""

    def vgg16(self, image, name, scales):
        x = image[..., ::-1].astype("float64") - MEAN
        pools = {}
        for block, count in enumerate((2, 2, 3, 3, 3), start=1):
            for i in range(1, count + 1):
                pad = 100 if (block, i) == (1, 1) else 1
                x = self.relu_conv(x, f"block{block}_conv{i}", pad)
            x = pools[block] = self.pool(x, 2)
        x = self.conv(self.relu_conv(self.relu_conv(x, "fc6"), "fc7"), "score_fr")
        if name == "fcn32s":
            return self.crop(self.deconv(x, 64, 32), image, 19)
        x = self.deconv(x, 4, 2)
        x = x + self.crop(self.conv(pools[4] * scales[0], "score_pool4"), x, 5)
        if name == "fcn16s":
            return self.crop(self.deconv(x, 32, 16), image, 27)
        x = self.deconv(x, 4, 2)
        x = x + self.crop(self.conv(pools[3] * scales[1], "score_pool3"), x, 9)
        return self.crop(self.deconv(x, 16, 8), image, 31)

    def alexnet(self, image, name, scales):
        x = image[..., ::-1].astype("float64") - MEAN
        x = self.lrn(self.pool(self.relu_conv(x, "conv1", 100, stride=4)))
        x = self.lrn(self.pool(self.relu_conv(x, "conv2", 2, groups=2)))
        x = self.relu_conv(x, "conv3", 1)
        x = self.relu_conv(self.relu_conv(x, "conv4", 1, groups=2), "conv5", 1, groups=2)
        x = self.relu_conv(self.relu_conv(self.pool(x), "fc6"), "fc7")
        return self.crop(self.deconv(self.conv(x, "score_fr"), 63, 32), image, 18)


def randomised(model):
    """Sets He-like weights everywhere, so that all parts of the logits have a similar size."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights and not layer.name.startswith("upscore"):
            kernel, bias = layer.get_weights()
            std = np.sqrt(2 / np.prod(kernel.shape[:3]))
            layer.set_weights([rng.normal(0, std, kernel.shape), rng.normal(0, 1, bias.shape)])
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "name", "height", "width", "scales"),
    [
        ("vgg16", "fcn32s", 61, 97, ()),
        ("vgg16", "fcn16s", 61, 97, (1.0,)),
        ("vgg16", "fcn8s", 61, 97, (1.0, 1.0)),
        ("vgg16", "fcn8s", 34, 1, (0.01, 0.0001)),  # At-once FCN-8s.
        ("alexnet", "fcn32s", 61, 97, ()),
    ],
)
def test_logits_match_the_reference(backbone, name, height, width, scales, rng):
    options = {"skip_scales": scales} if scales else {}
    options |= {"backbone": backbone, "weights": None, "head_width": 16, "inputs": VOC}
    model = randomised(fcn_keras.MODELS[name](5, geometry="reference", **options))
    image = rng.integers(0, 256, (height, width, 3), "uint8")
    logits = np.asarray(model(image[None]))[0]
    expected = getattr(Reference(model), backbone)(image, name, scales)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "hops", "final"), [("fcn32s", 0, 19), ("fcn16s", 1, 27), ("fcn8s", 2, 31)]
)
def test_crops_fit_images_of_every_size(name, hops, final, weightless):
    """Compares the model's maps with the published paddings, computed for heights 1 to 4096."""
    image = np.arange(1, 4097)
    pools = [image + 198]  # conv1_1 pads 100 pixels, and its window takes 2.
    for _ in range(5):
        pools.append(-(-pools[-1] // 2))
    size = pools[5] - 6  # fc6
    cropped = []  # Map, reference and offset of each crop.
    for hop in range(hops):
        size = 2 * (size + 1)
        cropped.append((pools[4 - hop], size, (5, 9)[hop]))
    factor = 2 ** (5 - hops)
    cropped.append((factor * (size + 1), image, final))
    assert all((whole >= kept + offset).all() for whole, kept, offset in cropped)

    model = fcn_keras.MODELS[name](2, weights=None, head_width=2, geometry="reference")
    crops = [layer for layer in model.layers if isinstance(layer, CropLike)]
    assert [layer.offset for layer in crops] == [offset for *_, offset in cropped]
    ends = keras.Model(model.input, [end for layer in crops for end in layer.input])
    expected = np.stack([sizes for *pair, _ in cropped for sizes in pair], axis=-1)
    for height in (*range(1, 65), 375, 500, 1024, 4001):  # All rests of the stride, twice.
        width = 4097 - height
        shapes = ends.compute_output_shape((1, height, width, 3))
        assert [shape[1] for shape in shapes] == expected[height - 1].tolist()
        assert [shape[2] for shape in shapes] == expected[width - 1].tolist()


@pytest.mark.parametrize("name", fcn_keras.MODELS)
@pytest.mark.parametrize("learn", [False, True])
def test_logits_have_the_size_of_small_images(name, learn):
    model = fcn_keras.MODELS[name](
        2, weights=None, head_width=2, geometry="reference", learn_upsampling=learn
    )
    for height, width in ((1, 1), (1, 40), (33, 27)):
        assert model(np.zeros((1, height, width, 3), "uint8")).shape == (1, height, width, 2)


def test_learned_upsampling_starts_bilinear(rng):
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


def test_unsupported_geometries_are_rejected():
    with pytest.raises(ModelError) as error:
        fcn_keras.FCN32s(3, backbone="tiny", weights=None, geometry="reference")
    assert "geometry='reference': the backbone 'tiny' does not support it" in str(error.value)
    with pytest.raises(ModelError) as error:
        fcn_keras.FCN32s(3, weights=None, geometry="valid")
    assert "geometry='valid': must be one of same, reference" in str(error.value)
