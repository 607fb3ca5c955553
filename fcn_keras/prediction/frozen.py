"""Freezes a model into a graph of constants, which is exported and is fastest on a CPU.

oneDNN repacks a convolution's weights on each call unless they are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ModelError
from fcn_keras.layers.dense_as_convolution import constant_weights
from fcn_keras.prediction.signature import as_input, input_signature

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
# Layers whose weights are also stored in bfloat16; statistics of normalization stay float32.
HALF_WEIGHTS = {"Conv2D", "Dense", "DepthwiseConv2D", "GroupedConv2D", "PatchConv2D"}

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
    """Copies a model with layers that compute in another precision, and the same weights.

    Args:
        model: A functional `keras.Model`.
        precision: "float32", or "bfloat16" for the layers up to the scores. Kernels and biases are
            rounded to it, as these layers round them anyway.

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


def _set_policies(config: dict[str, Any], policy: str) -> None:
    """Sets the dtype policies of a copy's layers in its configuration, also in nested models."""
    for entry in config["layers"]:
        kind, inner = entry["class_name"], entry["config"]
        if "layers" in inner:
            _set_policies(inner, policy)
        elif "dtype" in inner and kind != "InputLayer":
            stays = kind in FLOAT32_LAYERS or inner["name"].startswith(FLOAT32_NAMES)
            stored = "bfloat16" if policy == "mixed_bfloat16" and kind in HALF_WEIGHTS else policy
            inner["dtype"] = "float32" if stays else stored
        for key in inner:
            if key.endswith("_initializer"):
                inner[key] = "zeros"  # Random numbers would take longer than the copy.
