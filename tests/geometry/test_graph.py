"""Values that pass through a model's graph: order of the layers, their arguments and shapes."""

import keras
import pytest
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.geometry.graph import by_type, functional, walk


def net():
    """Builds normalizations with and without `training`, alone and in nested models."""
    image = keras.Input((9, 12, 3))
    x = layers.BatchNormalization(name="free")(image)
    x = layers.BatchNormalization(name="off")(x, training=False)
    x = layers.Conv2D(2, 3, name="conv")(x)
    inner = [
        keras.Input((7, 10, 2)),
        layers.BatchNormalization(name="inner"),
        layers.ReLU(name="relu"),
    ]
    x = keras.Sequential(inner)(x)
    inner = [keras.Input((7, 10, 2)), layers.BatchNormalization(name="inner_off")]
    x = keras.Sequential(inner)(x, training=False)
    return keras.Model(image, layers.Add(name="add")([x, x]))


def visited(model, **options):
    """Returns each visit as (name, shape, value of its first input, training)."""
    visits = []

    def visit(layer, shape, *args, **kwargs):
        (first, *_) = keras.tree.flatten(args)
        visits.append((layer.name, shape, first, kwargs.get("training")))
        return first + 1

    assert walk(model, 10, visit, **options) == 10 + len(visits)
    return visits


def test_layers_are_visited_in_order_with_values_and_shapes():
    assert visited(net()) == [
        ("free", (9, 12, 3), 10, None),
        ("off", (9, 12, 3), 11, False),
        ("conv", (7, 10, 2), 12, None),
        ("inner", (7, 10, 2), 13, None),
        ("relu", (7, 10, 2), 14, None),
        ("inner_off", (7, 10, 2), 15, False),
        ("add", (7, 10, 2), 16, None),
    ]


@pytest.mark.parametrize("training", [True, False])
def test_training_is_a_default_for_layers_that_take_it(training):
    found = {name: given for name, _, _, given in visited(net(), training=training)}
    assert found == {
        **{"free": training, "off": False, "conv": None, "inner": training, "relu": None},
        **{"inner_off": False, "add": None},
    }


def test_the_input_may_have_another_size():
    image = keras.Input((None, None, 3))
    nested = keras.Sequential([keras.Input((None, None, 2)), layers.Conv2D(4, 5, name="inner")])
    model = keras.Model(image, nested(layers.Conv2D(2, 3, name="conv")(image)))
    assert [shape for _, shape, *_ in visited(model)] == [(None, None, 2), (None, None, 4)]
    found = visited(model, shape=(1, 9, 12, 3))
    assert [shape for _, shape, *_ in found] == [(7, 10, 2), (3, 6, 4)]


def test_what_has_no_single_path_is_refused():
    image = keras.Input((8, 8, 3))
    two = keras.Model(image, [layers.ReLU()(image), layers.ELU()(image)], name="two")
    with pytest.raises(ModelError, match=r"1 inputs and 2 outputs.*model.outputs\[0\]"):
        functional(two)
    first, _ = two(image)
    assert walk(keras.Model(image, first), 0, lambda *_: 5) == 5
    pair = keras.Model([image, keras.Input((8, 8, 3))], image + 1, name="pair")
    with pytest.raises(ModelError, match="a nested model must have one input, found 2"):
        walk(keras.Model(image, pair([image, image])), 0, lambda *_: 5)
    with pytest.raises(ModelError, match="has no layer graph"):
        functional(keras.Sequential([layers.ReLU()]))
    recurrent = layers.GRU(2, return_state=True, name="gru")
    steps = keras.Input((4, 3))
    with pytest.raises(ModelError, match="'gru' .*: layers with several outputs"):
        walk(keras.Model(steps, recurrent(steps)[0]), 0, lambda *_: 5)


def test_the_nearest_base_class_counts():
    class Own(layers.ReLU):
        pass

    table = {layers.Layer: "layer", layers.ReLU: "relu"}
    assert by_type(table, Own()) == "relu" and by_type(table, layers.ELU()) == "layer"
    assert by_type({layers.ELU: "elu"}, Own()) is None
