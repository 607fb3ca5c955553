"""The receptive field, stride and offset of a model's output cells.

They are computed from the model's graph with one rule per layer (`rules.STEPS`), without running
the model.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

import keras

from fcn_keras.errors import ModelError
from fcn_keras.geometry.axis import Axis, Seen
from fcn_keras.geometry.graph import describe, functional, walk
from fcn_keras.geometry.rules import step_of


class ReceptiveField(NamedTuple):
    """Receptive field of output cell (i, j): `size` pixels, starting at `offset + stride * (i, j)`.

    All values are in image pixels; padding makes `offset` negative. Each value is one number if
    rows and columns have the same field, else each is a pair (rows, columns).
    """

    # "| Any" spares users a check for the pair, which only odd models have.
    size: float | Any
    stride: float | Any
    offset: float | Any


def receptive_field(model: keras.Model, layer: str | None = None) -> ReceptiveField:
    """Computes the receptive field of a layer's output cells (section 3, Table 1).

    Where branches join, the field covers those of all branches. After upsampling, where the field
    differs from cell to cell, it is the smallest field that covers every cell's. TensorFlow's
    padding "same" depends on the map's size in strided layers; an unknown size is assumed to be a
    multiple of the stride.

    Args:
        model: A functional or Sequential `keras.Model` that takes an image `[b, h, w, c]`.
        layer: Name of a layer, which may be in a nested model. By default the scores at the
            coarsest stride, `score_fr`, as in Table 1, or the output of models without them.

    Returns:
        A `ReceptiveField`.

    Raises:
        ModelError: The layer does not exist, its field is the whole image, it joins branches with
            different strides, the model resizes its image (`zoom`), or a layer before it is not in
            `rules.STEPS`.
    """
    seen, output = _seen(model)
    if layer is not None and not (isinstance(layer, str) and layer in seen):
        raise ModelError(
            f"layer={layer!r}: unknown; the layers of {model.name!r} are {', '.join(seen)}."
        )
    return _field(seen.get(layer or "score_fr", output))


def output_field(model: keras.Model) -> ReceptiveField:
    """Computes the `ReceptiveField` of a model's output; raises the same as `receptive_field`."""
    return _field(_seen(model)[1])


def total_stride(model: keras.Model) -> tuple[int, int]:
    """Returns the smallest image shift (rows, columns) that shifts every map by whole cells.

    It is the least common multiple of the strides of all maps. Raises the same as
    `receptive_field`.
    """
    seen, output = _seen(model)
    _field(output)
    maps = [value for value in seen.values() if isinstance(value, Seen)]
    rows, columns = (
        math.lcm(*(Fraction(value.axes[axis].stride).numerator for value in maps))
        for axis in (0, 1)
    )
    return rows, columns


def _seen(model: keras.Model) -> tuple[dict[str, Seen | ModelError], Seen | ModelError]:
    """Returns the `Seen` of each layer and of the output, or the error if there is none."""
    seen: dict[str, Seen | ModelError] = {}

    def visit(
        layer: keras.Operation, shape: tuple[int | None, ...], *args: Any, **kwargs: Any
    ) -> Seen | ModelError:
        inputs = keras.tree.flatten((args, kwargs))
        errors = [value for value in inputs if isinstance(value, ModelError)]
        try:
            if errors:
                raise errors[0]
            step = step_of(layer, *args)
            if step is None:
                raise ModelError(
                    f"{describe(layer)}: its receptive field is unknown. If each output cell "
                    "depends only on the input cell at the same position, register it: from "
                    "fcn_keras.geometry import rules; "
                    f"rules.STEPS[{type(layer).__name__}] = rules.pointwise."
                )
            inputs = [value for value in inputs if isinstance(value, Seen)]
            rows, columns = step(layer, *inputs)
            seen[layer.name] = Seen((rows, columns), shape)
        except ModelError as error:  # Raised only if a later layer is requested.
            seen[layer.name] = error
        return seen[layer.name]

    batch_shape = functional(model).input.shape
    if len(batch_shape) != 4:
        raise ModelError(
            f"model {model.name!r}: must take an image [b, h, w, c], found the input {batch_shape}."
        )
    image: Seen | ModelError = Seen((Axis(), Axis()), batch_shape[1:])
    output = walk(model, image, visit)
    return seen, output


def _field(seen: Seen | ModelError) -> ReceptiveField:
    if isinstance(seen, ModelError):
        raise seen
    rows, columns = ([_number(x) for x in (a.size, a.stride, a.offset)] for a in seen.axes)
    return ReceptiveField(*(rows if rows == columns else zip(rows, columns, strict=True)))


def _number(x: int | Fraction) -> float:
    return int(x) if x == int(x) else float(x)
