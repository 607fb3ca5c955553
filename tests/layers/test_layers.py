import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_caffe import Caffe

from fcn_keras.errors import ModelError
from fcn_keras.layers.alignment import CropLike, PadToMultiple
from fcn_keras.layers.caffe import (
    CaffePreprocessing,
    CeilMaxPooling2D,
    LocalResponseNormalization,
)
from fcn_keras.layers.dense_as_convolution import PatchConv2D, constant_weights
from fcn_keras.layers.dilated_pooling import DilatedPooling2D
from fcn_keras.layers.upsampling import BilinearUpsampling, bilinear_filter
from fcn_keras.layers.zoom import Zoom


def transposed_convolution(x, kernel, stride):
    """Adds the kernel, weighted by each cell, at `stride` times its position, in float64."""
    height, width, size = *x.shape, len(kernel)
    out = np.zeros(((height - 1) * stride + size, (width - 1) * stride + size))
    for i, j in np.ndindex(height, width):
        out[i * stride : i * stride + size, j * stride : j * stride + size] += x[i, j] * kernel
    return out


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("factor", [2, 8, 16, 32])
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 5), width=st.integers(1, 5))
def test_upsampling_matches_the_papers_transposed_convolution(factor, learn, height, width):
    x = np.random.default_rng(height * 10 + width).normal(size=(height, width))
    full = transposed_convolution(np.pad(x, 1, "edge"), bilinear_filter(2 * factor), factor)
    edge = factor + factor // 2
    expected = full[edge:-edge, edge:-edge]
    layer = BilinearUpsampling(factor, learn)
    actual = np.asarray(layer(np.stack([x, -x], axis=-1)[None].astype("float32")))[0]
    np.testing.assert_allclose(actual[..., 0], expected, atol=1e-5)
    np.testing.assert_allclose(actual[..., 1], -expected, atol=1e-5)


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize(
    ("factor", "size"),
    [(1, 1), (2, 4), (8, 16), (16, 32), (32, 64), (32, 63), (3, 5), (3, 6), (3, None), (4, 5)],
)
def test_fading_upsampling_matches_the_references(factor, size, learn, rng):
    for height, width in ((1, 1), (3, 4)):
        x = rng.normal(size=(height, width))
        expected = transposed_convolution(x, bilinear_filter(size or 2 * factor), factor)
        layer = BilinearUpsampling(factor, learn, fade=True, kernel_size=size)
        maps = np.stack([x, -x], axis=-1)[None].astype("float32")
        actual = np.asarray(layer(maps))[0]
        np.testing.assert_allclose(actual[..., 0], expected, atol=1e-5)
        np.testing.assert_allclose(actual[..., 1], -expected, atol=1e-5)
        assert layer.compute_output_shape(maps.shape) == (1, *actual.shape)


@pytest.mark.parametrize(("factor", "size"), [(32, 63), (32, 64), (3, 6)])
def test_gradient_of_fixed_upsampling_is_its_adjoint(factor, size, rng):
    layer = BilinearUpsampling(factor, fade=True, kernel_size=size)
    x = tf.constant(rng.normal(size=(2, 3, 4, 5)), "float32")
    other = rng.normal(size=layer.compute_output_shape(x.shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x) * other.astype("float32"))
    # The layer is linear: <up(x), y> is the sum over channels of x times the gradient.
    gradient = tape.gradient(total, x)
    image, channel = 1, 2
    expected = np.sum(
        transposed_convolution(x[image, ..., channel], bilinear_filter(size), factor)
        * other[image, ..., channel]
    )
    actual = tf.reduce_sum(x * gradient, (1, 2))[image, channel]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [63, 64, 62])
def test_fixed_upsampling_has_one_filter_for_all_channels(size):
    layer = BilinearUpsampling(32, fade=True, kernel_size=size)
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((1, None, None, 150))).graph
    constants = [op.outputs[0].shape for op in graph.get_operations() if op.type == "Const"]
    # A filter for each pair of channels would have 150 * 150 * 63 * 63 weights, 357 MB.
    assert max(shape.num_elements() for shape in constants) <= size**2


def test_bilinear_filters_match_the_references():
    # The reference's upsample_filt for an odd and an even size, computed by hand.
    np.testing.assert_allclose(bilinear_filter(3)[1], [0.5, 1, 0.5])
    np.testing.assert_allclose(bilinear_filter(4)[0], np.array([1, 3, 3, 1]) / 16)
    for size in (4, 16, 32, 64, 63):
        kernel, factor = bilinear_filter(size), (size + 1) // 2
        centre = factor - 1 if size % 2 else factor - 0.5
        i, j = np.ogrid[:size, :size]
        formula = (1 - abs(i - centre) / factor) * (1 - abs(j - centre) / factor)
        np.testing.assert_allclose(kernel, formula)


