"""Copies single layers of a classifier, with their weights, into the new network."""

import math
from typing import Any

import keras
import numpy as np
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.geometry.graph import describe

# What a subclass must not change if a layer of another class replaces it.
REPLACED = {"__call__", "bias", "call", "kernel"}


def check_is_keras(layer: keras.Operation) -> None:
    """Checks that a layer that another one replaces computes what Keras' class does.

    Raises:
        ModelError: A subclass computes something else.
    """
    for kind in type(layer).__mro__:
        if kind.__module__.partition(".")[0] in ("keras", "fcn_keras"):
            return
        if own := sorted(REPLACED & set(vars(kind))):
            raise ModelError(
                f"{describe(layer)} cannot be made convolutional: its `{own[0]}` is not that of "
                "Keras' layer, which replaces it. Use Keras' layer in the classifier."
            )


def copied(layer: keras.Operation, name: str, changes: dict[str, Any]) -> keras.Operation:
    """Returns a new layer with the options of `layer` except `changes`; Conv2D for Dense.

    Raises:
        ModelError: The layer has no usable configuration.
    """
    if isinstance(layer, layers.Dense):
        return layers.Conv2D(
            layer.units,
            activation=layer.activation,
            use_bias=layer.use_bias,
            kernel_regularizer=layer.kernel_regularizer,
            bias_regularizer=layer.bias_regularizer,
            dtype=layer.dtype_policy,
            trainable=layer.trainable,
            name=name,
            **changes,
        )
    changes = {**changes, "name": name}
    if hasattr(layer, "activation"):
        changes["activation"] = layer.activation  # It may be an unregistered function.
    try:
        return type(layer).from_config({**layer.get_config(), **changes})
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"{describe(layer)} cannot be copied from its configuration ({error}). Implement "
            "get_config."
        ) from None


def set_weights(copy: keras.Layer, layer: keras.Layer) -> None:
    """Gives a copy the weights of its layer.

    Raises:
        ModelError: The layer has other weights than its copy.
    """
    weights, variables = layer.get_weights(), copy.weights
    if isinstance(layer, layers.Dense) and layer.lora_enabled:
        # Keras adds the product of LoRA's two matrices to this kernel.
        weights = [np.asarray(part) for part in (layer.kernel, layer.bias) if part is not None]
    if len(weights) != len(variables):
        raise ModelError(
            f"{describe(layer)} has {len(weights)} weights where a plain one has {len(variables)}, "
            "because it is quantized. Convert the classifier first, and quantize the result."
        )
    if any(w.size != math.prod(v.shape) for w, v in zip(weights, variables, strict=True)):
        raise ModelError(
            f"{describe(layer)} has separate weights for each position in the window, so it cannot "
            "be made convolutional. Use shared_axes=[1, 2] or a layer with shared weights."
        )
    # Flatten runs over rows, columns, channels, so Dense kernels are not transposed.
    copy.set_weights([w.reshape(v.shape) for w, v in zip(weights, variables, strict=True)])
    if isinstance(copy, layers.Normalization):
        copy.finalize_state()  # It uses constants derived from the weights.
