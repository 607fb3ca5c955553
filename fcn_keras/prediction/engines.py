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
from fcn_keras.text import first_line

Runner = Callable[[np.ndarray], dict[str, np.ndarray]]  # Images -> outputs by name.
Opener = Callable[[Path, str | None], Runner]  # Opens a file in a precision.
PRECISIONS = ("f32", "bf16", "f16")  # Of OpenVINO.


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
        ModelError: The file cannot be opened.
    """
    path = Path(path)
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
    check_installed(format, engine.modules)
    try:
        run = engine.open(path, precision)
    except Exception as error:  # Each engine has its own kinds of errors.
        raise ModelError(
            f"{path}: cannot be opened ({_cause(error)}). Export the model again."
        ) from error
    return lambda images: run(_checked(images))["mask"]


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


def _open_onnx(path: Path, precision: str | None) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


def _open_openvino(path: Path, precision: str | None) -> Runner:
    import openvino

    options = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.Core().compile_model(path, "CPU", options)
    names = [output.get_any_name() for output in compiled.outputs]
    return _one_at_a_time(lambda images: dict(zip(names, compiled([images]).values(), strict=True)))


def _open_litert(path: Path, precision: str | None) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()  # It logs a line to stderr; here and not at the first image.
    run = interpreter.get_signature_runner("serving_default")
    return _one_at_a_time(lambda images: run(image=images))


def _one_at_a_time(run: Runner) -> Runner:
    """Makes calls from several threads wait for each other: an engine's buffers serve one call."""
    lock = threading.Lock()

    def locked(images: np.ndarray) -> dict[str, np.ndarray]:
        with lock:
            return run(images)

    return locked


class Engine(NamedTuple):
    """The engine for the files of one format."""

    ending: str  # The file name's ending.
    modules: tuple[str, ...]  # Needed for reading; the extra of the format's name installs them.
    open: Opener


_changing_output = threading.RLock()

ENGINES = {
    "onnx": Engine(".onnx", ("onnxruntime",), _open_onnx),
    "openvino": Engine(".xml", ("openvino",), _open_openvino),
    "litert": Engine(".tflite", ("ai_edge_litert",), _open_litert),
}


def check_installed(format: str, modules: tuple[str, ...]) -> None:
    """Raises a `ConfigError` if modules that a format needs are not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"format={format!r}: needs {', '.join(missing)}, which is not installed. "
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
