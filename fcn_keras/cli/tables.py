"""The tables of figures that commands print."""

import sys
from typing import TYPE_CHECKING

from rich.table import Table

from fcn_keras.cli.terminal import console
from fcn_keras.text import FIGURES, figure

if TYPE_CHECKING:
    from fcn_keras.evaluation.results import Evaluation


def show_evaluation(evaluation: "Evaluation", title: str) -> None:
    """The four figures and the IU of each class as tables, and warnings."""
    found = evaluation.to_dict()
    table = Table(title=title, title_justify="left")
    for name in FIGURES.values():
        table.add_column(name, justify="right")
    table.add_row(*(figure(found[name]) for name in FIGURES))
    console.print(table)
    table = Table("class", "IU", "accuracy", "pixels")
    for entry in found["per_class"]:
        table.add_row(
            entry["name"],
            figure(entry["iou"]),
            figure(entry["accuracy"]),
            f"{entry['pixels']:,}",
        )
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    for line in evaluation.warnings():
        print(f"warning: {line}", file=sys.stderr)
