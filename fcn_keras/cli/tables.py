"""The tables of metrics that commands print."""

import sys
from typing import TYPE_CHECKING

from rich.table import Table

from fcn_keras.cli.terminal import console, say
from fcn_keras.text import METRIC_NAMES, format_metric, other_mean_iu

if TYPE_CHECKING:
    from fcn_keras.evaluation.results import Evaluation


def show_evaluation(evaluation: "Evaluation", title: str) -> None:
    """Prints the four metrics and the IU per class as tables, then the warnings."""
    found = evaluation.to_dict()
    table = Table(title=title, title_justify="left")
    for name in METRIC_NAMES.values():
        table.add_column(name, justify="right")
    table.add_row(*(format_metric(found[name]) for name in METRIC_NAMES))
    console.print(table)
    if line := other_mean_iu(found):
        say(line)
    table = Table("class", "IU", "accuracy", "pixels")
    for entry in found["per_class"]:
        table.add_row(
            entry["name"],
            format_metric(entry["iou"]),
            format_metric(entry["accuracy"]),
            f"{entry['pixels']:,}",
        )
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    for line in evaluation.warnings():
        print(f"warning: {line}", file=sys.stderr)
