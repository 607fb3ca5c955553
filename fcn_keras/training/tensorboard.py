"""Writes pictures, a model's layers and a configuration for TensorBoard.

Everything goes to the default `tf.summary` writer at its default step.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.image.metadata import create_summary_metadata

from fcn_keras import outputs
from fcn_keras.geometry.graph import walk

MAX_WIDTH = 800  # Of a picture, in pixels.


def write_picture(tag: str, picture: np.ndarray, description: str) -> None:
    """Writes an RGB picture, uint8 `[h, w, 3]`, as JPEG.

    `tf.summary.image` writes PNGs, which are five times as large for photographs.
    """
    drawn = Image.fromarray(picture)
    if drawn.width > MAX_WIDTH:
        size = MAX_WIDTH, max(1, round(drawn.height * MAX_WIDTH / drawn.width))
        drawn = drawn.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=80)
    content = [str(drawn.width).encode(), str(drawn.height).encode(), buffer.getvalue()]
    metadata = create_summary_metadata(display_name=None, description=description)
    tf.summary.write(tag, tf.constant(content), metadata=metadata)


def write_layers(model: keras.Model) -> None:
    """Writes a model with one image and one output as a graph of its layers.

    TensorBoard can also draw Keras's own description of a model, but only on request, and shows an
    error at first if there is no graph of operations.
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


def write_options(options: Mapping[str, Any], trial: str) -> None:
    """Writes a configuration for the HParams tab.

    There is no `hparams_config`: with one, TensorBoard no longer marks the options that differ
    between runs, and cannot filter by their values.

    Args:
        options: The configuration, with JSON types.
        trial: Name of the run's row. TensorBoard merges runs that share a name.
    """
    hparams.hparams({name: _plain(value) for name, value in options.items()}, trial_id=trial)


def cut(path: Path, keeps: Callable[[str, int], bool]) -> None:
    """Removes from an event file the events for which `keeps(tag, step)` is false.

    The end of the file, if a kill has left half an event there, is removed too.
    """
    with outputs.replacing(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as file:
            for content in _records(path):
                event = Event.FromString(content)
                if all(keeps(value.tag, event.step) for value in event.summary.value):
                    file.write(content)


def _records(path: Path) -> Iterator[bytes]:
    with contextlib.suppress(tf.errors.DataLossError):
        for record in tf.data.TFRecordDataset(str(path)):
            yield record.numpy()


def trial_name(run: Path) -> str:
    """Names a run by its folder and the one above: "runs/mine", or "mine/8s" for a stage."""
    run = run.absolute()
    return f"{run.parent.name}/{run.name}"


class _Node(str):
    """The name of a node, as a subclass that distinguishes it from a layer's string arguments."""


def _scoped(name: str) -> str:
    """Turns `block1_conv1` into `block1/block1_conv1`, so TensorBoard groups a block's layers."""
    block = re.match(r"([a-z]+\d+[a-z]?)_", name)
    return f"{block[1]}/{name}" if block else name


def _plain(value: Any) -> Any:
    """Converts a value to what HParams accepts: a number, a bool or a string."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else value
