import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores

import fcn_keras
from fcn_keras.errors import ModelError
from fcn_keras.prediction.frozen import freeze
from fcn_keras.prediction.precision import in_precision

SIZES = [(1, 1), (31, 31), (337, 501)]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None))


def constants(function):
    """The arrays in a graph that are large enough to be kernels."""
    found = [
        tf.make_ndarray(node.attr["value"].tensor)
        for node in function.graph.as_graph_def().node
        if node.op == "Const"
    ]
    return [array for array in found if array.ndim == 4 and array.size > 8]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", SIZES)
def test_frozen_logits_equal_the_models(model, rng, precision, size):
    reference = in_precision(model, precision)
    images = rng.integers(0, 256, (2, *size, 3), "uint8")
    expected = reference(images, training=False).numpy()
    (logits,) = freeze(reference)(tf.constant(images))
    assert logits.dtype == tf.float32
    assert abs(logits - expected).numpy().max() <= 1e-5 * abs(expected).max()


def test_bfloat16_is_close_to_float32(model, rng):
    images = rng.integers(0, 256, (1, 90, 120, 3), "uint8")
    expected = in_precision(model, "float32")(images, training=False).numpy()
    logits = in_precision(model, "bfloat16")(images, training=False).numpy()
    assert 0 < abs(logits - expected).max() < 0.05 * abs(expected).max()


def test_weights_are_stored_once_in_their_layers_precision(model):
    kernels = [w for w in model.weights if len(w.shape) == 4]
    full, half = (freeze(in_precision(model, name)) for name in ("float32", "bfloat16"))
    for function in (full, half):
        assert not function.captured_inputs
        assert len(constants(function)) == len(kernels)
    assert {array.dtype for array in constants(full)} == {np.dtype("float32")}
    kinds = [array.dtype.name for array in constants(half)]
    assert kinds.count("float32") == 3  # The score layers.
    assert kinds.count("bfloat16") == len(kernels) - 3
    size = {f: f.graph.as_graph_def().ByteSize() for f in (full, half)}
    assert size[half] < 0.6 * size[full]


def test_a_copy_keeps_the_weights(model):
    for mine, copied in zip(model.weights, in_precision(model, "float32").weights, strict=True):
        assert copied.dtype == "float32"
        np.testing.assert_array_equal(copied, mine)


def test_bfloat16_rounds_kernels_and_keeps_statistics():
    net = fcn_keras.FCN8s(3, backbone="mobilenet_v2", weights=None, head_width=8)
    half = in_precision(net, "bfloat16")
    for mine, copied in zip(net.weights, half.weights, strict=True):
        assert mine.path.split("/")[-2:] == copied.path.split("/")[-2:]
        is_kernel = copied.path.endswith(("kernel", "bias")) and "score" not in copied.path
        assert copied.dtype == ("bfloat16" if is_kernel else "float32"), copied.path
        expected = tf.cast(tf.cast(mine, copied.dtype), "float32")
        np.testing.assert_array_equal(tf.cast(copied, "float32"), expected)


def test_unknown_precisions_and_other_models_are_refused(model):
    with pytest.raises(ModelError, match="precision='int4': must be one of float32, bfloat16"):
        in_precision(model, "int4")
    with pytest.raises(ModelError, match=r"must be a functional keras\.Model"):
        in_precision(keras.Sequential(), "float32")
