"""Formats numbers and errors for tables, reports and model cards."""

from __future__ import annotations

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
