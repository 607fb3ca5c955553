"""One function that writes a trained model in any format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from fcn_keras.errors import ConfigError
from fcn_keras.models.saving import Loaded, keras_model
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
    freeze: bool = True,
    max_pixels: int | None = None,
    class_names: Sequence[str] | None = None,
    palette: np.ndarray | None = None,
    run: str | Path | None = None,
) -> Exported:
    """Writes a trained model for TensorFlow Serving or for another engine.

    What is written is run beside the model before it gets its name; nothing that is there is
    replaced.

    Args:
        model: images `[b, h, w, 3]` -> logits `[b, h, w, classes]`, or what `load` gave. A
            SavedModel may have several images and heads.
        out: of SavedModels the folder of all versions, such as `saved_models/street`; else a file
            that ends in .onnx, .xml (OpenVINO; a .bin comes beside it) or .tflite (LiteRT; a
            .labels.json comes beside it if the classes have names).
        format: what is written.
        precision: of a SavedModel "float32", "bfloat16" or, with None, what the model computes in;
            of OpenVINO "float32", "float16" or "int8"; of LiteRT "float32" or "int8"; of ONNX
            "float32". None is float32 there.
        calibration: for int8, about 100 of the training images, uint8 `[h, w, 3]`.
        freeze: of a SavedModel, weights as constants, which a CPU computes faster with; else as
            variables.
        max_pixels: of a SavedModel, of an encoded image in a request; 2 ** 24 by default.
        class_names: a name for each class; by default the loaded model's.
        palette: uint8 `[classes, 3]`; by default the loaded model's.
        run: of a SavedModel, the folder of the run that trained it, for the model card.

    Returns:
        An `Exported`: path, error of the logits, agreement of the masks.

    Raises:
        ConfigError: an argument is unknown, out of its range or not for this format, `out` is there
            or cannot be written, or the engine is not installed.
        ModelError: the model cannot be converted, or what was written gives other masks.
    """
    check_export(format, out, precision, freeze=freeze, max_pixels=max_pixels)
    if calibration is not None and precision != "int8":
        raise ConfigError("calibration: is for precision='int8' only. Leave it out.")
    if isinstance(model, Loaded):
        class_names = model.classes if class_names is None else class_names
        palette = model.palette if palette is None else palette
    net = keras_model(model)
    if format != "savedmodel":
        return write_engine(
            net,
            out,
            format,
            precision=precision or "float32",
            calibration=calibration,
            class_names=class_names,
            palette=palette,
        )
    return write_savedmodel(
        net,
        out,
        precision=precision,
        freeze=freeze,
        max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
        class_names=class_names,
        palette=palette,
        run=run,
    )
