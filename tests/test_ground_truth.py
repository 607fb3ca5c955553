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
    with pytest.raises(tf.errors.InvalidArgumentError, match="masks: must be .*found"):
        graph(MASKS[..., None].repeat(3, axis=-1), LOGITS)


@pytest.mark.parametrize("shape", [(1, 4, 5), (2, 1, 1), (2, 1, 5), (2, 5, 4), (40,), (2, 4, 5, 3)])
def test_masks_of_unknown_rank_are_compared_too(count, shape):
    logits = tf.TensorSpec((None, None, None, 3))
    graph = tf.function(count, input_signature=[tf.TensorSpec(None, tf.uint8), logits])
    graph(MASKS, LOGITS)
    graph(MASKS[..., None], LOGITS)
    with pytest.raises(tf.errors.InvalidArgumentError, match="masks: must be .*found"):
        graph(np.zeros(shape, "uint8"), LOGITS)


def test_masks_of_unknown_rank_give_the_same_loss():
    logits = tf.TensorSpec((None, None, None, 3))
    graph = tf.function(loss, input_signature=[tf.TensorSpec(None, tf.uint8), logits])
    for masks in (MASKS, MASKS[..., None]):
        assert float(graph(masks, LOGITS)) == pytest.approx(float(loss(MASKS, LOGITS)))


@pytest.fixture(params=["loss", "metric"])
def weigh(request):
    """What gets masks, logits and weights: the loss, or the metric."""
    return MaskedCrossentropy() if request.param == "loss" else ConfusionMatrix(3).update_state


@pytest.mark.parametrize("wrong", [-1, np.nan, np.inf, 1e39])
def test_weights_below_0_or_not_finite_are_an_error(weigh, wrong):
    weights = np.ones(MASKS.shape)
    weights[1, 2, 3] = wrong
    with pytest.raises(ConfigError, match="sample_weight: .* finite and at least 0"):
        weigh(MASKS, LOGITS, weights)
    with pytest.raises(tf.errors.InvalidArgumentError, match="finite and at least 0"):
        tf.function(weigh, autograph=False)(MASKS, LOGITS, weights)
    with pytest.raises(ConfigError, match="sample_weight: must be numbers, found string"):
        weigh(MASKS, LOGITS, np.array(["a", "b"]))


def test_weights_below_0_are_nan_where_xla_cannot_raise():
    assert np.isnan(tf.function(MaskedCrossentropy(), jit_compile=True)(MASKS, LOGITS, [-1.0, 1]))
    matrix = ConfusionMatrix(3)
    tf.function(matrix.update_state, jit_compile=True)(MASKS, LOGITS, [-1.0, 1])
    assert all(np.isnan(value) for value in matrix.result().values())


@pytest.mark.parametrize("rank_is_known", [True, False])
@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        *[(shape, True) for shape in [(), (1,), (2,), (2, 1), (2, 4, 5), (2, 4, 5, 1), (1, 4, 1)]],
        *[(shape, False) for shape in [(3,), (4,), (5, 1, 1), (2, 4), (2, 5, 4), (2, 4, 5, 3)]],
        *[(shape, False) for shape in [(3, 1), (1, 5), (2, 4, 5, 1, 1)]],
    ],
)
def test_sizes_of_weights_that_a_graph_learns_as_it_runs_are_compared(shape, fits, rank_is_known):
    spec = tf.TensorSpec(len(shape) * [None] if rank_is_known else None)
    masks, logits = tf.TensorSpec(3 * [None], tf.uint8), tf.TensorSpec([None, None, None, 3])
    weights = np.random.default_rng(2).uniform(1, 2, shape).astype("float32")

    def graph():
        return tf.function(MaskedCrossentropy(), [masks, logits, spec], autograph=False)(
            MASKS, LOGITS, weights
        )

    if not fits:
        with pytest.raises((ConfigError, tf.errors.InvalidArgumentError), match="must be .b., one"):
            graph()
        return
    full = np.broadcast_to(weights.reshape([*shape, 1, 1, 1, 1][:3]), MASKS.shape)
    each = -np.log(np.take_along_axis(softmax(LOGITS), MASKS[..., None].astype(int), -1)[..., 0])
    assert float(graph()) == pytest.approx((full * each).sum() / full.sum(), rel=1e-5)


def softmax(logits):
    powers = np.exp(logits.astype("float64"))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_a_wrong_shape_of_weights_is_told_as_given():
    with pytest.raises(ConfigError, match=r"one per pixel, found \[5\]\. For"):
        MaskedCrossentropy()(MASKS, LOGITS, np.ones(5))
