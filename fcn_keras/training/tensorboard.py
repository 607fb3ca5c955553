"""TensorBoard's summaries of pictures, of a net's layers and of a configuration.

Each is written to the default `tf.summary` writer at its default step.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.image.metadata import create_summary_metadata

from fcn_keras.geometry.graph import walk

WIDTH = 800  # Of a picture in pixels, at most.


def write_picture(tag: str, picture: np.ndarray, description: str) -> None:
    """Writes an RGB picture, uint8 `[h, w, 3]`, as JPEG.

    `tf.summary.image` makes a PNG, which takes five times as much for photographs.
    """
    drawn = Image.fromarray(picture)
    if drawn.width > WIDTH:
        size = WIDTH, max(1, round(drawn.height * WIDTH / drawn.width))
        drawn = drawn.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=80)
    content = [str(drawn.width).encode(), str(drawn.height).encode(), buffer.getvalue()]
    metadata = create_summary_metadata(display_name=None, description=description)
    tf.summary.write(tag, tf.constant(content), metadata=metadata)


def write_layers(model: keras.Model) -> None:
    """Writes a net of one image and one output as a graph of its layers.

    TensorBoard can draw Keras's own description of a model too, but only on request, and opens with
    an error where there is no graph of operations.
    """
    graph = tf.compat.v1.GraphDef()
    used: dict[str, int] = {}

    def add(name: str, kind: str, shape: Sequence[int | None], inputs: Sequence[str]) -> _Node:
        used[name] = used.get(name, 0) + 1
        node = graph.node.add(name=name if used[name] == 1 else f"{name}_{used[name]}", op=kind)
        node.input.extend(inputs)
        sizes = node.attr["_output_shapes"].list.shape.add()
        for size in (None, *shape):
            sizes.dim.add(size=-1 if size is None else size)
        return _Node(node.name)

    def visit(layer: keras.Layer, shape: Sequence[int | None], *args: Any, **kwargs: Any) -> _Node:
        leaves = keras.tree.flatten((args, kwargs))
        inputs = [leaf for leaf in leaves if isinstance(leaf, _Node)]
        return add(_scoped(layer.name), type(layer).__name__, shape, inputs)

    walk(model, add(model.inputs[0].name, "InputLayer", model.inputs[0].shape[1:], []), visit)
    tf.summary.graph(graph)


def write_options(options: Mapping[str, Any]) -> None:
    """Writes a configuration, a dict as from JSON, for the tab HParams."""
    hparams.hparams({name: _plain(value) for name, value in options.items()})


class _Node(str):
    """The name of a node, told from other texts that a layer is called with."""


def _scoped(name: str) -> str:
    """`block1_conv1` as `block1/block1_conv1`: TensorBoard folds a backbone's blocks."""
    block = re.match(r"([a-z]+\d+[a-z]?)_", name)
    return f"{block[1]}/{name}" if block else name


def _plain(value: Any) -> Any:
    """A value as HParams takes it: a number, a truth value or a text."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else value
