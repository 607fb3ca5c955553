"""Conventions of keras.applications: input shape, pooling without top, and weights."""

import os
from typing import Any, Literal

import keras
from keras import layers

from fcn_keras.arguments import flag, whole
from fcn_keras.errors import ModelError, WeightsError
from fcn_keras.models.imagenet import readable_weights_errors

POOLING = {None: None, "avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def checked_classes(
    include_top: Any, weights: Any, pooling: Any, classes: Any, activation: Any, name: Any
) -> int:
    """Checks the options that AlexNet and GoogLeNet have in common; returns the classes.

    Raises:
        ModelError: An option is unknown or of another type.
    """
    count = whole(classes)
    if flag(include_top) is None:
        raise ModelError(f"include_top={include_top!r}: must be True or False.")
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise ModelError(f"weights={weights!r}: must be the path of a file, or None.")
    if not isinstance(pooling, str | None) or pooling not in POOLING:
        raise ModelError(f"pooling={pooling!r}: must be None, 'avg' or 'max'.")
    if count is None or count < 1:
        raise ModelError(f"classes={classes!r}: must be an integer of at least 1.")
    if not isinstance(name, str) or not name or "/" in name:
        raise ModelError(f"name={name!r}: must be a text without '/'.")
    try:
        keras.activations.get(activation)
    except (TypeError, ValueError):
        raise ModelError(
            f"classifier_activation={activation!r}: unknown. Use the name of a Keras activation, "
            "or None for logits."
        ) from None
    return count


def image_input(
    input_tensor: keras.KerasTensor | None,
    input_shape: tuple[int | None, int | None, int] | None,
    include_top: bool,
    size: int,
    smallest: tuple[int, int],
) -> keras.KerasTensor:
    """Returns the image `[b, h, w, 3]`: the given tensor or a new input, of fixed size with top.

    Args:
        input_tensor: A Keras tensor to use as the image; None for a new input.
        input_shape: (height, width, channels) of the new input; None for the default.
        include_top: Whether the size must be fixed.
        size: Height and width of the default with top.
        smallest: Smallest height and width without and with top.

    Raises:
        ModelError: The tensor or the shape is not that of an image, or the size is unknown or too
            small.
    """
    if input_tensor is not None:
        image = input_tensor
        if not isinstance(image, keras.KerasTensor) or len(image.shape) != 4:
            raise ModelError(
                "input_tensor: must be a Keras tensor [b, h, w, 3], such as "
                f"keras.Input(({size}, {size}, 3)), found {image!r:.80}."
            )
        shape = image.shape[1:]
    else:
        side = size if include_top else None
        shape = checked_shape((side, side, 3) if input_shape is None else input_shape)
        image = keras.Input(shape, name="image")
    if include_top and None in shape:
        raise ModelError(
            f"input_shape={shape}: with include_top=True the size must be fixed and at least "
            f"{smallest[1]} x {smallest[1]}, for example ({size}, {size}, 3). Use "
            "include_top=False for images of any size."
        )
    least = smallest[bool(include_top)]
    if any(edge is not None and edge < least for edge in shape[:2]):
        raise ModelError(
            f"input_shape={shape}: with include_top={bool(include_top)} the size must be at least "
            f"{least} x {least}."
        )
    return image


def checked_shape(input_shape: Any) -> tuple[int | None, ...]:
    """Returns (height, width, channels) of an image, with None for any height or width.

    Raises:
        ModelError: It is something else.
    """
    given = tuple(input_shape) if isinstance(input_shape, list | tuple) else ()
    shape = tuple(whole(size) for size in given)
    is_valid = all(
        one is None if size is None else size >= 1 for one, size in zip(given, shape, strict=True)
    )
    if len(shape) != 3 or shape[2] is None or not is_valid:
        raise ModelError(
            f"input_shape={input_shape!r}: must be (height, width, channels), with None for any "
            "height or width."
        )
    return shape


def finish(
    image: keras.KerasTensor,
    x: keras.KerasTensor,
    include_top: bool,
    weights: str | None,
    pooling: Literal["avg", "max"] | None,
    name: str,
    caffe_model: str,
) -> keras.Model:
    """Builds the model, adds pooling if it has no top, and loads weights from a file."""
    if str(weights) == "imagenet":
        raise WeightsError(
            f"weights='imagenet': no Keras file is published for {name}. Use the path of a weights "
            "file written by Keras, or None (command line: none). "
            f"fcn_keras.surgery.caffe.load_weights reads Caffe's {caffe_model}.caffemodel."
        )
    if pooling and not include_top:
        x = POOLING[pooling](name="pool")(x)
    inputs = keras.utils.get_source_inputs(image)
    model = keras.Model(inputs[0] if len(inputs) == 1 else inputs, x, name=name)
    if weights is not None:
        with readable_weights_errors(weights, name):
            model.load_weights(weights)
    return model
