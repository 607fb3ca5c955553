"""The command `fcn-keras report`: one HTML page about one or several runs."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fcn_keras import outputs
from fcn_keras.cli.terminal import console, import_tensorflow
from fcn_keras.errors import ConfigError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs; several are shown side by side."),
    ],
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="The page. [default: RUN/report.html; for several runs, report.html in their "
            "common folder]",
        ),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures",
            help="Measure every validation image again and show the best, median and worst. Needs "
            "the data.",
        ),
    ] = False,
) -> None:
    """Writes an HTML report: configuration, curves, metrics, confusion matrix, pictures.

    The page is self-contained: no network, no other files. It shows the stages of a staged run side
    by side.
    """
    from fcn_keras.reporting import run_report

    for folder in runs:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder. Give a run's folder.")
    page = html or _default(runs)
    outputs.check_file("--html", page, ".html")
    found = run_report.find(runs)
    if pictures:
        import_tensorflow()
        from fcn_keras.cli.progress import TerminalWatch
        from fcn_keras.training.run_reports import measure, validation_split

        watch = TerminalWatch()
        for run in found:
            measure(run.folder, validation_split(run, watch), watch)
        found = run_report.find(runs)
    outputs.write_text(page, run_report.render(found))
    for run in found:
        for note in run.notes:
            print(f"note: {run.name}: {note}", file=sys.stderr)
    console.print(f"report: {page}", soft_wrap=True)


def _default(folders: list[Path]) -> Path:
    """Returns `report.html` in the run's folder, or in the common folder of several runs."""
    if len(folders) == 1:
        return folders[0] / "report.html"
    return Path(os.path.commonpath([folder.absolute() for folder in folders])) / "report.html"
