"""Which pixels of the image a cell of a net's output sees: receptive field, stride and offset.

Found by walking the model's graph with the rule of each layer (`rules.STEPS`); no image is run.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

import keras

from fcn_keras.errors import ModelError
from fcn_keras.geometry.axis import Axis, Seen
from fcn_keras.geometry.graph import describe, walk
from fcn_keras.geometry.rules import step_of


class ReceptiveField(NamedTuple):
    """Output cell (i, j) sees `size` pixels, from `offset + stride * (i, j)` on.

    All in pixels of the image; `offset` is negative where the net pads. Each is one number where
    rows and columns agree in all three, else each is a pair (rows, columns).
    """

    size: float | tuple[float, float]
    stride: float | tuple[float, float]
    offset: float | tuple[float, float]


def receptive_field(model: keras.Model, layer: str | None = None) -> ReceptiveField:
    """The receptive field of a layer's output cells (section 3; Table 1 for the paper's nets).

    A cell that joins branches sees what any of them sees. After an upsampling, whose cells do not
    all see alike, it is the smallest field that holds for every cell. Before strides, TensorFlow's
    padding "same" depends on the map's size: where the model leaves it open, it is taken to be a
    multiple of the stride.

    Args:
        model: a functional or Sequential `keras.Model`, image `[b, h, w, c]` in.
        layer: name of a layer, also of one in a nested model. By default the scores at the
            coarsest stride, `score_fr`, as in Table 1, or in other models the output.

    Returns:
        A `ReceptiveField`.

    Raises:
        ModelError: there is no such layer, it sees the whole image or branches of unequal strides,
            or a layer in front of it is not in `rules.STEPS`.
    """
    seen, output = _seen(model)
    if layer is not None and layer not in seen:
        raise ModelError(f"layer={layer!r}: the layers of {model.name!r} are {', '.join(seen)}.")
    return _field(seen.get(layer or "score_fr", output))


def output_field(model: keras.Model) -> ReceptiveField:
    """The `ReceptiveField` of a model's output; raises as `receptive_field`."""
    return _field(_seen(model)[1])


def total_stride(model: keras.Model) -> tuple[int, int]:
    """Strides (rows, columns) that the image must be moved by for all cells to move alike.

    The least common multiple of the strides of all maps; raises as `receptive_field`.
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
    """By layer and at the output: a `Seen`, or the error that says why there is none."""
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
                    f"{describe(layer)}: its receptive field is not known. If each output cell "
                    "depends on the cell at its own place only, say so: from fcn_keras.geometry "
                    f"import rules; rules.STEPS[{type(layer).__name__}] = rules.pointwise."
                )
            inputs = [value for value in inputs if isinstance(value, Seen)]
            rows, columns = step(layer, *inputs)
            seen[layer.name] = Seen((rows, columns), shape)
        except ModelError as error:  # Only matters if what lies behind it is asked for.
            seen[layer.name] = error
        return seen[layer.name]

    shape = model.input_shape[1:] if hasattr(model, "inputs") else ()
    image: Seen | ModelError = Seen((Axis(), Axis()), shape)
    output = walk(model, image, visit)
    return seen, output


def _field(seen: Seen | ModelError) -> ReceptiveField:
    if isinstance(seen, ModelError):
        raise seen
    rows, columns = ([_number(x) for x in (a.size, a.stride, a.offset)] for a in seen.axes)
    return ReceptiveField(*(rows if rows == columns else zip(rows, columns, strict=True)))


def _number(x: int | Fraction) -> float:
    return int(x) if x == int(x) else float(x)
