"""Padding and windows, by hand and by TensorFlow's own padding."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from fcn_keras.geometry.windows import padding, pads_by_size, pair, windows
from fcn_keras.layers.alignment import CropLike, PadToMultiple
from fcn_keras.layers.caffe import CeilMaxPooling2D


@pytest.mark.parametrize(
    ("size", "span", "stride", "expected"),
    [
        (8, 3, 2, (0, 1)),
        (9, 3, 2, (1, 1)),
        (7, 5, 3, (2, 2)),
        (8, 5, 3, (1, 2)),
        (8, 4, 1, (1, 2)),
        (6, 2, 3, (0, 0)),
        (7, 1, 3, (0, 0)),
    ],
)
def test_same_padding_is_that_of_tensorflow(rng, size, span, stride, expected):
    layer = layers.Conv2D(1, span, strides=stride, padding="same")
    assert padding(layer, size, span, stride) == expected
    x, kernel = rng.normal(size=(1, size, size, 1)), rng.normal(size=(span, span, 1, 1))
    same = tf.nn.conv2d(x, kernel, stride, "SAME")
    padded = tf.pad(x, [(0, 0), expected, expected, (0, 0)])
    np.testing.assert_allclose(tf.nn.conv2d(padded, kernel, stride, "VALID"), same)


def test_an_unknown_size_is_a_multiple_of_the_stride():
    assert padding(layers.MaxPooling2D(5, 3, "same"), None, 5, 3) == (1, 1)
    assert padding(layers.MaxPooling2D(5, 3), None, 5, 3) == (0, 0)
    assert padding(layers.MaxPooling2D(5, 3), 7, 5, 3) == (0, 0)


@pytest.mark.parametrize(
    # Caffe rounds the number of windows up: 8 cells hold three whole windows of 3 at stride 2.
    ("size", "span", "stride", "missing"),
    [(8, 3, 2, 1), (9, 3, 2, 0), (2, 3, 2, 1), (None, 3, 2, 1), (None, 4, 2, 0), (None, 5, 3, 2)],
)
def test_incomplete_windows_are_completed_on_one_side(size, span, stride, missing):
    last = CeilMaxPooling2D(span, stride)
    first = CeilMaxPooling2D(span, stride, incomplete="first")
    assert padding(last, size, span, stride) == (0, missing)
    assert padding(first, size, span, stride) == (missing, 0)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: layers.Conv2D(1, 3, strides=2, padding="same"), True),  # 0 of 8 cells, 1 of 9.
        (lambda: layers.Conv2D(1, 3, strides=(1, 2), padding="same"), True),
        (lambda: layers.Conv2D(1, 3, strides=2), False),
        (lambda: layers.Conv2D(1, 3, padding="same"), False),
        (lambda: layers.MaxPooling2D(2, 2, "same"), False),  # The odd cell comes after the map.
        (lambda: layers.MaxPooling2D(3, 3, "same"), True),
        (lambda: CeilMaxPooling2D(3, 2), False),
        (lambda: CeilMaxPooling2D(3, 2, incomplete="first"), True),
        (lambda: PadToMultiple(2), False),  # The odd cell comes after the map.
        (lambda: PadToMultiple(3), True),
        (lambda: CropLike(), True),
        (lambda: CropLike(offset=0), False),
        (lambda: layers.ZeroPadding2D(1), False),
        (lambda: layers.ReLU(), False),
    ],
)
def test_padding_that_depends_on_the_size_is_known(layer, expected):
    assert pads_by_size(layer()) is expected


def test_windows_span_the_dilated_kernel():
    assert windows(layers.Conv2D(1, (3, 2), dilation_rate=(4, 1))) == [(9, 1), (2, 1)]
    assert windows(layers.MaxPooling2D((2, 3), (1, 2))) == [(2, 1), (3, 2)]
    assert pair(3) == (3, 3) and pair((1, 2)) == pair([1, 2]) == (1, 2)
