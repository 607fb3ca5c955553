"""ONNX files, for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fcn_keras.serving.writers.endpoint import LARGE_WEIGHT, make_endpoint

if TYPE_CHECKING:
    import keras
    import onnx
    from tf2onnx.graph import Graph, Node


def write(
    model: keras.Model,
    file: Path,
    checked: Path,
    precision: str,
    images: list[np.ndarray],
    labels: dict[str, str],
) -> None:
    """Writes `file`, which returns masks, and `checked`, which returns logits too."""
    import onnx
    import tf2onnx

    endpoint, kernels = make_endpoint(model, with_logits=True, large=LARGE_WEIGHT)
    model, _ = tf2onnx.convert.from_function(
        endpoint,
        input_signature=endpoint.input_signature,
        opset=18,
        custom_op_handlers={"FloorMod": (_floor_mod, [])},
    )
    _insert_weights(model.graph, kernels)
    _name_sizes(model)
    onnx.helper.set_model_props(model, labels)
    onnx.save(model, checked)
    for output in [output for output in model.graph.output if output.name != "mask"]:
        model.graph.output.remove(output)
    onnx.save(model, file)


def _floor_mod(graph: Graph, node: Node, name: str, arguments: list[Any]) -> None:
    """Converts TensorFlow's FloorMod to ONNX's Mod; tf2onnx 1.17 rounds -337 // 32 wrongly."""
    inputs, outputs = list(node.input), list(node.output)
    shapes, kinds = node.output_shapes, node.output_dtypes
    graph.remove_node(name)
    graph.make_node("Mod", inputs, name=name, outputs=outputs, shapes=shapes, dtypes=kinds)


def _insert_weights(graph: onnx.GraphProto, kernels: dict[str, np.ndarray]) -> None:
    """Turns inputs into constants, with the axes in the order that the graph transposes them to."""
    from onnx import helper, numpy_helper

    for value in [value for value in graph.input if value.name in kernels]:
        graph.input.remove(value)
    for name, kernel in kernels.items():
        users = [node for node in graph.node if name in node.input]
        if [node.op_type for node in users] == ["Transpose"]:
            (node,) = users
            kernel = kernel.transpose(helper.get_node_attr_value(node, "perm"))
            name = node.output[0]
            graph.node.remove(node)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kernel), name))


def _name_sizes(model: onnx.ModelProto) -> None:
    """Names the dynamic sizes n, h and w; the converter only numbers them."""
    for value in (*model.graph.input, *model.graph.output):
        for name, size in zip("nhw", value.type.tensor_type.shape.dim, strict=False):
            size.dim_param = name
