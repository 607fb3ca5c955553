"""Formats numbers and errors for tables, reports and model cards."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

PROGRESS_SECONDS = 30.0  # Between lines of progress, where there is no terminal for a bar.

METRIC_NAMES = {  # The paper's four metrics (section 5), in its order.
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_iou": "mean IU",
    "frequency_weighted_iou": "frequency-weighted IU",
}


def format_metric(value: float | None, sign: bool = False) -> str:
    """Formats a metric (0..1) with three decimals; "n/a" for None."""
    if value is None:
        return "n/a"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def other_mean_iu(metrics: Mapping[str, Any]) -> str | None:
    """Names the mean IU by both rules for absent classes; None if they are equal or unknown.

    Args:
        metrics: A dict from `Evaluation.to_dict`, or of a run's `metrics.json`.
    """
    counted, skipped = (
        format_metric(metrics.get(f"mean_iou_absent_{rule}")) for rule in ("counted", "skipped")
    )
    if counted == skipped:
        return None
    if metrics.get("skip_absent"):
        return (
            f"mean IU {skipped} leaves out the classes that the masks lack, as this data set's "
            f"protocol does; counted as 0 where they are predicted, it is {counted}."
        )
    return (
        f"mean IU {counted} counts the classes that the masks lack as 0 where they are predicted; "
        f"without them it is {skipped}."
    )


def duration(seconds: float) -> str:
    """Formats seconds as `1 h 05 min`, `3 min 20 s` or `15 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def first_line(error: BaseException) -> str:
    """Returns the first line of an error message, at most 300 characters; its type if empty."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def progress_lines(
    text: str, total: int | None, say: Callable[[str], object]
) -> Callable[[], None]:
    """Returns a function to call after each of `total` items; it says how far it is at times.

    Args:
        text: What is being done.
        total: Number of items; None if unknown.
        say: Prints a line.
    """
    done, told = 0, time.monotonic()

    def advance() -> None:
        nonlocal done, told
        done += 1
        if time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            say(f"{text}: {done}" + (f" of {total}" if total is not None else ""))

    return advance
