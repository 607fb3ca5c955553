"""The export formats, and which arguments go together.

Without TensorFlow, so that a command reports a wrong argument before it loads a model.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fcn_keras.errors import ConfigError
from fcn_keras.outputs import check_folder, check_free
from fcn_keras.prediction.engines import ENGINES, check_installed
from fcn_keras.serving.publishing import remove_unfinished

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
    freeze: bool = False,
    max_pixels: int | None = None,
) -> None:
    """Checks that the arguments of `export` go together, and that `out` can be written.

    Raises:
        ConfigError: An argument is unknown or unsupported by this format, the engine is not
            installed, or `out` exists, has the wrong ending or cannot be written.
    """
    if format not in ("savedmodel", *FORMATS):
        known = ", ".join(("savedmodel", *FORMATS))
        raise ConfigError(f"format={format!r}: must be one of {known} (--format).")
    if format != "savedmodel":
        if freeze or max_pixels is not None:
            what = "freeze=True (--freeze)" if freeze else "max_pixels (--max-pixels)"
            raise ConfigError(f"{what}: only SavedModels support it, not {format}. Leave it out.")
        _check_precision(format, precision)
        check_engine_file(Path(out), format)
        check_installed(f"format={format!r}", format, FORMATS[format].modules)
        return
    if precision not in (None, *SAVEDMODEL_PRECISIONS):
        able = [name for name, other in FORMATS.items() if precision in other.precisions]
        fix = f" For {precision} use {' or '.join(able)} (--format)." if able else ""
        raise ConfigError(
            f"precision={precision!r} (--precision): a SavedModel must be float32 or bfloat16.{fix}"
        )
    if Path(out, "saved_model.pb").exists():
        raise ConfigError(
            f"{out}: is a version of an exported model, and stays as it is. Give the folder of all "
            f"versions, {Path(out).absolute().parent}."
        )
    suffix = Path(out).suffix
    if other := next((name for name in ENGINES if ENGINES[name].ending == suffix), None):
        raise ConfigError(
            f"{out}: is a file name for {other}. Use format={other!r} (--format {other}), or give "
            "the folder for the SavedModel's versions."
        )
    if set("*?[]") & set(str(Path(out).absolute())):
        raise ConfigError(
            f"{out}: must not contain *, ? or [], which TensorFlow reads as patterns. Rename it."
        )
    check_folder(out)


def check_engine_file(out: Path, format: str) -> None:
    """Checks the path of a file for another engine, after removing what killed exports left there.

    Raises:
        ConfigError: The ending is wrong, the folder is missing or not writable, or the file or one
            that belongs to it exists.
    """
    ending = ENGINES[format].ending
    if out.suffix != ending:
        raise ConfigError(f"{out}: the file name must end in {ending} for format {format}.")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{out}: the folder {out.parent} does not exist. Create it first.")
    check_folder(out.parent)
    remove_unfinished(out.parent)
    for path in (out, *map(out.with_suffix, FORMATS[format].companions)):
        check_free(path)


def _check_precision(format: str, precision: str | None) -> None:
    chosen = FORMATS[format].precisions
    if precision not in (None, *chosen):
        able = [name for name, other in FORMATS.items() if precision in other.precisions]
        fix = f" For {precision} use {' or '.join(able)}." if able else ""
        raise ConfigError(
            f"precision={precision!r}: {format} supports only {', '.join(chosen)}.{fix}"
        )
