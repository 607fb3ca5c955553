"""A trained model as one file for another engine: ONNX Runtime, OpenVINO or LiteRT.

Every file takes `image`, uint8 `[n, h, w, 3]`, RGB, and gives `mask`, uint8 `[n, h, w]` (uint16
above 255 classes), for any n, h and w. Scaling and argmax are inside.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError, FcnKerasError, ModelError
from fcn_keras.outputs import check_folder
from fcn_keras.prediction.engines import ENGINES, Opener, check_installed, quiet
from fcn_keras.prediction.frozen import check_functional, in_precision
from fcn_keras.prediction.signature import class_ids, input_signature
from fcn_keras.serving.agreement import compare
from fcn_keras.serving.exported import Exported
from fcn_keras.serving.formats import FORMATS, Format
from fcn_keras.serving.writers import litert, onnx, openvino
from fcn_keras.serving.writers.endpoint import prepared
from fcn_keras.text import first_line

# One pixel, sizes that are no multiple of anything, one far wider than tall; and a batch.
CHECKED_SIZES = ((1, 1, 1), (2, 31, 31), (1, 337, 501), (1, 3, 2000))

# Of the logits' largest magnitude; int8 has none, and is judged by its masks.
BOUNDS = {"float32": 1e-3, "float16": 1e-2}

COMPARED_IMAGES = 20  # Of the calibration images, for the agreement of int8.


def write_engine(
    model: keras.Model,
    out: str | Path,
    format: str,
    *,
    precision: str = "float32",
    calibration: Iterable[np.ndarray] | None = None,
    class_names: Sequence[str] | None = None,
    palette: np.ndarray | None = None,
) -> Exported:
    """Writes one file for another engine, after running it there beside the Keras model.

    The file is made in a temporary folder beside `out`, compared on odd sizes with the model
    computing in float32, and then renamed. `out` is never replaced.

    Args:
        model: one RGB image `[b, h, w, 3]` -> logits `[b, h, w, classes]`.
        out: a file ending in .onnx, .xml (OpenVINO; a .bin comes beside it) or .tflite (LiteRT; a
            .labels.json comes beside it if there are class names).
        format: a key of `formats.FORMATS`.
        precision: of `FORMATS[format].precisions`. "float16" stores the weights so, and leaves the
            arithmetic to the engine; "int8" is quantisation after training.
        calibration: for int8, an iterable of uint8 images `[h, w, 3]`: about 100 of the training
            images, as they are.
        class_names: stored in the file, if given.
        palette: uint8 `[classes, 3]`, stored in the file, if given.

    Returns:
        An `Exported`.

    Raises:
        ConfigError: an argument is out of its range, `out` is there already, or the engine is not
            installed.
        ModelError: the model cannot be converted or written, or the engine's logits or masks are
            not the model's.
    """
    chosen, out = _checked_format(format, precision), Path(out)
    _check_out(out, format)
    _check_model(model)
    images = _checked_calibration(calibration) if precision == "int8" else []
    check_installed(format, chosen.modules)
    reference = in_precision(model, "float32")
    labels = _labels(class_names, palette)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=out.parent))
    except OSError as error:
        raise ModelError(f"{out}: cannot write there ({error.strerror}).") from None
    try:
        file, checked = folder / out.name, folder / f"checked{out.suffix}"
        try:
            with quiet():
                write = WRITERS[format]
                write(prepared(reference), file, checked, precision, images, labels)
        except FcnKerasError:
            raise
        except Exception as error:  # A converter raises whatever its many parts do.
            why = f"{format}: {model.name} cannot be converted ({first_line(error)})."
            raise ModelError(why) from error
        written = _compare(reference, ENGINES[format].open, file, checked, precision, images)
        for ending in chosen.beside:
            if file.with_suffix(ending).exists():
                _publish(file.with_suffix(ending), out.with_suffix(ending))
        _publish(file, out)  # Last: whoever sees it sees all of it.
        return Exported(out, *written)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# Of a model: the file, and one with the logits beside the mask.
WRITERS = {"onnx": onnx.write, "openvino": openvino.write, "litert": litert.write}


def _checked_format(format: str, precision: str) -> Format:
    if format not in FORMATS:
        raise ConfigError(f"format={format!r}: must be one of {', '.join(FORMATS)}.")
    chosen = FORMATS[format]
    if precision not in chosen.precisions:
        able = [name for name, other in FORMATS.items() if precision in other.precisions]
        fix = f" {precision} is for {' and '.join(able)}." if able else ""
        raise ConfigError(
            f"precision={precision!r}: {format} is written as {', '.join(chosen.precisions)}.{fix}"
        )
    return chosen


def _check_out(out: Path, format: str) -> None:
    ending = ENGINES[format].ending
    if out.suffix != ending:
        raise ConfigError(f"{out}: a file for {format} must end in {ending}.")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}. Make it first.")
    check_folder(out.parent)
    for path in (out, *map(out.with_suffix, FORMATS[format].beside)):
        _check_free(path)


def _check_free(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path}: is there already, and is not replaced. Choose another name.")


def _check_model(model: keras.Model) -> None:
    check_functional(model)
    shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
    if len(shapes) != 2 or shapes[0][-1] != 3 or any(len(shape) != 4 for shape in shapes):
        raise ModelError(
            f"{model.name}: must take one RGB image [b, h, w, 3] and give one map of logits "
            f"[b, h, w, classes], found {', '.join(map(str, shapes))}. As a SavedModel "
            "any model can be exported."
        )


def _checked_calibration(calibration: Iterable[np.ndarray] | None) -> list[np.ndarray]:
    if calibration is None:
        raise ConfigError(
            "calibration=None: int8 needs images, uint8 [h, w, 3]. Give about 100 of the training "
            "images."
        )
    images = [np.ascontiguousarray(image) for image in calibration]
    if not images:
        raise ConfigError("calibration: holds no image. Give about 100 of the training images.")
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ConfigError(
                f"calibration: image {number} must be uint8 [h, w, 3], found {image.dtype} "
                f"{image.shape}."
            )
    return images


def _labels(class_names: Sequence[str] | None, palette: np.ndarray | None) -> dict[str, str]:
    """What is stored about the classes, as JSON by name."""
    found = {}
    if class_names is not None:
        found["class_names"] = json.dumps([str(name) for name in class_names])
    if palette is not None:
        found["palette"] = json.dumps(np.asarray(palette).tolist())
    return found


def _compare(
    reference: keras.Model,
    open_file: Opener,
    file: Path,
    checked: Path,
    precision: str,
    images: list[np.ndarray],
) -> tuple[float | None, float]:
    """The error of the logits and the agreement of the masks; raises if they are too bad."""
    logits_of = tf.function(
        lambda batch: reference(batch, training=False), input_signature=[input_signature(reference)]
    )
    hint = "f32" if file.suffix == ".xml" else None
    with quiet():
        run = open_file(file, hint)
    if precision == "int8":
        same = []
        for image in images[:: max(1, len(images) // COMPARED_IMAGES)]:
            same.append(np.ravel(run(image[None])["mask"] == class_ids(logits_of(image[None]))))
        return None, float(np.concatenate(same).mean())
    with quiet():
        run_checked = open_file(checked, hint)
    rng, expected, found = np.random.default_rng(0), [], []
    for size in CHECKED_SIZES:
        batch = rng.integers(0, 256, (*size, 3), "uint8")
        expected.append(logits_of(batch).numpy())
        found.append((run(batch)["mask"], run_checked(batch)["logits"]))
    return compare(expected, found, BOUNDS[precision])


def _publish(source: Path, target: Path) -> None:
    _check_free(target)
    try:
        os.rename(source, target)
    except OSError as error:
        raise ModelError(f"{target}: cannot be written ({error.strerror}).") from None
