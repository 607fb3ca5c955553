"""The command `fcn-keras calibrate`."""

from typing import Annotated

import typer
from rich.table import Table

from fcn_keras import outputs
from fcn_keras.cli.checked import examples_for
from fcn_keras.cli.options import Data, DataDir, NewModel, RunOrModel
from fcn_keras.cli.terminal import console, import_tensorflow, progress_bar


def calibrate(
    model: RunOrModel,
    data: Data,
    out: NewModel,
    data_dir: DataDir = None,
    split: Annotated[
        str, typer.Option(help="Split for choosing the constants; never the one you measure on.")
    ] = "train",
) -> None:
    """Adds a constant to each class's score to maximise the mean IU on the training split.

    Cross-entropy predicts thin or rare classes too seldom; the constants correct that. They become
    part of the new model.
    """
    outputs.check_new_model(out)
    import_tensorflow()
    import pipelines
    from fcn_keras.cli.opening import quietly
    from fcn_keras.evaluation import calibration
    from fcn_keras.models.saving import keras_model, save_model
    from fcn_keras.prediction.segmenter import load_single

    opened = quietly(load_single, model)
    keras_model(opened)  # Refuses exported models.
    examples = examples_for(opened, model, data, split, data_dir)
    batches = pipelines.eval_dataset(examples)
    with progress_bar(f"predicting {examples.name}", len(examples)) as advance:
        found = calibration.calibrate(opened.model, batches, progress=advance)
    table = Table("class", "added to the score")
    table.columns[1].justify = "right"
    for name, offset in zip(examples.class_names, found.offsets, strict=True):
        table.add_row(name, f"{offset:+.2f}")
    console.print(table)
    console.print(f"mean IU on {examples.name}: {found.before:.3f} -> {found.after:.3f}")
    outputs.check_new_model(out)  # Again: the work has taken its time.
    outputs.make_folder(out.parent)
    outputs.remove_unfinished(out.parent)
    save_model(opened.model, out)
    console.print(f"model: {out}", soft_wrap=True)
