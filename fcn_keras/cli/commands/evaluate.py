"""The command `fcn-keras evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fcn_keras import outputs
from fcn_keras.cli.options import DATA_HELP, AnyModel, DataDir, Tile, Tta, tile_edge
from fcn_keras.cli.tables import show_evaluation
from fcn_keras.cli.terminal import import_tensorflow, progress_bar


def evaluate(
    model: AnyModel,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]DATA",
            help=f"{DATA_HELP} If the model has several images or heads, one for each, such as "
            "--data semantic=a.yaml --data geometric=b.yaml.",
        ),
    ],
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="train, val, test, or another split.")] = "val",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images per batch; only images of equal size share one.")
    ] = 1,
    tile: Tile = "auto",
    tta: Tta = False,
    json: Annotated[Path | None, typer.Option(help="Write the metrics to this file.")] = None,
) -> None:
    """Measures a model: the paper's four metrics and the IU per class.

    --json also gets the confusion matrix.
    """
    measure(model, data, data_dir, split, json, batch_size, tile_edge(tile), tta)


def measure(
    model: Path,
    data: list[str],
    data_dir: Path | None = None,
    split: str = "val",
    json: Path | None = None,
    batch_size: int = 1,
    tile: int | Literal["auto"] | None = "auto",
    tta: bool = False,
) -> None:
    """Prints the metrics of a run or model on a split; writes them to `json` if given."""
    import_tensorflow()
    from fcn_keras.cli.checked import splits_for
    from fcn_keras.cli.opening import quietly
    from fcn_keras.evaluation.batches import batches_of, skips_absent
    from fcn_keras.evaluation.evaluate import evaluate as evaluate_model
    from fcn_keras.prediction.segmenter import load

    if json is not None:
        outputs.check_file("--json", json, ".json")
    opened = quietly(load, model)
    splits = splits_for(opened, model, data, split, data_dir)
    batches, names = batches_of(opened.model, splits, batch_size)
    named = splits if isinstance(splits, dict) else {"": splits}
    titles = {name: one.name for name, one in named.items()}
    where = ", ".join(dict.fromkeys(titles.values()))
    with progress_bar(f"evaluating on {where}", int(batches.cardinality())) as advance:
        rules = skips_absent(opened.model, splits)
        found = evaluate_model(
            opened,
            batches,
            class_names=names,
            tile=tile,
            tta=tta,
            skip_absent=rules,
            progress=advance,
        )
    if isinstance(found, dict):
        shown = {f"{head}, {titles[head]}": evaluation for head, evaluation in found.items()}
        content = {head: evaluation.to_dict() for head, evaluation in found.items()}
    else:
        shown, content = {where: found}, found.to_dict()
    try:
        if json is not None:
            outputs.write_json(json, content)
    finally:  # A full disk must not cost the tables, nor a closed terminal the file.
        for title, evaluation in shown.items():
            show_evaluation(evaluation, title)
