"""The command `fcn-keras export`: a SavedModel, or a file for another engine."""

import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from fcn_keras.cli.checked import examples_for
from fcn_keras.cli.options import DataDir, RunOrModel
from fcn_keras.cli.terminal import console, import_tensorflow, progress_bar
from fcn_keras.errors import ConfigError
from fcn_keras.serving.formats import check_export

LOSS = 0.005  # Of the mean IU, which is warned of.
CALIBRATION_IMAGES = 100  # Of the training images, at equal distances.


def export(
    model: RunOrModel,
    out: Annotated[
        Path,
        typer.Option(
            help="Of SavedModels the folder of all versions: saved_models/NAME; else the file: "
            ".onnx, .xml (OpenVINO) or .tflite (LiteRT)."
        ),
    ],
    format: Annotated[
        Literal["savedmodel", "onnx", "openvino", "litert"],
        typer.Option(help="For TensorFlow Serving, or another engine."),
    ] = "savedmodel",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16", "int8"],
        typer.Option(
            help="savedmodel: float32, bfloat16, auto: as it was trained; onnx: float32; "
            "openvino: float32, float16, int8; litert: float32, int8. int8 needs --data."
        ),
    ] = "auto",
    freeze: Annotated[
        bool,
        typer.Option(
            "--freeze/--no-freeze",
            help="SavedModel: weights as constants, faster on a CPU; or as variables.",
        ),
    ] = True,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=500_000_000,
            help="SavedModel: of an image file in a request. [default: 16777216]",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Measure the mean IU on this data set before and after; for int8 its training "
            "images decide the scales."
        ),
    ] = None,
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="What the mean IU is measured on.")] = "val",
):
    """Writes a SavedModel into the next free version folder, or one file for another engine.

    What is written is run beside the Keras model before it gets its name.
    """
    chosen = None if precision == "auto" else precision
    check_export(format, out, chosen, freeze=freeze, max_pixels=max_pixels)
    if precision == "int8" and data is None:
        raise ConfigError("--precision int8: needs training images. Give --data too.")
    import_tensorflow()
    from fcn_keras.models import saving

    opened, examples = saving.load(model), None
    if data is not None:
        examples = examples_for(opened, model, data, split, data_dir)
    images = _training_images(data, data_dir) if precision == "int8" else None
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
        _show_loss(opened.model, path, examples, format == "savedmodel")


def write(opened, model, out, format="savedmodel", **options):
    """Exports what `load` opened, of a run or a model file; shows and gives the path."""
    from fcn_keras.serving.export import export as export_model

    run = model if model.is_dir() else model.parent
    has_run = format == "savedmodel" and opened.classes is not None
    found = export_model(opened, out, format, run=run if has_run else None, **options)
    if format == "savedmodel":
        console.print(f"SavedModel: {found.path}", soft_wrap=True)
        return found.path
    console.print(f"{format} {options.get('precision') or 'float32'}: {found.path}", soft_wrap=True)
    if found.error is not None:
        console.print(f"largest error of a logit: {found.error:.1e} of the largest logit")
    console.print(f"pixels of the model's class: {100 * found.agreement:.2f} %")
    return found.path


def _training_images(data, data_dir):
    """Some images of the training split, at their own sizes."""
    import pipelines

    train = pipelines.read(data, "train", data_dir)
    step = -(-len(train) // CALIBRATION_IMAGES)
    return [train.read_image(example.image) for example in train.examples[::step]]


def _show_loss(model, path, examples, is_saved_model):
    """Prints the mean IU of the Keras model and of what was written."""
    import pipelines
    from fcn_keras.evaluation.evaluate import evaluate, evaluate_engine
    from fcn_keras.prediction.engines import open_engine

    batches = pipelines.eval_dataset(examples)
    steps, names = int(batches.cardinality()), examples.class_names
    with progress_bar("measuring the model", steps) as advance:
        before = evaluate(model, batches, progress=advance).mean_iou
    written = _saved_model(path) if is_saved_model else nullcontext(open_engine(path))
    with written as run, progress_bar("measuring what was written", steps) as advance:
        after = evaluate_engine(run, batches, names, advance).mean_iou
    table = Table(title=f"mean IU on {examples.name}", title_justify="left")
    for name in ("the model", "what was written", "difference"):
        table.add_column(name, justify="right")
    table.add_row(f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
    console.print(table)
    if after < before - LOSS:
        print(
            f"warning: the mean IU is lower by {before - after:.4f}. Use a higher --precision, or "
            "more training images.",
            file=sys.stderr,
        )


@contextmanager
def _saved_model(path):
    """Images -> masks of a version."""
    from fcn_keras.serving import saved_model

    with saved_model.opened(path, "serving_default") as run:
        yield lambda images: run(image=images)["mask"]
