"""The commands `fcn-keras experiment ...`: the paper's experiments that need no training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from fcn_keras import outputs
from fcn_keras.cli.options import STYLE, Data, DataDir
from fcn_keras.cli.terminal import console, import_tensorflow, progress_bar

app = typer.Typer(
    help="Runs the paper's experiments that need no training.", no_args_is_help=True, **STYLE
)


@app.callback()
def experiment() -> None:
    """Runs the paper's experiments that need no training."""


@app.command("iu-bounds")
def iu_bounds(
    data: Data,
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="train, val, test, or another split.")] = "val",
    resample: Annotated[
        str, typer.Option(help="subsample-bilinear, average-bilinear or subsample-nearest.")
    ] = "subsample-bilinear",
    json: Annotated[Path | None, typer.Option(help="Write the bounds to this file.")] = None,
) -> None:
    """Computes the upper bound of the mean IU per stride: labels downsampled and upsampled."""
    import_tensorflow()
    import pipelines
    from fcn_keras.cli.progress import TerminalWatch
    from fcn_keras.evaluation.paper_experiments import PUBLISHED_BOUNDS, RESAMPLINGS
    from fcn_keras.evaluation.paper_experiments import iu_bounds as bounds_of
    from fcn_keras.training.data import checked

    if json is not None:
        outputs.check_file("--json", json, ".json")
    examples = pipelines.read(data, split, data_dir, keep_faults=True)
    checked([examples], TerminalWatch())
    with progress_bar(f"resampling {examples.name}", len(examples)) as advance:

        def masks() -> Iterator[np.ndarray]:
            for index in range(len(examples)):
                yield pipelines.read_example(examples, index)[1]
                advance()

        bounds = bounds_of(masks(), examples.num_classes, resample=resample)
    if json is not None:  # Before the terminal, which may be closed.
        how = {"data": examples.name, "resample": resample, "how": RESAMPLINGS[resample]}
        outputs.write_json(json, {**how, "mean_iou": bounds})
    table = Table(title=f"{examples.name}, {len(examples)} masks", title_justify="left")
    for column in ("downsampled by", "mean IU", "paper, on PASCAL VOC"):
        table.add_column(column, justify="right")
    for factor, bound in bounds.items():
        table.add_row(str(factor), f"{bound:.3f}", f"{PUBLISHED_BOUNDS[factor]:.3f}")
    console.print(table)
    console.print(f"{resample}: {RESAMPLINGS[resample]}")
