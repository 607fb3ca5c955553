"""The command line, `fcn-keras`: its commands, and one line for a user's mistake.

The module of a command is imported when the command is called, and TensorFlow inside of it, so that
`fcn-keras --help` needs neither.
"""

import errno
import importlib
import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fcn_keras.cli.options import STYLE
from fcn_keras.errors import FcnKerasError

COMMANDS = {  # The first line of what each says of itself; its module in `commands` has the rest.
    "quickstart": "Trains, evaluates, predicts and exports on built-in data, in one to four "
    "minutes.",
    "train": "Trains a model; --out gets the best one, its figures, history, pictures and "
    "TensorBoard log.",
    "evaluate": "Measures a model: the paper's four figures and the IU of each class.",
    "predict": "Writes the mask of each image, as a palette PNG of the image's size, and an "
    "overlay.",
    "export": "Writes a SavedModel into the next free version folder, or one file for another "
    "engine.",
    "calibrate": "Shifts the scores of the classes by constants, to the best mean IU on the "
    "training split.",
    "report": "Writes one HTML page: what was run, curves, figures, confusion matrix, pictures.",
    "convert": "Turns Caffe weights, such as the authors', into a model for predict, evaluate and "
    "export.",
    "data": "Look at a data set before training on it; serve it to trainings.",
    "experiment": "The paper's experiments that need no training.",
}
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class _Commands(TyperGroup):
    """Lists `COMMANDS` without importing them, and imports the one that is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, **STYLE)


def load(name: str) -> Any:
    """The command of a name, ready to be called: `app` of its module, or the function of its name.

    Args:
        name: a key of `COMMANDS`.
    """
    module = importlib.import_module(f"fcn_keras.cli.commands.{name}")
    commands = getattr(module, "app", None)
    if commands is None:
        commands = typer.Typer(**STYLE)
        commands.command()(getattr(module, name))
    return typer.main.get_command(commands)


def main() -> None:
    """Runs the command line; a user's mistake gives one line and exit status 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if isinstance(sys.stdout, io.TextIOWrapper):  # File names may not fit its encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # Typer's for Ctrl-C.
            print("stopped.", file=sys.stderr)
        raise
    except Exception as error:
        message = _users_mistake(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"fcn-keras {version('fcn_keras')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it and exit."
        ),
    ] = False,
) -> None:
    """Fully Convolutional Networks for Semantic Segmentation: train, measure, predict, export."""


def _users_mistake(error: Exception) -> str | None:
    """The message of an error of ours, or None; imports neither `pipelines` nor TensorFlow."""
    if isinstance(error, FcnKerasError):
        return str(error)
    module = sys.modules.get("pipelines.errors")
    if module is not None and isinstance(error, module.DataError):
        return str(error)
    workers = sys.modules.get("fcn_keras.distribution.workers")
    if workers is not None and isinstance(error, workers.tf.errors.OpError):
        lost = workers.lost(error, "start all workers again")
        if lost is not None:  # Before the first step, or after the last.
            return str(lost)
    if type(error).__module__.startswith("tensorflow.") and "DataError: " in str(error):
        # From inside a tf.data pipeline, such as a file that has gone since the check.
        return str(error).split("DataError: ", 1)[1].split("\nTraceback ", 1)[0].strip()
    if isinstance(error, OSError) and error.errno in DISK_FAULTS:
        where = error.filename or "the disk"
        return f"{where}: {error.strerror}. Make room or change that; what was saved is kept."
    if _is_out_of_memory(error):
        return (
            "out of memory. Use smaller crops (--crop), smaller batches (--batch-size) or a "
            "narrower head (--head-width); what was saved is kept."
        )
    return None


def _is_out_of_memory(error: Exception) -> bool:
    """Of the GPU or of the machine, while TensorFlow computes or while a batch is made."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    is_tensorflows = type(error).__module__.startswith("tensorflow.")
    signs = ("MemoryError: ", "Insufficient memory", "OutOfMemoryError")
    return is_tensorflows and any(sign in str(error) for sign in signs)
