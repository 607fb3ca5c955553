"""What commands print on: one console, and bars of progress."""

from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

console = Console(markup=False)  # Paths and names may hold square brackets.


@contextmanager
def progress_bar(description, total):
    """Gives a function to call after each of `total` things; shows a bar on a terminal."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(description), total=total)
        yield lambda: progress.advance(task)
