"""Terminal output of the commands: console, progress bars, warnings, and a quiet TensorFlow."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

if TYPE_CHECKING:
    from pipelines.errors import DataError

console = Console(markup=False)  # Paths and names may contain square brackets.


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each of `total` items; shows a bar on a terminal."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(description), total=total)
        yield lambda: progress.advance(task)


def print_warnings(errors: "Sequence[DataError]") -> None:
    """Prints `DataError`s as warnings: one line per kind of file fault, one line per other."""
    from pipelines.errors import as_lines

    for line in as_lines(errors):
        print(f"warning: {line}", file=sys.stderr)


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines that it prints at every log level.

    The lines go to a temporary file, which is printed if the import fails.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as lines:
        os.dup2(lines.fileno(), 2)
        try:
            import tensorflow

            tensorflow.get_logger().setLevel("ERROR")  # It warns about retracing in each stage.
        except BaseException:
            lines.seek(0)
            os.write(stderr, lines.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
