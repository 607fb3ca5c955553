"""Writes SavedModels with the signatures of `signatures`."""

import os
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from fcn_keras.prediction import frozen
from fcn_keras.prediction.signature import as_input
from fcn_keras.serving.signatures import signatures

v1 = tf.compat.v1


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
