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
    (result,) = _values(functional(model), value, visit, shape, training)
    return result


def functional(model: keras.Model) -> keras.Model:
    """Returns the model as an uncompiled functional model that shares its layers.

    Raises:
        ModelError: It is not a model, has no graph, or has several inputs or outputs.
    """
    inputs, outputs = _ends(model)
    if len(inputs) != 1 or len(outputs) != 1:
        fix = (
            "Select one output: keras.Model(model.input, model.outputs[0])."
            if len(inputs) == 1
            else "Use a part with one input, such as a nested model: model.get_layer(NAME)."
        )
        raise ModelError(
            f"model {model.name!r}: must have one input and one output, found {len(inputs)} inputs "
            f"and {len(outputs)} outputs. {fix}"
        )
    return keras.Model(inputs[0], outputs[0])


def describe(layer: keras.Operation) -> str:
    """Returns a layer's name and type for error messages."""
    return f"layer {layer.name!r} ({type(layer).__name__})"


def by_type(table: Mapping[type, T], layer: keras.Operation) -> T | None:
    """Returns the table entry of a layer's type or nearest base class; None if there is none."""
    return next((table[kind] for kind in type(layer).__mro__ if kind in table), None)


def _ends(model: keras.Model) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor]]:
    """Returns the model's inputs and outputs, flat."""
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"model: must be a Keras model, found {type(model).__name__}. The result of "
            "fcn_keras.load has one: pass its attribute `model`."
        )
    try:
        return model.inputs, model.outputs
    except AttributeError:
        raise ModelError(
            f"model {model.name!r}: has no layer graph. Start a Sequential model with keras.Input, "
            "and use a functional model instead of a subclass of keras.Model."
        ) from None


def _values(
    graph: keras.Model,
    value: T,
    visit: Callable[..., T],
    shape: tuple[int | None, ...] | None,
    training: bool | None,
) -> list[T]:
    """Returns the value of each output; nested models may have several."""
    image = keras.Input(batch_shape=shape or graph.input.shape, dtype=graph.input.dtype)
    values = {id(image): value}  # By tensor id; `traced` keeps the tensors alive.

    def call(layer: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        output = _Symbolic(layer)(*args, **kwargs)
        if training is not None and "training" in inspect.signature(layer.call).parameters:
            kwargs.setdefault("training", training)
        filled, options = keras.tree.map_structure(
            lambda leaf: values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
            (args, kwargs),
        )
        if isinstance(layer, keras.Model):
            nested = keras.Model(_only_input(layer), _ends(layer)[1])
            mode = options.get("training")
            found = _values(nested, filled[0], visit, args[0].shape, mode)
        elif isinstance(output, keras.KerasTensor):
            found = [visit(layer, output.shape[1:], *filled, **options)]
        else:
            raise ModelError(f"{describe(layer)}: layers with several outputs are not supported.")
        values.update(zip(map(id, keras.tree.flatten(output)), found, strict=True))
        return output

    traced = keras.models.clone_model(
        graph, image, clone_function=lambda layer: layer, call_function=call
    )
    return [values[id(output)] for output in traced.outputs]


def _only_input(model: keras.Model) -> keras.KerasTensor:
    inputs, _ = _ends(model)
    if len(inputs) != 1:
        raise ModelError(
            f"{describe(model)}: a nested model must have one input, found {len(inputs)}. Use its "
            "layers without the nesting."
        )
    return inputs[0]


class _Symbolic(keras.Operation):
    """Replaces a layer in a graph that is traced but never run, so it needs no weights."""

    def __init__(self, layer: keras.Operation):
        super().__init__()
        self.layer = layer

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        return self.layer.compute_output_spec(*args, **kwargs)
