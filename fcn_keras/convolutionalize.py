"""A classifier becomes fully convolutional: its Dense layers are convolutions (section 3.1)."""

import keras
from keras import layers

from fcn_keras.errors import ModelError


def convolutionalize(classifier):
    """Turns a classifier of one fixed image size into a net that scores images of any size.

    The Dense layer behind `Flatten` becomes a convolution with a kernel as large as the feature
    map it had flattened, later Dense layers become 1 x 1 convolutions, all with the classifier's
    weights. On the classifier's own image size the output is `[b, 1, 1, classes]` and equals the
    classifier's; on larger images it is the grid of scores that sliding the classifier over the
    image at its stride gives, as far as the classifier's own zero padding allows.

    Args:
        classifier: a Keras model that is one chain of layers with `Flatten` before its first Dense
            layer, such as `keras.applications.VGG16()`. It is not changed.

    Returns:
        A `keras.Model`: `[b, h, w, c]` -> `[b, rows, columns, classes]`.

    Raises:
        ModelError: the classifier is no chain, or has a layer that cannot be converted.
    """
    chain = _chain(classifier)
    image = keras.Input((None, None, classifier.input_shape[-1]), name="image")
    x, flattened = image, None
    for layer in chain:
        if isinstance(layer, layers.Flatten):
            flattened = layer.input.shape[1:]  # (rows, columns, channels)
            if None in flattened:
                raise ModelError(
                    f"layer {layer.name!r} flattens a map of unknown size {flattened}. "
                    "Build the classifier with a fixed input_shape."
                )
            continue
        if isinstance(layer, layers.Dense):
            if flattened is None and x is image:
                raise ModelError(
                    f"layer {layer.name!r} is Dense on the input: there is nothing to convolve."
                )
            x = _dense_as_conv(layer, x, flattened or (1, 1, layer.kernel.shape[0]))
            flattened = None
        else:
            if flattened is not None and layer.weights:
                raise ModelError(
                    f"layer {layer.name!r} ({type(layer).__name__}) stands between Flatten and "
                    "Dense and has weights: it cannot be turned into a convolution."
                )
            copy = type(layer).from_config(layer.get_config())
            x = copy(x)
            copy.set_weights(layer.get_weights())
    return keras.Model(image, x, name=f"{classifier.name}_convolutional")


def conv_weights(dense, kernel_shape):
    """Weights of a Dense layer in the shape `[rows, columns, channels, units]` of a convolution.

    `Flatten` runs over rows, then columns, then channels, so that the kernel needs no transposing.
    """
    kernel, *bias = dense.get_weights()
    return [kernel.reshape(kernel_shape), *bias]


def _dense_as_conv(dense, x, input_shape):
    rows, columns, channels = input_shape
    conv = layers.Conv2D(
        dense.units,
        (rows, columns),
        activation=dense.activation,
        use_bias=dense.use_bias,
        name=dense.name,
    )
    x = conv(x)
    conv.set_weights(conv_weights(dense, (rows, columns, channels, dense.units)))
    return x


def _chain(classifier):
    """The layers in order, without the input; raises where the graph branches."""
    for layer in classifier.layers:
        nodes = layer._inbound_nodes if not isinstance(layer, layers.InputLayer) else []
        if any(len(node.parent_nodes) > 1 for node in nodes):
            raise ModelError(
                f"layer {layer.name!r} joins several tensors: only a chain of layers can be "
                "made convolutional."
            )
    return [layer for layer in classifier.layers if not isinstance(layer, layers.InputLayer)]
