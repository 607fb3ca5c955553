"""The tables of a report: metrics, classes, options, confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcn_keras.runs.reading import Run
from fcn_keras.text import METRIC_NAMES

MOST_CLASSES = 40  # A larger confusion matrix cannot be read.
MOST_CONFUSIONS = 12
SHOWN_SHARE = 0.005  # A smaller share of a class would read as 0 %: its cell stays empty.
ORDER = ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")


def rows_of_metrics(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each metric's name and values, the most important first."""
    values = [run.metrics or {} for run in runs]
    return [
        {
            "name": METRIC_NAMES[key],
            "values": _differences([metrics.get(key) for metrics in values]),
        }
        for key in ORDER
    ]


def rows_of_classes(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Per class, by name: colour, pixels, and the IU and accuracy in each run."""
    found: dict[str, str] = {}
    for run in runs:
        for entry in run.classes:
            found.setdefault(entry["name"], entry["colour"])
    by_run = [
        {entry["name"]: entry for entry in (run.metrics or {"per_class": []})["per_class"]}
        for run in runs
    ]
    rows = []
    for name, colour in found.items():
        entries = [entries.get(name, {}) for entries in by_run]
        rows.append(
            {
                "name": name,
                "colour": colour,
                "pixels": next((e["pixels"] for e in entries if "pixels" in e), None),
                "ious": _differences([entry.get("iou") for entry in entries]),
                "accuracy": entries[0].get("accuracy"),
            }
        )
    return rows


def _differences(values: Sequence[float | None]) -> list[tuple[float | None, float | None]]:
    """Pairs of a value and its difference from the first, None where one is missing."""
    first = values[0]
    return [
        (value, None if i == 0 or value is None or first is None else value - first)
        for i, value in enumerate(values)
    ]


def rows_of_options(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """All options of a single run; of several runs only those that differ."""
    names = dict.fromkeys(name for run in runs for name in run.options)
    rows = [(name, [_option(run.options.get(name)) for run in runs]) for name in names]
    return [row for row in rows if len(runs) == 1 or len(set(row[1])) > 1]


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def confusion(run: Run) -> dict[str, Any]:
    """The confusion matrix of a run, and its most frequent confusions.

    Returns:
        A dict: `matrix`, a list of rows (name and cells), or None with over `MOST_CLASSES`
        classes; `largest_error`, the largest share (0..1) of a class that is predicted as
        one other class; `confusions`, tuples of ground truth, prediction, share and pixels.
    """
    if run.metrics is None:
        return {"matrix": None, "largest_error": 0.0, "confusions": []}
    counts = np.array(run.metrics["confusion"], "float64")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [entry["name"] for entry in run.classes]
    largest = float((shares * (1 - np.eye(len(names)))).max())
    return {
        "matrix": _matrix(names, counts, shares, largest) if len(names) <= MOST_CLASSES else None,
        "largest_error": largest,
        "confusions": _confusions(names, counts, shares),
    }


def _matrix(
    names: Sequence[str], counts: np.ndarray, shares: np.ndarray, largest: float
) -> list[dict[str, Any]]:
    is_empty = counts.sum(axis=1) == 0
    return [
        {
            "name": name,
            "cells": [
                _cell(None if is_empty[i] else shares[i, j], i == j, largest)
                for j in range(len(names))
            ],
        }
        for i, name in enumerate(names)
    ]


def _cell(share: float | None, is_right: bool, largest: float) -> dict[str, Any]:
    """A cell's text and shade; the shade is relative to 1 if right, else to the largest error."""
    if share is None:
        return {"text": "n/a" if is_right else "", "title": "n/a", "is_right": is_right, "shade": 0}
    is_shown = share >= SHOWN_SHARE
    return {
        "text": f"{100 * share:.0f}" if is_shown else "",
        "title": f"{share:.1%}",
        "is_right": is_right,
        "shade": round(float(share / (1 if is_right else largest)), 3) if is_shown else 0,
    }


def _confusions(
    names: Sequence[str], counts: np.ndarray, shares: np.ndarray
) -> list[tuple[str, str, float, int]]:
    wrong = counts * (1 - np.eye(len(counts)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(names[i], names[j], shares[i, j], int(counts[i, j])) for i, j in pairs if wrong[i, j]]
