"""Opens the files written by `serving.writers`, each with its engine."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.prediction.readers import litert, onnx, openvino
from fcn_keras.prediction.readers.opened import Opened, Tensor
from fcn_keras.text import first_line

Reader = Callable[[Path, str | None], Opened]  # Opens a file in a precision.
PRECISIONS = ("f32", "bf16", "f16")  # Of OpenVINO.
INPUTS = {"image": Tensor("uint8", (None, None, None, 3))}
MASKS = [Tensor(dtype, (None, None, None)) for dtype in ("uint8", "uint16")]


def open_engine(
    path: str | Path, *, precision: str | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Opens a file written by `serving.writers` with its engine, on the CPU.

    Several threads may call the function; OpenVINO and LiteRT, which use all cores for one call,
    then work on one after the other.

    Args:
        path: A file that ends in .onnx, .xml or .tflite.
        precision: For OpenVINO, the precision to compute in: "f32", "bf16" or "f16". None lets
            OpenVINO choose, which means bf16 where the CPU has instructions for it.

    Returns:
        A function: uint8 `[n, h, w, 3]` -> class ids `[n, h, w]`. It raises a `ConfigError` for
        other images.

    Raises:
        ConfigError: The file does not exist, the precision is unknown or has no meaning for it, or
            the engine is not installed.
        ModelError: The file cannot be opened, or was not written by `serving.writers`.
    """
    run = open_file(Path(path), precision).run
    return lambda images: run(_checked(images))["mask"]


def open_file(path: Path, precision: str | None = None) -> Opened:
    """Opens a file like `open_engine`, and returns what it stores too."""
    format = next((name for name in ENGINES if path.suffix == ENGINES[name].ending), None)
    if format is None or not path.is_file():
        endings = ", ".join(engine.ending for engine in ENGINES.values())
        raise ConfigError(f"{path}: must be an existing file that ends in one of {endings}.")
    if precision is not None and format != "openvino":
        raise ConfigError(
            f"precision={precision!r}: only OpenVINO files (.xml) support it, found {path}. Leave "
            "it out."
        )
    if precision not in (None, *PRECISIONS):
        raise ConfigError(f"precision={precision!r}: must be one of {', '.join(PRECISIONS)}.")
    engine = ENGINES[format]
    check_installed(str(path), format, engine.modules)
    try:
        opened = engine.read(path, precision)
    except Exception as error:  # Each engine has its own kinds of errors.
        raise ModelError(
            f"{path}: cannot be opened ({_cause(error)}). Export the model again."
        ) from error
    if opened.inputs != INPUTS or opened.outputs.get("mask") not in MASKS:
        raise ModelError(
            f"{path}: must take `image` {INPUTS['image']} and return `mask` {MASKS[0]}, found "
            f"{_listed(opened.inputs)} and {_listed(opened.outputs)}. Export the model with "
            "fcn-keras."
        )
    return opened


def is_engine_file(path: Path) -> bool:
    """Whether a path is a file whose ending names an engine."""
    return path.is_file() and path.suffix in {engine.ending for engine in ENGINES.values()}


def _listed(tensors: dict[str, Tensor]) -> str:
    return ", ".join(f"`{name}` {tensor}" for name, tensor in tensors.items()) or "none"


def _cause(error: Exception) -> str:
    """Returns the line of an engine's error that says what is wrong; OpenVINO's come last."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    places = ("Exception from ", "Check ", "FrontEnd API failed")
    told = [line for line in lines if not line.startswith(places)]
    return told[-1].strip() if told and len(told) < len(lines) else first_line(error)


def _checked(images: np.ndarray) -> np.ndarray:
    """Returns images if a file takes them; an engine may accept others, or fail in its own way."""
    dtype, shape = getattr(images, "dtype", None), tuple(getattr(images, "shape", ()))
    if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        found = type(images).__name__ if dtype is None else f"{np.dtype(dtype)} {list(shape)}"
        raise ConfigError(
            f"images: must be an array uint8 [n, h, w, 3], RGB, with at least one pixel, found "
            f"{found}."
        )
    return np.asarray(images)


class Engine(NamedTuple):
    """The engine for the files of one format."""

    ending: str  # The file name's ending.
    modules: tuple[str, ...]  # Needed for reading; the extra of the format's name installs them.
    read: Reader


_changing_output = threading.RLock()

ENGINES = {
    "onnx": Engine(".onnx", ("onnxruntime",), onnx.read),
    "openvino": Engine(".xml", ("openvino",), openvino.read),
    "litert": Engine(".tflite", ("ai_edge_litert",), litert.read),
}


def check_installed(what: str, format: str, modules: tuple[str, ...]) -> None:
    """Raises a `ConfigError`, which begins with `what`, if a format's modules are missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{what}: needs {', '.join(missing)}, which is not installed. "
            f"Run pip install 'fcn_keras[{format}]'"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps converters, Python and C++, from writing to the terminal.

    It also turns off their usage reports, which they send outside of CI. Both are settings of the
    whole process, so threads take turns, and what any other thread prints meanwhile is lost.
    """
    with _changing_output:
        yield from _quiet()


def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("nncf", "tensorflow", "tf2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    before = {name: os.environ.get(name) for name in ("CI", "NNCF_CI")}
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = [os.dup(1), os.dup(2)]
        os.environ.update(dict.fromkeys(before, "true"))
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            with open(os.devnull, "w") as nowhere:
                with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                    yield
        finally:
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
