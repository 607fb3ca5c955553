"""Freezes a model into a graph of constants, which a CPU computes fastest, but loads slowly.

oneDNN repacks a convolution's weights on each call unless they are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.layers.dense_as_convolution import constant_weights
from fcn_keras.prediction.signature import as_input, input_signature


def freeze(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    """Freezes the function that computes a model's logits into a graph without variables.

    Returns:
        A `tf.ConcreteFunction` that takes the images as positional arguments (uint8, flat as in
        `input_signature(model)`) and returns a flat list of outputs.
    """
    return _traced(model, tf.constant)


def freeze_without_weights(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    """Like `freeze`, but with zeros in place of weights, which take no memory.

    `insert_weights` inserts the weights later.
    """
    return _traced(model, lambda array, name: tf.constant(0, array.dtype, array.shape, name))


def insert_weights(graph: tf.compat.v1.GraphDef, model: keras.Model) -> None:
    """Inserts the weights into a function made by `freeze_without_weights` inside a graph.

    TensorFlow copies a graph many times before it writes it, so the weights are inserted last.

    Args:
        graph: A `GraphDef`, whose functions are changed in place.
        model: The model that the function was made from.
    """
    weights = dict(named_weights(model))
    for function in graph.library.function:
        for node in function.node_def:
            if node.op == "Const" and node.name in weights:
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))


def _traced(
    model: keras.Model, constant: Callable[..., tf.Tensor]
) -> tf.types.experimental.ConcreteFunction:
    """Traces the logits; `constant` turns a weight's array and name into a tensor."""
    weights = named_weights(model)

    @tf.function(input_signature=keras.tree.flatten(input_signature(model)))
    def logits(*images: tf.Tensor) -> list[tf.Tensor]:
        return logits_with(model, [constant(array, name=name) for name, array in weights], images)

    return logits.get_concrete_function()


def logits_with(
    model: keras.Model, weights: Sequence[tf.Tensor], images: Iterable[tf.Tensor]
) -> list[tf.Tensor]:
    """Computes a model's flat outputs with other tensors in place of its weights.

    Args:
        model: A functional `keras.Model`.
        weights: Tensors, in the order of `named_weights`.
        images: One tensor `[b, h, w, c]` per input.
    """
    trainable = len(model.trainable_variables)
    with constant_weights():
        outputs, _ = model.stateless_call(
            weights[:trainable], weights[trainable:], as_input(model, images), training=False
        )
    return keras.tree.flatten(outputs)


def named_weights(model: keras.Model) -> list[tuple[str, np.ndarray]]:
    """Returns (name in the graph, array) of each weight, in the order that `logits_with` takes."""
    variables = (*model.trainable_variables, *model.non_trainable_variables)
    return [(f"weight_{number}", weight.numpy()) for number, weight in enumerate(variables)]
