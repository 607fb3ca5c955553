"""Opens SavedModels in a session, as TensorFlow Serving runs them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

v1 = tf.compat.v1

LABELS = Path("assets", "labels.json")

Specs = dict[str, tf.TensorSpec]
SignatureSpecs = tuple[Specs, Specs]  # Inputs and outputs of a signature.


class SavedModel:
    """An opened SavedModel.

    Its signatures share the variables. A session keeps constants once per signature that has run.

    Attributes:
        signatures: As in `describe`.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens the SavedModel in a version folder."""
        self.signatures = describe(path)
        self._session = v1.Session(graph=tf.Graph())
        with self._session.graph.as_default(), quiet():  # The caller may use its own graph.
            loaded = v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
        self._ends = loaded.signature_def

    def run(self, signature: str, **inputs: Any) -> dict[str, np.ndarray]:
        """Runs a signature: keyword arrays -> a dict of arrays."""
        ends = self._ends[signature]
        outputs = {name: tensor.name for name, tensor in ends.outputs.items()}
        given = {ends.inputs[name].name: value for name, value in inputs.items()}
        return self._session.run(outputs, given)

    def close(self) -> None:
        """Frees the weights."""
        self._session.close()


def describe(path: str | Path) -> dict[str, SignatureSpecs]:
    """Reads the signatures of a SavedModel.

    Returns:
        By signature name, a pair of dicts of `tf.TensorSpec` by name: inputs and outputs.

    Raises:
        ValueError: The file has no graph.
    """
    content = saved_model_pb2.SavedModel.FromString(Path(path, "saved_model.pb").read_bytes())
    if not content.meta_graphs:
        raise ValueError("saved_model.pb has no graph")
    return {
        name: (_specs(signature.inputs), _specs(signature.outputs))
        for name, signature in content.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }


@contextlib.contextmanager
def open_signature(
    path: str | Path, signature: str
) -> Iterator[Callable[..., dict[str, np.ndarray]]]:
    """Opens one signature of a SavedModel as a function: keyword arrays -> a dict of arrays."""
    with contextlib.closing(SavedModel(path)) as opened:
        yield lambda **inputs: opened.run(signature, **inputs)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences TensorFlow's deprecation warnings about its version 1 API."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def stored(path: str | Path) -> dict[str, Any]:
    """Reads what the export stored beside a SavedModel, by the keys of `facts`.

    Returns:
        The facts; nothing if the file is missing or damaged.
    """
    try:
        content = json.loads(Path(path, LABELS).read_text(encoding="utf-8"))
        found = {key: content[key] for key in ("tiling", "images") if key in content}
        classes = content.get("classes") or []
        columns = (("class_names", "name"), ("palette", "colour"), ("values", "value"))
        known = {key: [entry.get(name) for entry in classes] for key, name in columns}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}
    return {**found, **known}


def _specs(tensors: Mapping[str, meta_graph_pb2.TensorInfo]) -> Specs:
    return {
        name: tf.TensorSpec(tf.TensorShape(tensor.tensor_shape), tf.DType(tensor.dtype), name)
        for name, tensor in sorted(tensors.items())
    }
