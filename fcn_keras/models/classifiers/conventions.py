"""Conventions of keras.applications: input shape, pooling without top, and weights."""

from typing import Literal

import keras
from keras import layers

from fcn_keras.errors import ModelError, WeightsError
from fcn_keras.models.imagenet import readable_weights_errors

POOLING = {None: None, "avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def image_input(
    input_tensor: keras.KerasTensor | None,
    input_shape: tuple[int | None, int | None, int] | None,
    include_top: bool,
    size: int,
    smallest: int,
) -> keras.KerasTensor:
    """Returns the image `[b, h, w, 3]`: the given tensor or a new input, of fixed size with top."""
    if input_tensor is not None:
        shape, image = input_tensor.shape[1:], input_tensor
    else:
        side = size if include_top else None
        shape = tuple(input_shape or (side, side, 3))
        image = keras.Input(shape, name="image")
    if include_top and (None in shape or min(shape[:2]) < smallest):
        raise ModelError(
            f"input_shape={shape}: with include_top=True the size must be fixed and at least "
            f"{smallest} x {smallest}, for example ({size}, {size}, 3). Use include_top=False for "
            "images of any size."
        )
    return image


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
    if pooling not in POOLING:
        raise ModelError(f"pooling={pooling!r}: must be None, 'avg' or 'max'.")
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
