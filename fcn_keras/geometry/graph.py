"""Passes values of any kind through a Keras model's graph, in the place of its tensors.

What a layer does to the value is up to the caller: receptive fields in `geometry`, tensors of a
new net in `convolutionalize`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

from fcn_keras.errors import ModelError

T = TypeVar("T")  # What stands for a tensor, or stands in a table.


def walk(
    model: keras.Model,
    value: T,
    visit: Callable[..., T],
    *,
    shape: tuple[int | None, ...] | None = None,
    training: bool | None = None,
) -> T:
    """Passes `value` from a model's input to its output.

    Nested models are entered, so that only layers and operations such as `x + y` are visited.

    Args:
        model: a functional or built Sequential `keras.Model` of one input and one output.
        value: what stands for the input; no tuple, list or dict.
        visit: called in order for each use of a layer, as `visit(layer, shape, *args, **kwargs)`,
            with the shape of its output in the model, batch left out, and what the layer was
            called with, values in the place of tensors. Returns what stands for the output.
        shape: of the input, batch included, if not the model's own.
        training: what the layers are called with that do not say it themselves, if not None.

    Returns:
        The value at the output.

    Raises:
        ModelError: the model has no graph, or several inputs or outputs.
    """
    graph = functional(model)
    image = keras.Input(batch_shape=shape or graph.input.shape, dtype=graph.input.dtype)
    values = {id(image): value}  # By the tensor's id: the drawing keeps the tensors alive.

    def call(layer: keras.Operation, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        output = _Drawn(layer)(*args, **kwargs)
        if not isinstance(output, keras.KerasTensor):
            raise ModelError(f"{describe(layer)} has several outputs.")
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

    drawing = keras.models.clone_model(
        graph, image, clone_function=lambda layer: layer, call_function=call
    )
    return values[id(drawing.output)]


def functional(model: keras.Model) -> keras.Model:
    """The model as a functional one that is not compiled, on its own layers.

    Raises:
        ModelError: the model has no graph, or several inputs or outputs.
    """
    try:
        inputs, outputs = model.inputs, model.outputs
    except AttributeError:
        raise ModelError(
            f"model {model.name!r} has no graph of layers: a Sequential model needs keras.Input as "
            "its first layer, and a subclass of keras.Model cannot be taken apart."
        ) from None
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"model {model.name!r} has {len(inputs)} inputs and {len(outputs)} outputs, must have "
            "one of each. Choose them: keras.Model(model.inputs[0], model.outputs[0])."
        )
    return keras.Model(inputs[0], outputs[0])


def describe(layer: keras.Operation) -> str:
    """How errors name a layer."""
    return f"layer {layer.name!r} ({type(layer).__name__})"


def by_type(table: Mapping[type, T], layer: keras.Operation) -> T | None:
    """What a table from types to anything has for a layer or the nearest of its base classes."""
    return next((table[kind] for kind in type(layer).__mro__ if kind in table), None)


class _Drawn(keras.Operation):
    """Stands for a layer in a graph that is drawn but never run, and so needs no weights."""

    def __init__(self, layer: keras.Operation):
        super().__init__()
        self.layer = layer

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        return self.layer.compute_output_spec(*args, **kwargs)
