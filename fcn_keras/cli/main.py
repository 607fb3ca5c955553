"""The command line `fcn-keras`: lists the commands and prints user errors as one line.

A command's module is imported when the command is called, and imports TensorFlow only then. So
`fcn-keras --help` imports neither.
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
from fcn_keras.outputs import disk_fault

COMMANDS = {  # In the order of use. Each text is the first line of the command's docstring.
    "quickstart": "Trains, evaluates, predicts and exports on built-in data, in one to four "
    "minutes.",
    "data": "Converts annotations, describes a data set in YAML, checks it, and serves its "
    "batches.",
    "train": "Trains a model; --out gets the best one, metrics, history, pictures and a "
    "TensorBoard log.",
    "evaluate": "Measures a model: the paper's four metrics and the IU per class.",
    "report": "Writes an HTML report: configuration, curves, metrics, confusion matrix, pictures.",
    "predict": "Writes a mask and an overlay per image; masks are palette PNGs of the image's "
    "size.",
    "calibrate": "Adds a constant to each class's score to maximise the mean IU on the training "
    "split.",
    "export": "Writes a SavedModel to the next free version folder, or a file for another engine.",
    "convert": "Converts Caffe weights, such as the authors', into a model for predict, evaluate "
    "and export.",
    "experiment": "Runs the paper's experiments that need no training.",
}
PATH_ERRORS = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)


class _Commands(TyperGroup):
    """Lists `COMMANDS` without importing them; imports a command when it is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, **STYLE)


def load(name: str) -> Any:
    """Imports a command: `app` of its module, or the function of the same name.

    Args:
        name: A key of `COMMANDS`.
    """
    module = importlib.import_module(f"fcn_keras.cli.commands.{name}")
    commands = getattr(module, "app", None)
    if commands is None:
        commands = typer.Typer(**STYLE)
        commands.command()(getattr(module, name))
    return typer.main.get_command(commands)


def main() -> None:
    """Runs the command line; a user error prints one line and exits with status 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if isinstance(sys.stdout, io.TextIOWrapper):  # File names may not fit its encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # Typer's exit status for Ctrl-C.
            print("stopped.", file=sys.stderr)
        raise
    except Exception as error:
        message = _user_message(error)
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
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Fully Convolutional Networks for Semantic Segmentation: train, measure, predict, export."""


def _user_message(error: Exception) -> str | None:
    """Returns the message for an error the user can fix, or None for any other error.

    Imports neither `pipelines` nor TensorFlow.
    """
    if isinstance(error, FcnKerasError):
        return str(error)
    module = sys.modules.get("pipelines.errors")
    if module is not None and isinstance(error, module.DataError):
        return str(error)
    workers = sys.modules.get("fcn_keras.distribution.workers")
    if workers is not None and isinstance(error, workers.tf.errors.OpError):
        lost = workers.lost_worker(error, "start all workers again")
        if lost is not None:  # Before the first step, or after the last one.
            return str(lost)
    if type(error).__module__.startswith("tensorflow.") and "DataError: " in str(error):
        # Raised inside a tf.data pipeline, for example if a file was removed after the check.
        return str(error).split("DataError: ", 1)[1].split("\nTraceback ", 1)[0].strip()
    if isinstance(error, ImportError) and str(error).startswith("KERAS_BACKEND"):
        return str(error)
    where = getattr(error, "filename", None) or "the disk"
    if reason := disk_fault(error):
        return (
            f"{where}: {reason}. Free some space or change the permissions; saved files are kept."
        )
    if isinstance(error, OSError) and error.errno in PATH_ERRORS:
        return f"{where}: {error.strerror}. Give another path."
    if _is_out_of_memory(error):
        return (
            "out of memory. Use smaller crops (--crop), smaller batches (--batch-size) or a "
            "narrower head (--head-width); saved files are kept."
        )
    return None


def _is_out_of_memory(error: Exception) -> bool:
    """Returns whether the GPU or the machine ran out of memory, in TensorFlow or in Python."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    is_tensorflows = type(error).__module__.startswith("tensorflow.")
    signs = ("MemoryError: ", "Insufficient memory", "OutOfMemoryError")
    return is_tensorflows and any(sign in str(error) for sign in signs)
