"""Writes a trained model as one file for another engine: ONNX Runtime, OpenVINO or LiteRT.

Every file takes `image`, uint8 `[n, h, w, 3]`, RGB, and returns `mask`, uint8 `[n, h, w]` (uint16
above 255 classes), for any n, h and w. Preprocessing and argmax are part of the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError, FcnKerasError, ModelError
from fcn_keras.models.saving import check_finite
from fcn_keras.outputs import temporary_folder
from fcn_keras.prediction.engines import ENGINES, Reader, quiet
from fcn_keras.prediction.facts import Facts, facts_of
from fcn_keras.prediction.precision import check_functional, in_precision
from fcn_keras.prediction.signature import class_ids, input_signature
from fcn_keras.serving.agreement import compare
from fcn_keras.serving.exported import Exported
from fcn_keras.serving.formats import FORMATS, check_export
from fcn_keras.serving.publishing import publish
from fcn_keras.serving.writers import litert, onnx, openvino
from fcn_keras.serving.writers.endpoint import with_static_channels
from fcn_keras.text import first_line

# One pixel, a batch, odd sizes, and one that is far wider than tall.
CHECKED_SIZES = ((1, 1, 1), (2, 31, 31), (1, 337, 501), (1, 3, 2000))

# Relative to the largest logit magnitude. int8 has no bound and is judged by its masks.
BOUNDS = {"float32": 1e-3, "float16": 1e-2}

COMPARED_IMAGES = 20  # Calibration images on which int8 masks are compared.


def write_engine(
    model: keras.Model,
    out: str | Path,
    format: str,
    *,
    precision: str = "float32",
    calibration: Iterable[np.ndarray] | None = None,
    facts: Facts | None = None,
) -> Exported:
    """Writes one file for another engine, after comparing it there with the Keras model.

    The file is written to a temporary folder beside `out`, compared with the float32 model on odd
    image sizes, and then renamed. `out` is never replaced.

    Args:
        model: A model from one RGB image `[b, h, w, 3]` to logits `[b, h, w, classes]`.
        out: A file ending in .onnx, .xml (OpenVINO; writes a .bin too) or .tflite (LiteRT; writes a
            .labels.json too).
        format: A key of `formats.FORMATS`.
        precision: One of `FORMATS[format].precisions`. "float16" stores float16 weights and lets
            the engine choose the arithmetic; "int8" is post-training quantisation.
        calibration: For int8, an iterable of about 100 training images, uint8 `[h, w, 3]`.
        facts: Class names and the like to store in the file; by default those of the model.

    Returns:
        An `Exported`.

    Raises:
        ConfigError: An argument is out of range, `out` exists, or the engine is not installed.
        ModelError: The model has infinite or NaN weights, cannot be converted or written, or the
            engine's logits or masks differ from the Keras model's.
    """
    check_export(format, out, precision)
    out, chosen = Path(out), FORMATS[format]
    _check_model(model)
    images = _checked_calibration(calibration) if precision == "int8" else []
    reference = in_precision(model, "float32")
    facts = facts or facts_of(model)
    labels = {key: json.dumps(value) for key, value in facts.to_json().items()}
    try:
        with temporary_folder(out) as folder:
            file, checked = folder / out.name, folder / "checked" / out.name
            checked.parent.mkdir()
            try:
                with quiet():
                    write = WRITERS[format]
                    write(with_static_channels(reference), file, checked, precision, images, labels)
            except FcnKerasError:
                raise
            except Exception as error:  # Converters raise many kinds of errors.
                why = f"{format}: {model.name} cannot be converted ({first_line(error)})."
                raise ModelError(why) from error
            written = _compare(reference, ENGINES[format].read, file, checked, precision, images)
            companions = (file.with_suffix(ending) for ending in chosen.companions)
            publish([*(path for path in companions if path.exists()), file], out.parent)
    except OSError as error:
        raise ModelError(f"{out}: cannot write to its folder ({error.strerror}).") from None
    return Exported(out, *written)


# Each writes the file, and a second one that also returns logits.
WRITERS = {"onnx": onnx.write, "openvino": openvino.write, "litert": litert.write}


def _check_model(model: keras.Model) -> None:
    check_functional(model)
    shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
    if len(shapes) != 2 or shapes[0][-1] != 3 or any(len(shape) != 4 for shape in shapes):
        raise ModelError(
            f"{model.name}: must have one RGB image [b, h, w, 3] as input and one map of logits "
            f"[b, h, w, classes] as output, found {', '.join(map(str, shapes))}. Export it as a "
            "SavedModel, which supports any model."
        )
    check_finite(model)


def _checked_calibration(calibration: Iterable[np.ndarray] | None) -> list[np.ndarray]:
    if calibration is None:
        raise ConfigError(
            "calibration=None: int8 needs images, uint8 [h, w, 3]. Pass about 100 training images."
        )
    images = [np.ascontiguousarray(image) for image in calibration]
    if not images:
        raise ConfigError("calibration: must not be empty. Pass about 100 training images.")
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ConfigError(
                f"calibration: image {number} must be uint8 [h, w, 3], found {image.dtype} "
                f"{image.shape}."
            )
    return images


def _compare(
    reference: keras.Model,
    read: Reader,
    file: Path,
    checked: Path,
    precision: str,
    images: list[np.ndarray],
) -> tuple[float | None, float]:
    """Measures the error of the logits and the agreement of the masks; see `agreement.compare`."""
    logits_of = tf.function(
        lambda batch: reference(batch, training=False), input_signature=[input_signature(reference)]
    )
    hint = "f32" if file.suffix == ".xml" else None
    with quiet():
        run = read(file, hint).run
    if precision == "int8":
        same = []
        for image in images[:: max(1, len(images) // COMPARED_IMAGES)]:
            same.append(np.ravel(run(image[None])["mask"] == class_ids(logits_of(image[None]))))
        return None, float(np.concatenate(same).mean())
    with quiet():
        run_checked = read(checked, hint).run
    rng, expected, found = np.random.default_rng(0), [], []
    for size in CHECKED_SIZES:
        batch = rng.integers(0, 256, (*size, 3), "uint8")
        expected.append(logits_of(batch).numpy())
        found.append((run(batch)["mask"], run_checked(batch)["logits"]))
    return compare(expected, found, BOUNDS[precision])
