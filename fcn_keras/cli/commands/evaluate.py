"""The command `fcn-keras evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from fcn_keras import outputs
from fcn_keras.cli.checked import examples_for
from fcn_keras.cli.options import Data, DataDir, RunOrModel, Tta
from fcn_keras.cli.tables import show_evaluation
from fcn_keras.cli.terminal import import_tensorflow, progress_bar


def evaluate(
    model: RunOrModel,
    data: Data,
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="train, val, test, or what the data set has.")] = "val",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images of one size that go through the model together.")
    ] = 1,
    tta: Tta = False,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
):
    """Measures a model: the paper's four figures and the IU of each class.

    With --json also the confusion matrix.
    """
    measure(model, data, data_dir, split, json, batch_size, tta)


def measure(model, data, data_dir=None, split="val", json=None, batch_size=1, tta=False):
    """Shows the figures of a run or model file on a split, and writes them to `json`, if given."""
    import_tensorflow()
    import pipelines
    from fcn_keras.evaluation import evaluate as evaluation
    from fcn_keras.models import saving

    if json is not None:
        outputs.check_file("--json", json, ".json")
    opened = saving.load_single(model)
    examples = examples_for(opened, model, data, split, data_dir)
    batches = pipelines.eval_dataset(examples, batch_size=batch_size)
    with progress_bar(f"evaluating on {examples.name}", int(batches.cardinality())) as advance:
        found = evaluation.evaluate(
            opened, batches, class_names=examples.class_names, tta=tta, progress=advance
        )
    show_evaluation(found, examples.name)
    if json is not None:
        outputs.write_json(json, found.to_dict())