def test_cropping_undoes_padding(rng):
    for height, width in ((1, 1), (31, 33), (32, 64), (50, 95)):
        x = rng.normal(size=(2, height, width, 3)).astype("float32")
        padded = PadToMultiple(32)(x)
        assert padded.shape[1] % 32 == 0 and padded.shape[2] % 32 == 0
        np.testing.assert_array_equal(CropLike()(padded, x), x)


def test_symbolic_shapes_are_known():
    image = keras.Input((None, 50, 3))
    padded = PadToMultiple(32)(image)
    assert padded.shape == (None, None, 64, 3)
    up = BilinearUpsampling(8)(padded)
    assert up.shape == (None, None, 512, 3)
    assert CropLike()(up, image).shape == (None, None, 50, 3)


def test_preprocessing_matches_keras_applications(rng):
    image = rng.uniform(0, 255, (1, 4, 5, 3)).astype("float32")
    expected = keras.applications.vgg16.preprocess_input(image.copy())
    np.testing.assert_allclose(CaffePreprocessing()(image), expected, atol=1e-4)
    unswapped = CaffePreprocessing((1, 2, 3), swap=False)
    again = CaffePreprocessing.from_config(unswapped.get_config())
    np.testing.assert_allclose(again(image), image - np.array([1, 2, 3]), atol=1e-4)


@pytest.mark.parametrize("kind", ["uint8", "int32", "float16", "float64"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_preprocessing_computes_in_float32(kind, channels, rng):
    image = rng.integers(0, 256, (1, 4, 5, channels)).astype(kind)
    expected = image.astype("float64")
    if channels >= 3:
        expected[..., :3] = expected[..., 2::-1] - [103.939, 116.779, 123.68]
    for call in (CaffePreprocessing(), tf.function(CaffePreprocessing())):
        found = call(image)
        assert found.dtype == "float32"
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_integers_are_computed_in_floats(rng):
    x = rng.integers(100, 256, (1, 5, 6, 7), "uint8")
    real = x.astype("float64")
    expected = Caffe.lrn(real[0], 5, 1e-2, 0.75)
    np.testing.assert_allclose(LocalResponseNormalization(5, 1e-2)(x)[0], expected, rtol=1e-5)
    means = (real[:, :-1] + real[:, 1:]) / 2
    np.testing.assert_allclose(DilatedPooling2D((2, 1), average=True)(x), means)
    low = np.maximum(np.pad(real, [(0, 0), (1, 0), (0, 0), (0, 0)])[:, :-1], real)
    padded = DilatedPooling2D((2, 1), padding=((1, 0), (0, 0)))
    np.testing.assert_array_equal(padded(x), low)
    nearest = BilinearUpsampling(2, fade=True, kernel_size=2)(x)  # Two halves of each cell.
    np.testing.assert_allclose(nearest, real.repeat(2, axis=1).repeat(2, axis=2) / 4)
    for layer in (Zoom(1.0), Zoom(1.04)):  # The second rounds to the same size.
        assert layer(x).dtype == "float32"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LocalResponseNormalization(4), "size=4: must be an odd integer"),
        (lambda: LocalResponseNormalization(np.int64(6)), "must be an odd integer"),
        (lambda: LocalResponseNormalization(0), "size=0: must be an odd integer"),
        (lambda: LocalResponseNormalization(5, alpha="x"), "alpha='x', beta=0.75: must be numbers"),
        (lambda: BilinearUpsampling(3), "without fade, the factor must be even"),
        (lambda: BilinearUpsampling(2.0), "factor=2.0: must be an integer of at least 1"),
        (lambda: BilinearUpsampling(0, fade=True), "factor=0: must be an integer"),
        (lambda: BilinearUpsampling(True, fade=True), "factor=True: must be an integer"),
        (lambda: BilinearUpsampling(4, fade=True, kernel_size=0), "kernel_size=0: must be"),
        (lambda: BilinearUpsampling(4, fade=True, kernel_size=3), "at least the factor, 4"),
        (lambda: CaffePreprocessing("voc"), "mean='voc': must be three numbers"),
        (lambda: CaffePreprocessing((1, 2)), "must be three numbers"),
        (lambda: CaffePreprocessing((1, 2, np.nan)), "must be three numbers"),
        (lambda: CeilMaxPooling2D(2, incomplete="left"), "incomplete='left': must be 'first' or"),
        (
            lambda: CeilMaxPooling2D(3, 2, padding="same"),
            "padding='same', data_format='channels_last': must be 'valid' and",
        ),
        (
            lambda: CeilMaxPooling2D(2, data_format="channels_first"),
            "data_format='channels_first': must be",
        ),
        (lambda: CeilMaxPooling2D(0), "pool_size=0: must be an integer of at least 1"),
        (lambda: CeilMaxPooling2D(2, "two"), "strides='two': must be an integer of at least 1"),
        (lambda: DilatedPooling2D(0), "pool_size=0: must be an integer of at least 1"),
        (lambda: DilatedPooling2D(2, dilation_rate=(1, 2, 3)), "dilation_rate=(1, 2, 3): must be"),
        (lambda: PadToMultiple(0), "multiple=0: must be an integer of at least 1"),
        (lambda: CropLike(-1), "offset=-1: must be an integer of at least 0"),
        (lambda: Zoom(0), "factor=0: must be a number above 0"),
    ],
)
def test_invalid_options_are_rejected(build, message):
    with pytest.raises(ModelError) as error:
        build()
    assert message in str(error.value)


