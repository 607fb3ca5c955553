"""Copies of models that compute in another precision, and the choice of the fastest.

Measured with FCN-8s on VGG16 and images of 480 x 360, on two cores with AVX512_BF16: bfloat16 takes
half the time of float32, and the copy the time of one to four images. Graphs of constants would be
another 4 to 11 % faster, but take the time of 25 to 120 images to build.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.distribution import processor
from fcn_keras.errors import ModelError
from fcn_keras.prediction.exported_model import ExportedModel
from fcn_keras.prediction.predict_image import predict

Precision = Literal["auto", "float32", "bfloat16"]

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
# Layers whose weights are also stored in bfloat16; statistics of normalization stay float32.
HALF_WEIGHTS = {"Conv2D", "Dense", "DepthwiseConv2D", "GroupedConv2D", "PatchConv2D"}

# Preprocessing, and everything from the scores on, is float32 in every precision.
FLOAT32_LAYERS = {
    "BilinearUpsampling",
    "CaffePreprocessing",
    "CropLike",
    "Normalization",
    "Rescaling",
    "ResizeLike",
    "SameSize",
    "Zoom",
}
FLOAT32_NAMES = ("score", "fuse", "scale_")

WORTH_A_COPY = 1_000_000  # Pixels in all images; fewer are done before the copy is.
COMPARED = 512  # Edge of the part of the first image whose masks are compared.


def in_precision(model: keras.Model, precision: str) -> keras.Model:
    """Copies a model with layers that compute in another precision, and the same weights.

    Args:
        model: A functional `keras.Model`.
        precision: "float32", or "bfloat16" for the layers up to the scores. Kernels and biases are
            rounded to it, as these layers round them anyway.

    Returns:
        A new `keras.Model`.

    Raises:
        ModelError: The precision is unknown, or the model is not functional.
    """
    if precision not in POLICIES:
        raise ModelError(f"precision={precision!r}: must be one of {', '.join(POLICIES)}.")
    check_functional(model)
    config = model.get_config()
    _set_policies(config, POLICIES[precision])
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def check_functional(model: object) -> None:
    """Raises a `ModelError` unless the model is a functional `keras.Model`."""
    if not isinstance(model, keras.Model) or not hasattr(model, "inputs"):
        raise ModelError(
            f"model: must be a functional keras.Model or the result of fcn_keras.load, found "
            f"{type(model).__name__}. Pass keras.Model(inputs, outputs)."
        )


def fastest(
    model: keras.Model | ExportedModel,
    image: np.ndarray | dict[str, np.ndarray],
    count: int,
    precision: Precision = "auto",
) -> tuple[keras.Model | ExportedModel, str]:
    """Returns the model to predict with, in the precision that is fastest here.

    Args:
        model: A Keras model or an exported one.
        image: The first image, uint8 `[h, w, 3]`, or a dict of them.
        count: Number of images, or of frames.
        precision: "auto": on a CPU, bfloat16 where it has instructions for it, and else float32;
            on a GPU, and for few pixels, the model's own. The others are used as they are. For an
            exported model its engine chooses, or as in `ExportedModel.in_precision`.

    Returns:
        The model or a copy, and a line for the user; "" if masks are computed as in training.

    Raises:
        ModelError: The precision is unknown, or the model cannot be copied.
        ConfigError: The engine of an exported model cannot choose the precision.
    """
    if isinstance(model, ExportedModel):
        return (model if precision == "auto" else model.in_precision(precision)), ""
    if precision != "auto":
        return in_precision(model, precision), ""
    pixels = count * max(part.shape[0] * part.shape[1] for part in keras.tree.flatten(image))
    if pixels < WORTH_A_COPY or tf.config.list_logical_devices("GPU") or not _is_ours(model):
        return model, ""
    computes_in = {layer.compute_dtype for layer in model.layers}
    if not processor.has_bfloat16():
        halves = computes_in & {"bfloat16", "float16"}
        return (in_precision(model, "float32") if halves else model), ""
    if "bfloat16" in computes_in:
        return model, ""
    half = in_precision(model, "bfloat16")
    part = keras.tree.map_structure(_middle, image)
    mine, halved = (keras.tree.flatten(predict(net, part)) for net in (model, half))
    agreement = np.mean([np.mean(a == b) for a, b in zip(mine, halved, strict=True)])
    return half, (
        f"computing in bfloat16: {agreement:.2%} of the pixels in the middle of the first image "
        "have the same class as in float32 (--precision float32 for exactly these)"
    )


def _is_ours(model: keras.Model) -> bool:
    """Whether a model is functional, and every layer is Keras's or this package's."""
    layers = getattr(model, "layers", [])
    known = all(type(layer).__module__.startswith(("keras.", "fcn_keras.")) for layer in layers)
    return known and hasattr(model, "inputs")


def _middle(image: np.ndarray) -> np.ndarray:
    """Cuts out at most `COMPARED` x `COMPARED` pixels."""
    top, left = (max(0, (edge - COMPARED) // 2) for edge in image.shape[:2])
    return image[top : top + COMPARED, left : left + COMPARED]


def _set_policies(config: dict[str, Any], policy: str) -> None:
    """Sets the dtype policies of a copy's layers in its configuration, also in nested models."""
    for entry in config["layers"]:
        kind, inner = entry["class_name"], entry["config"]
        if "layers" in inner:
            _set_policies(inner, policy)
        elif "dtype" in inner and kind != "InputLayer":
            stays = kind in FLOAT32_LAYERS or inner["name"].startswith(FLOAT32_NAMES)
            stored = "bfloat16" if policy == "mixed_bfloat16" and kind in HALF_WEIGHTS else policy
            inner["dtype"] = "float32" if stays else stored
        for key in inner:
            if key.endswith("_initializer"):
                inner[key] = "zeros"  # Random numbers would take longer than the copy.
