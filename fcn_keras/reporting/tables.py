"""The tables of a report: figures, classes, options, facts, confusions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcn_keras.runs.reading import Run, digest
from fcn_keras.text import FIGURES, duration

MATRIX = 40  # Classes of a confusion matrix that is drawn; a larger one cannot be read.
CONFUSIONS = 12  # The most frequent ones, which are listed.
# What the page says of a start in its own way; other facts it shows as they are.
SHOWN_FACTS = {
    "command",
    "started",
    "versions",
    "platform",
    "processor",
    "cores",
    "gpus",
    "epochs",
    "steps",
}


def rows_of_figures(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Of each figure its values, and how much each differs from the first run's."""
    values = [run.metrics or {} for run in runs]
    return [
        {"name": name, "values": _differences([metrics.get(key) for metrics in values])}
        for key, name in FIGURES.items()
    ]


def rows_of_classes(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Of each class, by name, its colour, pixels, and IU and accuracy in each run."""
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
    """Pairs of a value and its difference to the first, None where there is none."""
    first = values[0]
    return [
        (value, None if i == 0 or value is None or first is None else value - first)
        for i, value in enumerate(values)
    ]


def rows_of_options(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The options: all of a single run's, of several runs those that differ."""
    names = dict.fromkeys(name for run in runs for name in run.options)
    rows = [(name, [_option(run.options.get(name)) for run in runs]) for name in names]
    return [row for row in rows if len(runs) == 1 or len(set(row[1])) > 1]


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def facts(run: Run) -> list[tuple[str, str]]:
    """What was run and on what, as pairs of texts."""
    facts: dict[str, Any] = {"folder": None if run.name == str(run.folder) else run.folder}
    for number, start in enumerate(run.starts):
        which = "" if len(run.starts) == 1 else f" {number + 1}"
        facts[f"command{which}"] = start.get("command")
        facts[f"started{which}"] = start.get("started")
    last = run.starts[-1] if run.starts else {}
    versions = last.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    gpus = last.get("gpus") or []
    options = run.options
    seconds = sum(row.get("seconds") or 0 for row in run.history)
    facts |= {
        "took": duration(seconds) + ", epochs and validations" if seconds else None,
        "length": _length(run, last.get("steps")),
        "net": f"{options.get('model')}, {options.get('backbone')}",
        "precision, seed": f"{options.get('precision')}, {options.get('seed')}",
        "versions": ", ".join(f"{name} {found}" for name, found in versions.items()),
        "processor": last.get("processor") and f"{last['processor']}, {last.get('cores')} cores",
        "GPU": last and (", ".join(gpus) or "none"),
        "system": last.get("platform"),
        **{name: fact for name, fact in last.items() if name not in SHOWN_FACTS},
    }
    facts["data"] = None if run.data else options.get("data")
    for split, held in run.data.items():
        count = len(held.get("examples", ()))
        facts[f"data, {split}"] = (
            f"{held.get('name')}: {count:,} images, SHA-256 {digest(held)[:16]}..."
        )
    return [(name, str(text)) for name, text in facts.items() if text]


def _length(run: Run, steps: object) -> str:
    epochs = f"{run.done} of {run.epochs} epochs" if run.epochs else f"{run.done} epochs"
    return epochs + (f", {steps:,} steps in all" if isinstance(steps, int) else "")


def confusion(run: Run) -> dict[str, Any]:
    """The row-normalised matrix, where it can be read, and the most frequent confusions."""
    if run.metrics is None:
        return {"matrix": None, "confusions": []}
    counts = np.array(run.metrics["confusion"], "float64")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [entry["name"] for entry in run.classes]
    wrong = counts * (1 - np.eye(len(counts)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return {
        "matrix": shares.tolist() if len(names) <= MATRIX else None,
        "empty": (counts.sum(axis=1) == 0).tolist(),
        "confusions": [
            (names[i], names[j], shares[i, j], int(counts[i, j])) for i, j in pairs if wrong[i, j]
        ],
    }
