"""Runs as one standalone HTML page: metrics, pictures, curves, classes, confusions, options.

Everything is read from the run folders; neither the data nor TensorFlow is needed. The page says
what is missing, for example because a run is not finished or was interrupted.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from fcn_keras.errors import ConfigError
from fcn_keras.reporting.charts import Line, chart
from fcn_keras.reporting.example_pictures import WRONG, example_pictures
from fcn_keras.reporting.facts import environment, rows_of_data, summary
from fcn_keras.reporting.tables import (
    confusion,
    rows_of_classes,
    rows_of_metrics,
    rows_of_options,
)
from fcn_keras.runs.config import STAGES
from fcn_keras.runs.reading import Run, read
from fcn_keras.runs.run_folder import is_started, stage_folder
from fcn_keras.text import format_metric, other_mean_iu

CURVES = {
    "mean_iou": "Mean IU",
    "pixel_accuracy": "Pixel accuracy",
    "loss": "Loss",
    "learning_rate": "Learning rate",
}
MOST_RUNS = 8  # The page has eight line colours.


def find(folders: Iterable[str | Path]) -> list[Run]:
    """Reads the runs in some folders; a staged run gives one run per stage.

    Args:
        folders: Paths of run folders.

    Returns:
        A list of `Run`.

    Raises:
        ConfigError: A folder holds no run, or there are more runs than a page can show.
    """
    runs: list[Run] = []
    for folder in map(Path, folders):
        stages = [stage_folder(folder, model) for model in STAGES]
        runs += [read(path) for path in filter(is_started, stages)] or [read(folder)]
    if len(runs) > MOST_RUNS:
        raise ConfigError(f"{len(runs)} runs: a report shows {MOST_RUNS} at most. Leave some out.")
    if len({run.folder for run in runs}) > 1:
        holder = os.path.commonpath([run.folder.absolute() for run in runs])
        for run in runs:
            run.name = os.path.relpath(run.folder, holder)
    return runs


def shows(page: Path, runs: Sequence[Run]) -> bool:
    """Returns whether a page shows these runs in their present state.

    Pages of version 0.1 do not tell; neither do its runs, which are finished.
    """
    if not page.is_file():
        return False
    with page.open(encoding="utf-8", errors="replace") as file:
        found = re.search(r'<meta name="runs" content="([^"]*)">', file.read(1000))
    if found is None:
        return all(run.weights is None for run in runs)
    return found[1] == _state(runs)


def render(runs: Sequence[Run]) -> str:
    """Renders the page as HTML.

    Args:
        runs: A list of `Run`.
    """
    templates = Environment(
        loader=PackageLoader("fcn_keras.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["metric"] = format_metric
    return templates.get_template("run_report.html").render(
        title=", ".join(run.name for run in runs),
        state=_state(runs),
        several=len(runs) > 1,
        runs=[_shown(run, colour, len(runs) == 1) for colour, run in enumerate(runs)],
        charts=[drawn for key, title in CURVES.items() if (drawn := _curves(runs, key, title))],
        metrics=rows_of_metrics(runs),
        classes=rows_of_classes(runs),
        data=rows_of_data(runs),
        options=rows_of_options(runs),
        comparable=_are_comparable(runs),
        void="#ffffff",
        wrong="#{:02x}{:02x}{:02x}".format(*WRONG),
    )


def _state(runs: Sequence[Run]) -> str:
    return " ".join(run.state for run in runs)


def _are_comparable(runs: Sequence[Run]) -> bool:
    """Whether the runs were validated on the same data, as far as is known."""
    digests = {run.validated_on for run in runs}
    if None not in digests:
        return len(digests) == 1
    named = {(run.options.get("data"), run.options.get("val_split")) for run in runs}
    return len(named) == 1 and len(digests - {None}) <= 1


def _curves(runs: Sequence[Run], key: str, title: str) -> dict[str, Any] | None:
    """One chart of all runs, with the best epochs marked.

    A single run has a colour per split; several have a colour per run, and training is dashed.
    """
    several, lines = len(runs) > 1, []
    for position, run in enumerate(runs):
        epochs = [row["epoch"] for row in run.history]
        for column, split in ((key, "training"), (f"val_{key}", "validation")):
            is_train = split == "training"
            lines.append(
                Line(
                    ", ".join([*([run.name] if several else []), split]),
                    epochs,
                    [row.get(column) for row in run.history],
                    position if several else int(not is_train),
                    dashed=several and is_train and key != "learning_rate",
                    best=None if is_train or not several else _best_epoch(run),
                )
            )
    return chart(title, lines, best=None if several else _best_epoch(runs[0]))


def _best_epoch(run: Run) -> int | None:
    return run.metrics.get("epoch") if run.metrics else None


def _shown(run: Run, colour: int, is_alone: bool) -> dict[str, Any]:
    """What the page says about one run."""
    pictures = example_pictures(run, None if is_alone else 1)
    in_pictures = set().union(*(p["class_ids"] for shown in pictures.values() for p in shown))
    return {
        "colour": colour,
        "name": run.name,
        "notes": run.notes,
        "best_epoch": _best_epoch(run),
        "other_mean_iu": other_mean_iu(run.metrics or {}),
        "epochs": run.epochs,
        "summary": summary(run),
        "facts": environment(run),
        "classes": run.classes,
        **confusion(run),
        "measured": sum(image["mean_iou"] is not None for image in run.images),
        "pictures": pictures,
        "legend": [entry for i, entry in enumerate(run.classes) if i in in_pictures],
    }
