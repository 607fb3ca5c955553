"""The command `fcn-keras quickstart`."""

from pathlib import Path
from typing import Annotated

import typer

from fcn_keras.cli.commands.evaluate import measure
from fcn_keras.cli.commands.export import write
from fcn_keras.cli.running import run_training
from fcn_keras.cli.terminal import console
from fcn_keras.runs.resolve import resolve


def quickstart(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the run. [default: runs/quickstart, or -2, -3, ...]"),
    ] = None,
) -> None:
    """Trains, evaluates, predicts and exports on built-in data, in one to four minutes."""
    out = out or _free_folder(Path("runs/quickstart"))
    config = resolve("quickstart", {"data": "synthetic", "devices": 1})  # Small.
    run_training(config, out)
    console.print("\nThe best model on the test split:")
    measure(out, ["synthetic"], split="test")
    console.print(f"\nreport: {out / 'report.html'}", soft_wrap=True)
    from fcn_keras.prediction.segmenter import load

    write(load(out), out, out / "saved_model")
    console.print(f"TensorBoard: tensorboard --logdir {out}", soft_wrap=True)


def _free_folder(folder: Path) -> Path:
    """Returns `folder`, or the first of `folder-2`, `folder-3`, ... that does not exist."""
    choice, number = folder, 1
    while choice.exists():
        number += 1
        choice = folder.with_name(f"{folder.name}-{number}")
    return choice
