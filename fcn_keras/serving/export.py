"""Export of a trained model in any format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from fcn_keras.errors import ConfigError
from fcn_keras.models.saving import Loaded, segmentation_model
from fcn_keras.prediction.facts import facts_of
from fcn_keras.serving.encoded import MAX_PIXELS
from fcn_keras.serving.exported import Exported
from fcn_keras.serving.formats import check_export
from fcn_keras.serving.writers.engine_file import write_engine
from fcn_keras.serving.writers.savedmodel import write_savedmodel


def export(
    model: keras.Model | Loaded,
    out: str | Path,
    format: Literal["savedmodel", "onnx", "openvino", "litert"] = "savedmodel",
    *,
    precision: str | None = None,
    calibration: Iterable[np.ndarray] | None = None,
    freeze: bool = False,
    max_pixels: int | None = None,
    class_names: Sequence[str] | None = None,
    palette: np.ndarray | None = None,
    values: np.ndarray | None = None,
    run: str | Path | None = None,
) -> Exported:
    """Exports a trained model for TensorFlow Serving or another engine.

    The exported model is run and compared with the Keras model before it gets its final name.
    Existing files are never replaced.

    Args:
        model: A model from images `[b, h, w, 3]` to logits `[b, h, w, classes]`, or the result of
            `load`. For a SavedModel it may have several images and heads.
        out: For a SavedModel, the folder of all versions, such as `saved_models/street`; else a
            file ending in .onnx, .xml (OpenVINO; writes a .bin too) or .tflite (LiteRT; writes a
            .labels.json too).
        format: The format to write.
        precision: For a SavedModel "float32", "bfloat16", or None for the precision that the model
            computes in; for OpenVINO "float32", "float16" or "int8"; for LiteRT "float32" or
            "int8"; for ONNX "float32". None means float32 for these three.
        calibration: For int8, about 100 training images, uint8 `[h, w, 3]`.
        freeze: For a SavedModel, whether to store the weights as constants, which a CPU computes
            with a little faster, but loads slowly; by default they are variables.
        max_pixels: For a SavedModel, upper limit on the pixels of an encoded image, and of all
            images of a request to the other signatures; by default 2 ** 24.
        class_names: A name for each class; by default those of the loaded model.
        palette: Colours, uint8 `[classes, 3]`; by default those of the loaded model.
        values: The value of each class in masks, uint8 `[classes]`, for `fcn-keras predict
            --values`; by default those of the loaded model.
        run: For a SavedModel, the folder of the run that trained the model, for the model card.

    Returns:
        An `Exported`: path, error of the logits, agreement of the masks.

    Raises:
        ConfigError: An argument is unknown, out of range or unsupported by this format, `out`
            exists or cannot be written, or the engine is not installed.
        ModelError: The model has infinite or NaN weights, cannot be converted, or the exported
            model's masks differ.
    """
    check_export(format, out, precision, freeze=freeze, max_pixels=max_pixels)
    if calibration is not None and precision != "int8":
        raise ConfigError("calibration: is only used with precision='int8'. Leave it out.")
    if isinstance(model, Loaded):
        class_names = model.classes if class_names is None else class_names
        palette = model.palette if palette is None else palette
        values = model.values if values is None else values
    net = segmentation_model(model)
    facts = facts_of(net, class_names, palette, values)
    if format != "savedmodel":
        return write_engine(
            net,
            out,
            format,
            precision=precision or "float32",
            calibration=calibration,
            facts=facts,
        )
    return write_savedmodel(
        net,
        out,
        precision=precision,
        freeze=freeze,
        max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
        facts=facts,
        run=run,
    )
