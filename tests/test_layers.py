import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_keras.layers import (
    BilinearUpsampling,
    CaffePreprocessing,
    CropLike,
    PadToMultiple,
    bilinear_filter,
)


def transposed_convolution(x, kernel, stride):
    """Stamps the kernel, weighted by each cell: float64, cut to `stride` times the size."""
    height, width, size = *x.shape, len(kernel)
    out = np.zeros(((height - 1) * stride + size, (width - 1) * stride + size))
    for i, j in np.ndindex(height, width):
        out[i * stride : i * stride + size, j * stride : j * stride + size] += x[i, j] * kernel
    return out


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("factor", [2, 8, 16, 32])
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 5), width=st.integers(1, 5))
def test_upsampling_is_the_papers_transposed_convolution(factor, learn, height, width):
    x = np.random.default_rng(height * 10 + width).normal(size=(height, width))
    stamped = transposed_convolution(np.pad(x, 1, "edge"), bilinear_filter(2 * factor), factor)
    edge = factor + factor // 2
    expected = stamped[edge:-edge, edge:-edge]
    layer = BilinearUpsampling(factor, learn)
    actual = np.asarray(layer(np.stack([x, -x], axis=-1)[None].astype("float32")))[0]
    np.testing.assert_allclose(actual[..., 0], expected, atol=1e-5)
    np.testing.assert_allclose(actual[..., 1], -expected, atol=1e-5)


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize(("factor", "size"), [(2, 4), (8, 16), (16, 32), (32, 64), (32, 63)])
def test_with_fade_it_is_the_references_transposed_convolution(factor, size, learn, rng):
    for height, width in ((1, 1), (3, 4)):
        x = rng.normal(size=(height, width))
        expected = transposed_convolution(x, bilinear_filter(size), factor)
        layer = BilinearUpsampling(factor, learn, fade=True, kernel_size=size)
        maps = np.stack([x, -x], axis=-1)[None].astype("float32")
        actual = np.asarray(layer(maps))[0]
        np.testing.assert_allclose(actual[..., 0], expected, atol=1e-5)
        np.testing.assert_allclose(actual[..., 1], -expected, atol=1e-5)
        assert layer.compute_output_shape(maps.shape) == (1, *actual.shape)


def test_bilinear_filters_are_the_references():
    # Odd and even sizes as the reference's upsample_filt gives them, worked out by hand.
    np.testing.assert_allclose(bilinear_filter(3)[1], [0.5, 1, 0.5])
    np.testing.assert_allclose(bilinear_filter(4)[0], np.array([1, 3, 3, 1]) / 16)
    for size in (4, 16, 32, 64, 63):
        kernel, factor = bilinear_filter(size), (size + 1) // 2
        centre = factor - 1 if size % 2 else factor - 0.5
        i, j = np.ogrid[:size, :size]
        formula = (1 - abs(i - centre) / factor) * (1 - abs(j - centre) / factor)
        np.testing.assert_allclose(kernel, formula)


def test_padding_and_cropping_undo_each_other(rng):
    for height, width in ((1, 1), (31, 33), (32, 64), (50, 95)):
        x = rng.normal(size=(2, height, width, 3)).astype("float32")
        padded = PadToMultiple(32)(x)
        assert padded.shape[1] % 32 == 0 and padded.shape[2] % 32 == 0
        np.testing.assert_array_equal(CropLike()(padded, x), x)


def test_shapes_are_known_before_any_image_is():
    image = keras.Input((None, 50, 3))
    padded = PadToMultiple(32)(image)
    assert padded.shape == (None, None, 64, 3)
    up = BilinearUpsampling(8)(padded)
    assert up.shape == (None, None, 512, 3)
    assert CropLike()(up, image).shape == (None, None, 50, 3)


def test_preprocessing_is_that_of_keras_applications(rng):
    image = rng.uniform(0, 255, (1, 4, 5, 3)).astype("float32")
    expected = keras.applications.vgg16.preprocess_input(image.copy())
    np.testing.assert_allclose(CaffePreprocessing()(image), expected, atol=1e-4)
    as_it_is = CaffePreprocessing((1, 2, 3), swap=False)
    again = CaffePreprocessing.from_config(as_it_is.get_config())
    np.testing.assert_allclose(again(image), image - np.array([1, 2, 3]), atol=1e-4)
