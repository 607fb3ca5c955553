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

ENDINGS = {".onnx": "onnx", ".xml": "openvino", ".tflite": "litert"}
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
    is_saved_model = format == "savedmodel"
    if is_saved_model and precision in ("float16", "int8"):
        raise ConfigError(
            f"--precision {precision}: a SavedModel is float32 or bfloat16; --format openvino "
            f"takes {precision}."
        )
    if not is_saved_model and (not freeze or max_pixels is not None):
        option = "--max-pixels" if freeze else "--no-freeze"
        raise ConfigError(f"{option}: is for SavedModels, not for {format}. Leave it out.")
    if is_saved_model and (format := ENDINGS.get(out.suffix)):
        raise ConfigError(
            f"--out {out}: is a file for {format}. Give --format {format}, or for a SavedModel the "
            "folder of its versions."
        )
    if precision == "int8" and data is None:
        raise ConfigError("--precision int8: needs training images. Give --data too.")
    import_tensorflow()
    from fcn_keras.models import saving

    opened, examples = saving.load(model), None
    if data is not None:
        examples = examples_for(opened, model, data, split, data_dir)
    if is_saved_model:
        chosen = None if precision == "auto" else precision
        limit = {} if max_pixels is None else {"max_pixels": max_pixels}
        path = export_saved_model(
            model, out, opened=opened, precision=chosen, freeze=freeze, **limit
        )
        console.print(f"SavedModel: {path}", soft_wrap=True)
    else:
        path = _export_for(opened, out, format, precision, data, data_dir)
    if examples is not None:
        _show_loss(opened.model, path, examples, is_saved_model)


def export_saved_model(model, out, opened=None, **options):
    """`export.export` of a run or a model file, opened already or not; gives the version's path."""
    from fcn_keras.models import saving
    from fcn_keras.serving.export import export as write

    opened = opened or saving.load(model)
    run = model if model.is_dir() else model.parent
    return write(
        opened.model,
        out,
        class_names=opened.classes,
        palette=opened.palette,
        run=run if opened.classes is not None else None,
        **options,
    )


def _export_for(opened, out, format, precision, data, data_dir):
    from fcn_keras.serving.writers.write import write_engine

    chosen = "float32" if precision == "auto" else precision
    images = _training_images(data, data_dir) if chosen == "int8" else None
    written = write_engine(
        opened.model,
        out,
        format,
        precision=chosen,
        calibration=images,
        class_names=opened.classes,
        palette=opened.palette,
    )
    console.print(f"{format} {chosen}: {written.path}", soft_wrap=True)
    if written.error is not None:
        console.print(f"largest error of a logit: {written.error:.1e} of the largest logit")
    console.print(f"pixels of the model's class: {100 * written.agreement:.2f} %")
    return written.path


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