def test_numpy_numbers_are_numbers(rng):
    x = rng.normal(size=(1, 4, 6, 5)).astype("float32")
    for ours, theirs in (
        (PadToMultiple(np.int64(8)), PadToMultiple(8)),
        (BilinearUpsampling(np.int32(2), fade=np.bool_(True)), BilinearUpsampling(2, fade=True)),
        (
            LocalResponseNormalization(np.int64(3), np.float32(0.5)),
            LocalResponseNormalization(3, 0.5),
        ),
        (
            DilatedPooling2D(np.int64(2), strides=np.array([1, 2]).tolist()),
            DilatedPooling2D(2, strides=(1, 2)),
        ),
        (CaffePreprocessing(np.array([1, 2, 3])), CaffePreprocessing((1.0, 2.0, 3.0))),
        (Zoom(np.float64(1.5)), Zoom(1.5)),
    ):
        np.testing.assert_array_equal(ours(x), theirs(x))
        again = type(ours).from_config(json.loads(json.dumps(ours.get_config())))
        np.testing.assert_array_equal(again(x), theirs(x))


def gradients(call, weights, x):
    """Returns output and gradients of weights and input as float64, traced for unknown sizes."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, x.shape[-1]), x.dtype)])
    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = call(x)
            loss = tf.reduce_sum(tf.cast(y, "float32") ** 2)
        return y, *tape.gradient(loss, [*weights, x])

    return [np.asarray(tensor, "float64") for tensor in compute(x)]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 7, "padding": "same", "activation": "relu"},
        {"kernel_size": (3, 2), "padding": "valid", "use_bias": False},
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": "same", "strides": 2},
        {"kernel_size": 3, "dilation_rate": 2},
        {"kernel_size": 3, "groups": 2},
    ],
)
def test_patch_convolution_matches_convolution(options, rng):
    layer = PatchConv2D(6, bias_initializer="random_normal", **options)
    x = tf.constant(rng.normal(size=(2, 9, 8, 4)), "float32")
    with constant_weights():
        plain = layer(x)
        np.testing.assert_array_equal(plain, keras.layers.Conv2D.call(layer, x))
        one = gradients(layer, layer.trainable_weights, x)
    other = gradients(layer, layer.trainable_weights, x)
    assert layer(x).shape == plain.shape == layer.compute_output_shape(x.shape)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)


def test_patch_convolution_is_as_exact_in_bfloat16(rng):
    layer = PatchConv2D(16, 7, padding="same", use_bias=False, dtype="mixed_bfloat16")
    x = tf.constant(rng.normal(size=(1, 9, 8, 32)), "bfloat16")
    layer.build(x.shape)
    kernel = layer.kernel
    kernel.assign(tf.cast(tf.cast(kernel, "bfloat16"), "float32"))  # Exact in both precisions.
    exact = gradients(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"), [kernel], tf.cast(x, "float32"))
    with constant_weights():
        plain = gradients(layer, [kernel], x)
    patches, again = (gradients(layer, [kernel], x) for _ in range(2))
    for truth, *ways in zip(exact, plain, patches, strict=True):
        ways.append(tf.cast(tf.cast(truth, "bfloat16"), "float64"))
        by_convolution, by_patches, rounded = (np.std(way - truth) for way in ways)
        # Without bfloat16 support, a processor rounds the product twice, the convolution once.
        assert 0 < by_patches < 1.2 * max(by_convolution, 2 * rounded)
    for first, second in zip(patches, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_sizes_of_numpy_count_as_sizes():
    layer = CeilMaxPooling2D(np.int64(3), np.int64(2))
    assert (layer.pool_size, layer.strides) == ((3, 3), (2, 2))
    assert CeilMaxPooling2D((np.int32(3), 2)).strides == (3, 2)
    json.dumps(keras.layers.serialize(layer))
