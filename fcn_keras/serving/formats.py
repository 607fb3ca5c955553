"""The export formats, and which arguments go together.

Without TensorFlow, so that a command reports a wrong argument before it loads a model.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fcn_keras.errors import ConfigError
from fcn_keras.prediction.engines import ENGINES

SAVEDMODEL_PRECISIONS = ("float32", "bfloat16")
LARGEST_MAX_PIXELS = 500_000_000  # A TensorFlow string holds less than 2 GiB.


class Format(NamedTuple):
    """What the files of one engine can hold."""

    companions: tuple[str, ...]  # Endings of further files that may be written.
    precisions: tuple[str, ...]
    modules: tuple[str, ...]  # Needed for writing; the extra of the format's name installs them.


FORMATS = {
    "onnx": Format((), ("float32",), ("onnx", "tf2onnx", "onnxruntime")),
    "openvino": Format((".bin",), ("float32", "float16", "int8"), ("openvino", "nncf")),
    "litert": Format((".labels.json",), ("float32", "int8"), ("ai_edge_litert",)),
}


def check_export(
    format: str,
    out: str | Path,
    precision: str | None = None,
    *,
    freeze: bool = True,
    max_pixels: int | None = None,
) -> None:
    """Checks that the arguments of `export` go together.

    Raises:
        ConfigError: An argument is unknown or unsupported by this format.
    """
    if format not in ("savedmodel", *FORMATS):
        known = ", ".join(("savedmodel", *FORMATS))
        raise ConfigError(f"format={format!r}: must be one of {known} (--format).")
    if format != "savedmodel":
        if not freeze or max_pixels is not None:
            what = "max_pixels (--max-pixels)" if freeze else "freeze=False (--no-freeze)"
            raise ConfigError(f"{what}: only SavedModels support it, not {format}. Leave it out.")
        return
    if precision not in (None, *SAVEDMODEL_PRECISIONS):
        able = [name for name, other in FORMATS.items() if precision in other.precisions]
        fix = f" For {precision} use {' or '.join(able)} (--format)." if able else ""
        raise ConfigError(
            f"precision={precision!r} (--precision): a SavedModel must be float32 or bfloat16.{fix}"
        )
    suffix = Path(out).suffix
    if other := next((name for name in ENGINES if ENGINES[name].ending == suffix), None):
        raise ConfigError(
            f"{out}: is a file name for {other}. Use format={other!r} (--format {other}), or give "
            "the folder for the SavedModel's versions."
        )
