"""What keras.applications' nets have in common: the input, the end without top, the weights."""

from typing import Literal

import keras
from keras import layers

from fcn_keras.errors import ModelError, WeightsError
from fcn_keras.models.imagenet import naming_the_file

POOLING = {None: None, "avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def image_input(
    input_tensor: keras.KerasTensor | None,
    input_shape: tuple[int | None, int | None, int] | None,
    include_top: bool,
    size: int,
    smallest: int,
) -> keras.KerasTensor:
    """The image `[b, h, w, 3]`: the tensor given, or a new input, of fixed size for a top."""
    if input_tensor is not None:
        shape, image = input_tensor.shape[1:], input_tensor
    else:
        side = size if include_top else None
        shape = tuple(input_shape or (side, side, 3))
        image = keras.Input(shape, name="image")
    if include_top and (None in shape or min(shape[:2]) < smallest):
        raise ModelError(
            f"input_shape={shape}: with include_top=True the size must be fixed, at least "
            f"{smallest} x {smallest}, such as ({size}, {size}, 3). Use include_top=False for "
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
    """The model, pooled as asked where it has no top, with the weights of a file."""
    if pooling not in POOLING:
        raise ModelError(f"pooling={pooling!r}: must be None, 'avg' or 'max'.")
    if str(weights) == "imagenet":
        raise WeightsError(
            f"weights='imagenet': no Keras file is published for {name}. Give the path of a file "
            f"that Keras wrote, or None (command line: none); Caffe's {caffe_model}.caffemodel can "
            "be read with fcn_keras.surgery.caffe.load_weights."
        )
    if pooling and not include_top:
        x = POOLING[pooling](name="pool")(x)
    inputs = keras.utils.get_source_inputs(image)
    model = keras.Model(inputs[0] if len(inputs) == 1 else inputs, x, name=name)
    if weights is not None:
        with naming_the_file(weights, name):
            model.load_weights(weights)
    return model
