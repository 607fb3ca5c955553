"""A model as a graph of constants: what is exported, and what predicts fastest on a CPU.

oneDNN lays the weights of a convolution out anew for each call, unless they are constants; and a
constant can be stored in the type that the layer computes in.
"""

import keras
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from fcn_keras.errors import ModelError
from fcn_keras.prediction import input_signature

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}

# From the scores on everything is float32 in every precision, and so is the image's scaling.
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


def in_precision(model, precision):
    """The model with the same weights, its layers computing in another precision.

    Args:
        model: a functional `keras.Model`.
        precision: "float32", or "bfloat16": the layers up to the scores; weights stay float32.

    Returns:
        A new `keras.Model`.

    Raises:
        ModelError: the precision is unknown, or the model is no functional one.
    """
    if precision not in POLICIES:
        raise ModelError(f"precision={precision!r}: must be one of {', '.join(POLICIES)}.")
    if not isinstance(model, keras.Model) or not hasattr(model, "inputs"):
        raise ModelError(f"{model!r}: must be a functional keras.Model.")
    config = model.get_config()
    _set_policies(config, POLICIES[precision])
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def freeze(model):
    """The logits of a model as a graph without variables.

    Returns:
        A `tf.ConcreteFunction` of positional images (as `input_signature(model)` flattens, uint8)
        -> a list of flat outputs. Weights are constants of the type that the layers compute in.
    """
    specs = keras.tree.flatten(input_signature(model))
    single = not isinstance(model.input, dict | list | tuple)

    @tf.function(input_signature=specs)
    def logits(*images):
        packed = images[0] if single else keras.tree.pack_sequence_as(model.input, list(images))
        return keras.tree.flatten(model(packed, training=False))

    constant = convert_variables_to_constants_v2(logits.get_concrete_function())
    graph = constant.graph.as_graph_def()
    _cast_weights(graph)
    inputs = [tensor.name for tensor in constant.inputs]
    outputs = [tensor.name for tensor in constant.outputs]
    wrapped = tf.compat.v1.wrap_function(
        lambda: tf.import_graph_def(graph, name=""), signature=[]
    )
    get = wrapped.graph.get_tensor_by_name
    return wrapped.prune([get(name) for name in inputs], [get(name) for name in outputs])


def _set_policies(config, policy):
    """Changes the policies of all layers in a model's configuration, nested models included."""
    for entry in config["layers"]:
        kind, inner = entry["class_name"], entry["config"]
        if "layers" in inner:
            _set_policies(inner, policy)
        elif "dtype" in inner and kind != "InputLayer":
            stays = kind in FLOAT32_LAYERS or inner["name"].startswith(FLOAT32_NAMES)
            inner["dtype"] = "float32" if stays else policy


def _cast_weights(graph):
    """Replaces constants that are cast to bfloat16 by constants of bfloat16.

    TensorFlow itself does not fold constants of more than 10 MB.
    """
    nodes = {node.name: node for node in graph.node}

    def constant_behind(name):
        node = nodes[name.split(":")[0]]
        while node.op in ("Identity", "ReadVariableOp"):
            node = nodes[node.input[0].split(":")[0]]
        return node if node.op == "Const" else None

    for node in graph.node:
        if node.op != "Cast" or node.attr["DstT"].type != tf.bfloat16.as_datatype_enum:
            continue
        constant = constant_behind(node.input[0])
        if constant is None:
            continue
        value = tf.make_ndarray(constant.attr["value"].tensor).astype(tf.bfloat16.as_numpy_dtype)
        new = node_def_pb2.NodeDef(name=node.name, op="Const")
        new.attr["dtype"].type = tf.bfloat16.as_datatype_enum
        new.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        node.CopyFrom(new)
    used, pending = set(), [n.name for n in graph.node if n.op not in ("Const", "Identity")]
    while pending:
        name = pending.pop()
        if name not in used:
            used.add(name)
            pending += [i.lstrip("^").split(":")[0] for i in nodes[name].input]
    kept = [n for n in graph.node if n.name in used or n.op not in ("Const",)]
    del graph.node[:]
    graph.node.extend(kept)
