"""The formats of an export, and which arguments go together. No TensorFlow here.

So a command says what does not fit before it loads a model.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fcn_keras.errors import ConfigError
from fcn_keras.prediction.engines import ENGINES

SAVEDMODEL_PRECISIONS = ("float32", "bfloat16")


class Format(NamedTuple):
    """What can be stored in the files of one engine."""

    beside: tuple[str, ...]  # Endings of files that may belong to it.
    precisions: tuple[str, ...]
    modules: tuple[str, ...]  # What writing needs, of the extra of the format's name.


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
    """Checks that the arguments of `export` go together, before a model is loaded.

    Raises:
        ConfigError: one is unknown, or not for this format.
    """
    if format not in ("savedmodel", *FORMATS):
        known = ", ".join(("savedmodel", *FORMATS))
        raise ConfigError(f"format={format!r}: must be one of {known} (--format).")
    if format != "savedmodel":
        if not freeze or max_pixels is not None:
            what = "max_pixels (--max-pixels)" if freeze else "freeze=False (--no-freeze)"
            raise ConfigError(f"{what}: is for SavedModels, not for {format}. Leave it out.")
        return
    if precision not in (None, *SAVEDMODEL_PRECISIONS):
        able = [name for name, other in FORMATS.items() if precision in other.precisions]
        fix = f" {' and '.join(able)} take{'s' * (len(able) == 1)} {precision}." if able else ""
        raise ConfigError(
            f"precision={precision!r} (--precision): a SavedModel is float32 or bfloat16.{fix}"
        )
    suffix = Path(out).suffix
    if other := next((name for name in ENGINES if ENGINES[name].ending == suffix), None):
        raise ConfigError(
            f"{out}: is a file for {other}. Give format={other!r} (--format {other}), or for a "
            "SavedModel the folder of its versions."
        )
