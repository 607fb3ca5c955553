"""The command `fcn-keras export`: a SavedModel, or a file for another engine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from fcn_keras.cli.checked import examples_for
from fcn_keras.cli.options import DataDir, RunOrModel
from fcn_keras.cli.terminal import console, import_tensorflow, progress_bar
from fcn_keras.errors import ConfigError
from fcn_keras.serving.formats import FORMATS, check_export

if TYPE_CHECKING:
    from fcn_keras.prediction.segmenter import Segmenter

MAX_LOSS = 0.005  # A larger loss of mean IU prints a warning.


def export(
    model: RunOrModel,
    out: Annotated[
        Path,
        typer.Option(
            help="SavedModel: the folder of all versions, such as saved_models/NAME; otherwise the "
            "file: .onnx, .xml (OpenVINO) or .tflite (LiteRT)."
        ),
    ],
    format: Annotated[
        Literal["savedmodel", "onnx", "openvino", "litert"],
        typer.Option(help="savedmodel is for TensorFlow Serving."),
    ] = "savedmodel",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16", "int8"],
        typer.Option(
            help="savedmodel: float32 or bfloat16 (auto: as trained); onnx: float32; openvino: "
            "float32, float16 or int8; litert: float32 or int8. int8 needs --data."
        ),
    ] = "auto",
    freeze: Annotated[
        bool,
        typer.Option(
            "--freeze/--no-freeze",
            help="SavedModel: store weights as constants, which a CPU computes with a little "
            "faster, but loads slowly, or as variables.",
        ),
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=500_000_000,
            help="SavedModel: most pixels of an image file, or of all images of another "
            "request. [default: 16777216]",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Measure the mean IU on this data set before and after; int8 calibrates on its "
            "training images."
        ),
    ] = None,
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="Split for measuring the mean IU.")] = "val",
) -> None:
    """Writes a SavedModel to the next free version folder, or a file for another engine.

    Runs the result and compares it with the Keras model before giving it its final name.
    """
    chosen = None if precision == "auto" else precision
    takes_int8 = format in FORMATS and "int8" in FORMATS[format].precisions
    if precision == "int8" and takes_int8 and data is None:
        raise ConfigError("--precision int8: needs training images. Give --data too.")
    check_export(format, out, chosen, freeze=freeze, max_pixels=max_pixels)
    import_tensorflow()
    import pipelines
    from fcn_keras.cli.opening import quietly
    from fcn_keras.models.saving import keras_model
    from fcn_keras.prediction.segmenter import load
    from fcn_keras.serving import accuracy

    opened, examples, images = quietly(load, model), None, None
    keras_model(opened)  # Refuses exported models.
    if data is not None:
        examples = examples_for(opened, model, data, split, data_dir)
    if precision == "int8" and data is not None:
        images = accuracy.calibration_images(pipelines.read(data, "train", data_dir))
    path = write(
        opened,
        model,
        out,
        format,
        precision=chosen,
        freeze=freeze,
        max_pixels=max_pixels,
        calibration=images,
    )
    if examples is not None:
        before, after = accuracy.before_and_after(opened, path, examples, progress_bar)
        _show_loss(before.mean_iou, after.mean_iou, f"mean IU on {examples.name}")


def write(
    opened: "Segmenter",
    model: Path,
    out: Path,
    format: Literal["savedmodel", "onnx", "openvino", "litert"] = "savedmodel",
    **options: Any,
) -> Path:
    """Exports an opened model, given as a run or a model file; prints and returns the path."""
    from fcn_keras.serving.export import export as export_model

    run = model if model.is_dir() else model.parent
    has_run = format == "savedmodel" and opened.classes is not None
    found = export_model(opened, out, format, run=run if has_run else None, **options)
    if format == "savedmodel":
        console.print(f"SavedModel: {found.path}", soft_wrap=True)
        return found.path
    console.print(f"{format} {options.get('precision') or 'float32'}: {found.path}", soft_wrap=True)
    if found.error is not None:
        console.print(f"largest logit error: {found.error:.1e} of the largest logit")
    console.print(f"pixels with the same class as the model: {100 * found.agreement:.2f} %")
    return found.path


def _show_loss(before: float, after: float, title: str) -> None:
    """Prints the mean IU of the Keras model and of the exported one."""
    table = Table(title=title, title_justify="left")
    for name in ("Keras model", "exported", "difference"):
        table.add_column(name, justify="right")
    table.add_row(f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
    console.print(table)
    if after < before - MAX_LOSS:
        print(
            f"warning: the export lowers the mean IU by {before - after:.4f}. Use a higher "
            "--precision or more training images.",
            file=sys.stderr,
        )
