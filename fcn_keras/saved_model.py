"""SavedModels of `fcn_keras.signatures`: written, and run as TensorFlow Serving runs them."""

import contextlib

import keras
import tensorflow as tf

from fcn_keras.frozen import freeze
from fcn_keras.signatures import signatures

v1 = tf.compat.v1


def write_constants(model, path, max_pixels):
    """Writes a SavedModel of one graph, in which all signatures call one function of constants.

    `tf.saved_model.save` makes so many copies of them that VGG16 takes 20 GB.

    Args:
        model: a functional `keras.Model`.
        path: the folder, which is made.
        max_pixels: of an encoded image.
    """
    logits_of, found = freeze(model), {}
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
    builder.save()


def write_variables(model, path, max_pixels):
    """Writes a SavedModel whose signatures share the model's variables.

    Args:
        model: a functional `keras.Model`.
        path: the folder, which is made.
        max_pixels: of an encoded image.
    """
    single = not isinstance(model.input, dict)

    def logits_of(*images):
        packed = images[0] if single else keras.tree.pack_sequence_as(model.input, images)
        return keras.tree.flatten(model(packed, training=False))

    module, found = tf.Module(), {}
    module.variables_of_the_model = [variable.value for variable in model.variables]
    for name, (specs, function) in signatures(model, logits_of, max_pixels).items():
        named = {spec.name: spec for spec in specs}
        found[name] = tf.function(function).get_concrete_function(**named)
    tf.saved_model.save(module, str(path), found)


def describe(path):
    """The signatures of a SavedModel.

    Returns:
        By name, of each a pair of dicts: of its inputs and of its outputs, `tf.TensorSpec` by name.
    """
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        return {
            name: (_specs(signature.inputs), _specs(signature.outputs))
            for name, signature in _load(session, path).items()
        }


@contextlib.contextmanager
def quiet():
    """Without TensorFlow's warnings that what it calls version 1 may go away."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def opened(path, signature):
    """Gives a function of one signature: keyword arrays -> a dict of arrays.

    A session keeps the constants for each signature that was run; so it is of one.
    """
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        ends = _load(session, path)[signature]
        outputs = {name: tensor.name for name, tensor in ends.outputs.items()}
        yield lambda **inputs: session.run(
            outputs, {ends.inputs[name].name: value for name, value in inputs.items()}
        )


def _load(session, path):
    found = v1.saved_model.load(session, [tf.saved_model.SERVING], str(path)).signature_def
    return {name: ends for name, ends in found.items() if not name.startswith("__")}


def _specs(tensors):
    return {
        name: tf.TensorSpec(tf.TensorShape(tensor.tensor_shape), tf.DType(tensor.dtype), name)
        for name, tensor in sorted(tensors.items())
    }
