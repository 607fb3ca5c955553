"""Passes arbitrary values through a Keras model's graph instead of tensors.

The caller decides what a layer does to a value: `geometry` passes receptive fields,
`convolutionalize` passes tensors of a new model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

from fcn_keras.errors import ModelError

T = TypeVar("T")  # A value in place of a tensor, or an entry of a table.


def walk(
    model: keras.Model,
    value: T,
    visit: Callable[..., T],
    *,
    shape: tuple[int | None, ...] | None = None,
    training: bool | None = None,
) -> T:
    """Passes `value` from a model's input to its output.

    Enters nested models, so only layers and operations such as `x + y` are visited.

    Args:
        model: A functional or built Sequential `keras.Model` with one input and one output.
        value: Value for the input; not a tuple, list or dict.
        visit: Called in order for each use of a layer, as `visit(layer, shape, *args, **kwargs)`.
            `shape` is the layer's output shape in the model, without the batch; the other
            arguments are those of the layer's call, with values instead of tensors. Returns the
            value for the layer's output.
        shape: Input shape including the batch; None for the model's own.
        training: Default `training` argument for layers called without one; None for no default.

    Returns:
        The value at the output.

    Raises:
        ModelError: The model has no graph, or several inputs or outputs.
    """
    graph = functional(model)
    image = keras.Input(batch_shape=shape or graph.input.shape, dtype=graph.input.dtype)
    values = {id(image): value}  # By tensor id; `traced` keeps the tensors alive.

    def call(layer: keras.Operation, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        output = _Symbolic(layer)(*args, **kwargs)
        if not isinstance(output, keras.KerasTensor):
            raise ModelError(f"{describe(layer)}: layers with several outputs are not supported.")
        if training is not None and "training" in inspect.signature(layer.call).parameters:
            kwargs.setdefault("training", training)
        filled, options = keras.tree.map_structure(
            lambda leaf: values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
            (args, kwargs),
        )
        values[id(output)] = (
            walk(layer, filled[0], visit, shape=args[0].shape, training=options.get("training"))
            if isinstance(layer, keras.Model)
            else visit(layer, output.shape[1:], *filled, **options)
        )
        return output

    traced = keras.models.clone_model(
        graph, image, clone_function=lambda layer: layer, call_function=call
    )
    return values[id(traced.output)]


def functional(model: keras.Model) -> keras.Model:
    """Returns the model as an uncompiled functional model that shares its layers.

    Raises:
        ModelError: The model has no graph, or several inputs or outputs.
    """
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:
        raise ModelError(
            f"model {model.name!r}: has no layer graph. Start a Sequential model with keras.Input, "
            "and use a functional model instead of a subclass of keras.Model."
        ) from None
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"model {model.name!r}: must have one input and one output, found {len(inputs)} inputs "
            f"and {len(outputs)} outputs. Select one of each: keras.Model(model.inputs[0], "
            "model.outputs[0])."
        )
    return keras.Model(inputs[0], outputs[0])


def describe(layer: keras.Operation) -> str:
    """Returns a layer's name and type for error messages."""
    return f"layer {layer.name!r} ({type(layer).__name__})"


def by_type(table: Mapping[type, T], layer: keras.Operation) -> T | None:
    """Returns the table entry of a layer's type or nearest base class; None if there is none."""
    return next((table[kind] for kind in type(layer).__mro__ if kind in table), None)


class _Symbolic(keras.Operation):
    """Replaces a layer in a graph that is traced but never run, so it needs no weights."""

    def __init__(self, layer: keras.Operation):
        super().__init__()
        self.layer = layer

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        return self.layer.compute_output_spec(*args, **kwargs)
