"""What the loss and the metric say about masks that they cannot use, eagerly and in graphs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.losses import MaskedCrossentropy
from fcn_keras.metrics import ConfusionMatrix

LOGITS = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")
MASKS = np.random.default_rng(1).integers(0, 3, (2, 4, 5)).astype("uint8")
BEYOND = "class ids must be 0 to 2, or 255 \\(ignored\\)"


def loss(masks, logits):
    return MaskedCrossentropy()(masks, logits)


@pytest.fixture(params=["loss", "metric"])
def count(request):
    """What gets masks and logits: the loss, or the metric."""
    return loss if request.param == "loss" else ConfusionMatrix(3).update_state


def with_value(value, kind="uint8"):
    masks = MASKS.astype(kind)
    masks[1, 2, 3] = value
    return masks


WRONG_SHAPES = [
    (MASKS.transpose(0, 2, 1), "found \\[2, 5, 4\\]. Transposed masks"),
    (MASKS.reshape(2, 20), "found \\[2, 20\\]. Flattened masks"),
    (MASKS.ravel(), "found \\[40\\]. Flattened masks"),
    (MASKS.reshape(2, 2, 10), "found \\[2, 2, 10\\]. The model's output and"),
    (MASKS[0], "found \\[4, 5\\]. Add the batch"),
    (np.eye(3)[MASKS], "found \\[2, 4, 5, 3\\].*One-hot masks: tf.argmax"),
    (np.zeros((2, 4, 5, 3), "uint8"), "found .*Colours: convert them to class ids"),
    (MASKS[:, :, :, None].repeat(2, axis=-1), "found .* Give one class id per pixel"),
    (MASKS[:, None], "found \\[2, 1, 4, 5\\]"),
]


@pytest.mark.parametrize(("masks", "message"), WRONG_SHAPES)
def test_masks_of_another_shape_name_both_shapes(count, masks, message):
    rule = r"must be \[2, 4, 5\] or \[2, 4, 5, 1\], as the logits \[2, 4, 5, 3\], "
    with pytest.raises(ConfigError, match=rule + message):
        count(masks, LOGITS)


def test_fit_names_both_shapes():
    model = keras.Sequential([keras.Input((4, 5, 2)), keras.layers.Conv2D(3, 1)])
    model.compile(loss=MaskedCrossentropy(), metrics=[ConfusionMatrix(3)])
    with pytest.raises(ConfigError, match="Transposed masks"):
        model.fit(np.ones((2, 4, 5, 2), "float32"), MASKS.transpose(0, 2, 1), verbose=0)


def test_sizes_that_a_graph_learns_as_it_runs_are_compared(count):
    masks = tf.TensorSpec((None, None, None), tf.uint8)
    graph = tf.function(count, input_signature=[masks, tf.TensorSpec((None, None, None, 3))])
    graph(MASKS, LOGITS)
    with pytest.raises(tf.errors.InvalidArgumentError, match="masks: must be .*found"):
        graph(MASKS.transpose(0, 2, 1), LOGITS)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (with_value(3), f"{BEYOND}, found 3"),
        (with_value(254), f"{BEYOND}, found 254"),
        (with_value(-1, "int32"), f"{BEYOND}, found -1"),
        (with_value(2**32, "int64"), f"{BEYOND}, found {2**32}"),  # 0 in 32 bits.
        (with_value(2**63, "uint64"), f"{BEYOND}, found -"),
        (with_value(7, "float32"), f"{BEYOND}, found 7"),
        (with_value(0.5, "float32"), "must be whole numbers, found fractions"),
        (MASKS / 255, "must be whole numbers, found fractions"),
        (with_value(np.nan, "float32"), "class ids must be"),
    ],
)
def test_labels_beyond_the_classes_are_an_error(count, masks, message):
    with pytest.raises(ConfigError, match=message):
        count(masks, LOGITS)
    graph = tf.function(lambda masks: count(masks, LOGITS), autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message.split(", found")[0]):
        graph(tf.constant(masks))


def test_fit_stops_at_labels_beyond_the_classes():
    model = keras.Sequential([keras.Input((4, 5, 2)), keras.layers.Conv2D(3, 1)])
    model.compile(loss="mse", metrics=[ConfusionMatrix(3)])
    masks = with_value(7)[..., None]
    with pytest.raises(tf.errors.InvalidArgumentError, match=BEYOND):
        model.fit(np.ones((2, 4, 5, 2), "float32"), masks, verbose=0)


def test_labels_beyond_the_classes_are_nan_where_xla_cannot_raise():
    compiled = tf.function(loss, jit_compile=True)
    assert np.isfinite(compiled(MASKS, LOGITS)) and np.isnan(compiled(with_value(7), LOGITS))
    assert np.isnan(tf.function(loss, jit_compile=True)(MASKS / 255, LOGITS))
    matrix = ConfusionMatrix(3)
    update = tf.function(matrix.update_state, jit_compile=True)
    update(with_value(7), LOGITS)
    update(MASKS, LOGITS)  # A later batch does not hide it.
    assert all(np.isnan(value) for value in matrix.result().values())
    with pytest.raises(ConfigError, match="neither one of the 3 classes nor ignored"):
        matrix.confusion()
    matrix.reset_state()
    update(MASKS, LOGITS)
    assert matrix.confusion().sum() == MASKS.size


@pytest.mark.parametrize("kind", ["bool", "int8", "uint16", "int64", "float32", "float64"])
def test_masks_of_any_type_give_the_same_loss(kind):
    masks = MASKS % 2
    expected = float(loss(masks, LOGITS))
    assert float(loss(masks.astype(kind), LOGITS)) == expected
    assert float(loss(masks.astype(kind)[..., None], LOGITS)) == expected
    counts = ConfusionMatrix(3)
    counts.update_state(masks.astype(kind)[..., None], LOGITS)
    assert counts.confusion().sum() == masks.size


def test_a_last_axis_of_unknown_size_may_be_one():
    masks = tf.TensorSpec((None, None, None, None), tf.uint8)
    graph = tf.function(loss, input_signature=[masks, tf.TensorSpec((None, None, None, 3))])
    assert float(graph(MASKS[..., None], LOGITS)) == pytest.approx(float(loss(MASKS, LOGITS)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
        graph(MASKS[..., None].repeat(3, axis=-1), LOGITS)
