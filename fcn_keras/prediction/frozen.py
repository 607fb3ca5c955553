"""Freezes a model into a graph of constants, which is exported and is fastest on a CPU.

oneDNN repacks a convolution's weights on each call unless they are constants. A constant can also
be stored in the type that its layer computes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableSequence, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2

from fcn_keras.errors import ModelError
from fcn_keras.prediction.signature import as_input, input_signature

HALF = tf.bfloat16
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}

# Preprocessing, and everything from the scores on, is float32 in every precision.
FLOAT32_LAYERS = {
    "BilinearUpsampling",
    "CaffePreprocessing",
    "CropLike",
    "Normalization",
    "Rescaling",
    "ResizeLike",
    "Zoom",
}
FLOAT32_NAMES = ("score", "fuse", "scale_")


def in_precision(model: keras.Model, precision: str) -> keras.Model:
    """Copies a model, with the same weights but with layers that compute in another precision.

    Args:
        model: A functional `keras.Model`.
        precision: "float32", or "bfloat16" for the layers up to the scores; weights stay float32.

    Returns:
        A new `keras.Model`.

    Raises:
        ModelError: The precision is unknown, or the model is not functional.
    """
    if precision not in POLICIES:
        raise ModelError(f"precision={precision!r}: must be one of {', '.join(POLICIES)}.")
    check_functional(model)
    config = model.get_config()
    _set_policies(config, POLICIES[precision])
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def check_functional(model: object) -> None:
    """Raises a `ModelError` unless the model is a functional `keras.Model`."""
    if not isinstance(model, keras.Model) or not hasattr(model, "inputs"):
        raise ModelError(
            f"model: must be a functional keras.Model or the result of fcn_keras.load, found "
            f"{type(model).__name__}. Pass keras.Model(inputs, outputs)."
        )


def check_finite(model: keras.Model) -> None:
    """Checks that all weights are finite: a model with others predicts one class everywhere.

    Raises:
        ModelError: Some weights are infinite or NaN.
    """
    for variable in model.variables:
        is_float = keras.backend.is_float_dtype(variable.dtype)
        if is_float and not keras.ops.all(keras.ops.isfinite(variable)):
            raise ModelError(
                f"{model.name}: {variable.path} has infinite or NaN values. Train again with a "
                "lower learning rate, or choose an earlier model."
            )


def freeze(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    """Freezes the function that computes a model's logits into a graph without variables.

    Returns:
        A `tf.ConcreteFunction` that takes the images as positional arguments (uint8, flat as in
        `input_signature(model)`) and returns a flat list of outputs. Weights are constants of the
        type that their layers compute in.
    """
    function = _traced(model, tf.constant)
    if not any(_casts(op.node_def) for op in function.graph.get_operations() if op.type == "Cast"):
        return function
    graph = function.graph.as_graph_def()
    _cast_constants(graph.node)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), signature=[])
    inputs, outputs = (
        [wrapped.graph.get_tensor_by_name(tensor.name) for tensor in tensors]
        for tensors in (function.inputs, function.outputs)
    )
    return wrapped.prune(inputs, outputs)


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
        _cast_constants(function.node_def)


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
    outputs, _ = model.stateless_call(
        weights[:trainable], weights[trainable:], as_input(model, images), training=False
    )
    return keras.tree.flatten(outputs)


def named_weights(model: keras.Model) -> list[tuple[str, np.ndarray]]:
    """Returns (name in the graph, array) of each weight, in the order that `logits_with` takes."""
    variables = (*model.trainable_variables, *model.non_trainable_variables)
    return [(f"weight_{number}", weight.numpy()) for number, weight in enumerate(variables)]


def _set_policies(config: dict[str, Any], policy: str) -> None:
    """Sets the dtype policies of all layers in a model's configuration, also in nested models."""
    for entry in config["layers"]:
        kind, inner = entry["class_name"], entry["config"]
        if "layers" in inner:
            _set_policies(inner, policy)
        elif "dtype" in inner and kind != "InputLayer":
            stays = kind in FLOAT32_LAYERS or inner["name"].startswith(FLOAT32_NAMES)
            inner["dtype"] = "float32" if stays else policy


def _cast_constants(nodes: MutableSequence[node_def_pb2.NodeDef]) -> None:
    """Replaces casts of constants to bfloat16 by bfloat16 constants.

    TensorFlow does not fold constants of more than 10 MB itself.
    """
    known, sources, cast = {node.name: node for node in nodes}, set(), set()
    for node in filter(_casts, nodes):
        source = known.get(node.input[0].split(":")[0])  # None for a function argument.
        if source is None or source.op != "Const":
            continue
        value = tf.make_ndarray(source.attr["value"].tensor).astype(HALF.as_numpy_dtype)
        node.CopyFrom(node_def_pb2.NodeDef(name=node.name, op="Const"))
        node.attr["dtype"].type = HALF.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        sources.add(source.name)
        cast.add(f"{node.name}:y:0")  # The name of a cast's output inside a function.
    used = set()
    for node in nodes:
        for place, name in enumerate(node.input):
            used.add(name.split(":")[0].removeprefix("^"))
            if name in cast:
                node.input[place] = name.replace(":y:0", ":output:0")
    for place in reversed(range(len(nodes))):
        if nodes[place].name in sources - used:
            del nodes[place]


def _casts(node: node_def_pb2.NodeDef) -> bool:
    return node.op == "Cast" and node.attr["DstT"].type == HALF.as_datatype_enum
