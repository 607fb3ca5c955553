"""What a report says about a run's data, environment and length."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fcn_keras.runs.reading import Run, digest
from fcn_keras.text import duration

MONTHS = (
    "January February March April May June July August September October November December"
).split()
# Facts of a start that the page shows under names of its own; it shows others as they are.
KNOWN_FACTS = {
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


def date(text: object, zone: bool = False) -> str:
    """A time as people write it: `27 November 2026, 20:43`.

    Args:
        text: An ISO 8601 time; any other text is returned as it is.
        zone: Whether to add the offset from UTC, if known.
    """
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    offset = f" ({time.tzname()})" if zone and time.tzinfo else ""
    return f"{time.day} {MONTHS[time.month - 1]} {time.year}, {time:%H:%M}{offset}"


def summary(run: Run) -> list[str]:
    """A run in short: model, backbone, data, date, duration and length."""
    options = run.options
    started = run.starts[0].get("started") if run.starts else None
    seconds = _seconds(run)
    found = [
        options.get("model"),
        options.get("backbone"),
        options.get("data"),
        started and date(started),
        seconds and f"took {duration(seconds)}",
        _epochs(run),
    ]
    return [str(text) for text in found if text]


def environment(run: Run) -> list[tuple[str, str]]:
    """How and where a run was made, as pairs of a name and a text."""
    facts: dict[str, Any] = {"folder": None if run.name == str(run.folder) else run.folder}
    for number, start in enumerate(run.starts, 1):
        which = "" if len(run.starts) == 1 else f" {number}"
        facts[f"command{which}"] = start.get("command")
        started = start.get("started")
        facts[f"started{which}"] = started and date(started, zone=True)
    last = run.starts[-1] if run.starts else {}
    seconds, steps = _seconds(run), last.get("steps")
    facts |= {
        "duration": seconds and f"{duration(seconds)}, training and validation",
        "length": _epochs(run) + (f", {steps:,} steps" if isinstance(steps, int) else ""),
        "model, backbone": f"{run.options.get('model')}, {run.options.get('backbone')}",
        "precision, seed": f"{run.options.get('precision')}, {run.options.get('seed')}",
        **_machine(last),
    }
    return [(name, str(text)) for name, text in facts.items() if text]


def _machine(start: dict[str, Any]) -> dict[str, Any]:
    """The versions and the machine of a start, and its other facts."""
    versions = start.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    gpus = start.get("gpus") or []
    processor = start.get("processor")
    return {
        "versions": ", ".join(f"{name} {found}" for name, found in versions.items()),
        "processor": processor and f"{processor}, {start.get('cores')} cores",
        "GPU": start and (", ".join(gpus) or "none"),
        "system": start.get("platform"),
        **{name: fact for name, fact in start.items() if name not in KNOWN_FACTS},
    }


def _seconds(run: Run) -> float:
    return sum(row.get("seconds") or 0 for row in run.history)


def _epochs(run: Run) -> str:
    return f"{run.done} of {run.epochs} epochs" if run.epochs else f"{run.done} epochs"


def rows_of_data(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per run and split: name, number of images, hash; once if it is the same for all."""
    by_run = [_splits(run) for run in runs]
    if all(rows == by_run[0] for rows in by_run):
        return by_run[0]
    return [
        {**row, "run": run.name, "colour": colour}
        for colour, (run, rows) in enumerate(zip(runs, by_run, strict=True))
        for row in rows
    ]


def _splits(run: Run) -> list[dict[str, Any]]:
    rows = [
        {
            "split": split,
            "name": held.get("name"),
            "images": f"{len(held.get('examples', ())):,}",
            "digest": digest(held)[:16] + "...",
        }
        for split, held in run.data.items()
    ]
    data = run.options.get("data")
    if rows or not data:
        return rows
    return [{"split": "unknown", "name": data, "images": "unknown", "digest": None}]
