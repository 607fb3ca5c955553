"""SavedModels with the signatures of `signatures`, and a session that runs them.

The session is what TensorFlow Serving runs too.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from fcn_keras.prediction import frozen
from fcn_keras.prediction.signature import as_input
from fcn_keras.serving.signatures import signatures

v1 = tf.compat.v1

Specs = dict[str, tf.TensorSpec]
Ends = tuple[Specs, Specs]  # Inputs and outputs of a signature.


def write_constants(model: keras.Model, path: str | Path, max_pixels: int) -> None:
    """Writes a SavedModel of one graph, in which all signatures call one function of constants.

    They get their values when all else is done: `tf.saved_model.save` makes so many copies of them
    that VGG16 takes 20 GB.

    Args:
        model: a functional `keras.Model`.
        path: the folder, which is made.
        max_pixels: of an encoded image.
    """
    logits_of, found = frozen.outline(model), {}
    with tf.Graph().as_default() as graph:
        for name, (specs, function) in signatures(model, logits_of, max_pixels).items():
            with tf.name_scope(name):
                inputs = {
                    spec.name: v1.placeholder(spec.dtype, spec.shape, spec.name) for spec in specs
                }
                outputs = function(**inputs)
            found[name] = v1.saved_model.predict_signature_def(inputs, outputs)
    builder = v1.saved_model.Builder(str(path))
    with v1.Session(graph=graph) as session:
        builder.add_meta_graph_and_variables(session, [tf.saved_model.SERVING], found)
    file = Path(os.fsdecode(builder.save()))
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    frozen.fill(content.meta_graphs[0].graph_def, model)
    file.write_bytes(content.SerializeToString())
    Path(path, "fingerprint.pb").unlink(missing_ok=True)  # It was of the zeros.


def write_variables(model: keras.Model, path: str | Path, max_pixels: int) -> None:
    """Writes a SavedModel whose signatures share the model's variables.

    Args:
        model: a functional `keras.Model`.
        path: the folder, which is made.
        max_pixels: of an encoded image.
    """

    def logits_of(*images: tf.Tensor) -> list[tf.Tensor]:
        return keras.tree.flatten(model(as_input(model, images), training=False))

    module, found = tf.Module(), {}
    module.variables_of_the_model = [variable.value for variable in model.variables]
    for name, (specs, function) in signatures(model, logits_of, max_pixels).items():
        named = {spec.name: spec for spec in specs}
        found[name] = tf.function(function).get_concrete_function(**named)
    tf.saved_model.save(module, str(path), found)


def describe(path: str | Path) -> dict[str, Ends]:
    """The signatures of a SavedModel.

    Returns:
        By name, of each a pair of dicts: of its inputs and of its outputs, `tf.TensorSpec` by name.
    """
    content = saved_model_pb2.SavedModel.FromString(Path(path, "saved_model.pb").read_bytes())
    return {
        name: (_specs(signature.inputs), _specs(signature.outputs))
        for name, signature in content.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without TensorFlow's warnings that what it calls version 1 may go away."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def opened(path: str | Path, signature: str) -> Iterator[Callable[..., dict[str, np.ndarray]]]:
    """Gives a function of one signature: keyword arrays -> a dict of arrays.

    A session keeps the constants for each signature that was run; so it is of one.
    """
    with contextlib.closing(v1.Session(graph=tf.Graph())) as session:
        with session.graph.as_default():  # Not what the caller does meanwhile.
            loaded = v1.saved_model.load(session, [tf.saved_model.SERVING], str(path))
        ends = loaded.signature_def[signature]
        outputs = {name: tensor.name for name, tensor in ends.outputs.items()}
        yield lambda **inputs: session.run(
            outputs, {ends.inputs[name].name: value for name, value in inputs.items()}
        )


def _specs(tensors: Mapping[str, meta_graph_pb2.TensorInfo]) -> Specs:
    return {
        name: tf.TensorSpec(tf.TensorShape(tensor.tensor_shape), tf.DType(tensor.dtype), name)
        for name, tensor in sorted(tensors.items())
    }
