"""Writes SavedModels with the signatures of `signatures`, and runs them in a session.

TensorFlow Serving runs such a session too.
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
SignatureSpecs = tuple[Specs, Specs]  # Inputs and outputs of a signature.


def write_constants(model: keras.Model, path: str | Path, max_pixels: int) -> None:
    """Writes a SavedModel of one graph, in which all signatures call one function of constants.

    The constants get their values last. `tf.saved_model.save` copies them so often that VGG16 takes
    20 GB.

    Args:
        model: A functional `keras.Model`.
        path: The folder to create.
        max_pixels: Upper limit on the pixels of an encoded image, and of all images of a request
            to the other signatures.
    """
    logits_of, found = frozen.freeze_without_weights(model), {}
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
    frozen.insert_weights(content.meta_graphs[0].graph_def, model)
    file.write_bytes(content.SerializeToString())
    Path(path, "fingerprint.pb").unlink(missing_ok=True)  # It belongs to the zeros.


def write_variables(model: keras.Model, path: str | Path, max_pixels: int) -> None:
    """Writes a SavedModel whose signatures share the model's variables.

    Args:
        model: A functional `keras.Model`.
        path: The folder to create.
        max_pixels: Upper limit on the pixels of an encoded image, and of all images of a request
            to the other signatures.
    """

    def logits_of(*images: tf.Tensor) -> list[tf.Tensor]:
        return keras.tree.flatten(model(as_input(model, images), training=False))

    module, found = tf.Module(), {}
    module.variables_of_the_model = [variable.value for variable in model.variables]
    for name, (specs, function) in signatures(model, logits_of, max_pixels).items():
        named = {spec.name: spec for spec in specs}
        found[name] = tf.function(function).get_concrete_function(**named)
    tf.saved_model.save(module, str(path), found)


def describe(path: str | Path) -> dict[str, SignatureSpecs]:
    """Reads the signatures of a SavedModel.

    Returns:
        By signature name, a pair of dicts of `tf.TensorSpec` by name: inputs and outputs.
    """
    content = saved_model_pb2.SavedModel.FromString(Path(path, "saved_model.pb").read_bytes())
    return {
        name: (_specs(signature.inputs), _specs(signature.outputs))
        for name, signature in content.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }


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


@contextlib.contextmanager
def open_signature(
    path: str | Path, signature: str
) -> Iterator[Callable[..., dict[str, np.ndarray]]]:
    """Opens one signature of a SavedModel as a function: keyword arrays -> a dict of arrays.

    A session keeps the constants once per signature that has run, so each session runs only one.
    """
    with contextlib.closing(v1.Session(graph=tf.Graph())) as session:
        with session.graph.as_default():  # Loading only: the caller may use its own default graph.
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
