"""Runs as one self-contained HTML page: what was run, curves, figures, classes, pictures.

Everything is read from the runs' folders; neither the data nor TensorFlow is needed. What a run
lacks, because it is not finished or was broken off, is left out and said.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from fcn_keras.errors import ConfigError
from fcn_keras.reporting.charts import Line, chart
from fcn_keras.reporting.example_pictures import WRONG, example_pictures
from fcn_keras.reporting.tables import (
    confusion,
    facts,
    rows_of_classes,
    rows_of_figures,
    rows_of_options,
)
from fcn_keras.runs.config import STAGES
from fcn_keras.runs.reading import Run, read
from fcn_keras.runs.run_folder import is_begun, stage_folder
from fcn_keras.text import figure

CURVES = {
    "loss": "loss",
    "mean_iou": "mean IU",
    "pixel_accuracy": "pixel accuracy",
    "learning_rate": "learning rate",
}
MOST_RUNS = 8  # The page has so many colours for lines.


def find(folders: Iterable[str | Path]) -> list[Run]:
    """Reads the runs in some folders; a staged run gives one for each stage.

    Args:
        folders: paths of runs' folders.

    Returns:
        A list of `Run`.

    Raises:
        ConfigError: a folder holds no run, or there are more runs than a page can show.
    """
    runs: list[Run] = []
    for folder in map(Path, folders):
        stages = [stage_folder(folder, model) for model in STAGES]
        runs += [read(path) for path in filter(is_begun, stages)] or [read(folder)]
    if len(runs) > MOST_RUNS:
        raise ConfigError(f"{len(runs)} runs: a report shows {MOST_RUNS} at most. Leave some out.")
    if len({run.folder for run in runs}) > 1:
        holder = os.path.commonpath([run.folder.absolute() for run in runs])
        for run in runs:
            run.name = os.path.relpath(run.folder, holder)
    return runs


def render(runs: Sequence[Run]) -> str:
    """The page's HTML.

    Args:
        runs: a list of `Run`.
    """
    environment = Environment(
        loader=PackageLoader("fcn_keras.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    return environment.get_template("run_report.html").render(
        title=", ".join(run.name for run in runs),
        runs=[_shown(run, colour, len(runs) == 1) for colour, run in enumerate(runs)],
        charts=[drawn for key, title in CURVES.items() if (drawn := _curves(runs, key, title))],
        figures=rows_of_figures(runs),
        classes=rows_of_classes(runs),
        options=rows_of_options(runs),
        comparable=_are_comparable(runs),
        void="#ffffff",
        wrong="#{:02x}{:02x}{:02x}".format(*WRONG),
    )


def _are_comparable(runs: Sequence[Run]) -> bool:
    """Whether runs were validated on the same data, as far as is known."""
    digests = {run.validated_on for run in runs}
    if None not in digests:
        return len(digests) == 1
    named = {(run.options.get("data"), run.options.get("val_split")) for run in runs}
    return len(named) == 1 and len(digests - {None}) <= 1


def _curves(runs: Sequence[Run], key: str, title: str) -> dict[str, Any] | None:
    """One chart of all runs: validation drawn through, training dashed if there are several."""
    several, lines = len(runs) > 1, []
    for position, run in enumerate(runs):
        epochs = [row["epoch"] for row in run.history]
        for column, split in ((key, "train"), (f"val_{key}", "validation")):
            is_train = split == "train"
            lines.append(
                Line(
                    ", ".join([*([run.name] if several else []), split]),
                    epochs,
                    [row.get(column) for row in run.history],
                    position if several else int(not is_train),
                    dashed=several and is_train and key != "learning_rate",
                )
            )
    return chart(title, lines)


def _shown(run: Run, colour: int, is_alone: bool) -> dict[str, Any]:
    """What the page says of one run."""
    return {
        "colour": colour,
        "name": run.name,
        "notes": run.notes,
        "best_epoch": run.metrics and run.metrics.get("epoch"),
        "facts": facts(run),
        "classes": run.classes,
        **confusion(run),
        "measured": sum(image["mean_iou"] is not None for image in run.images),
        "pictures": example_pictures(run, None if is_alone else 1),
    }
