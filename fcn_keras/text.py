"""Numbers as people read them, alike in tables, reports and model cards."""

from __future__ import annotations

FIGURES = {  # The paper's four (section 5), in its order.
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_iou": "mean IU",
    "frequency_weighted_iou": "frequency weighted IU",
}


def figure(value: float | None, sign: bool = False) -> str:
    """A figure from 0 to 1 with three decimals; "n/a" for None."""
    if value is None:
        return "n/a"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Seconds as `1 h 05 min`, `3 min 20 s` or `15 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, cut after 300 characters; its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
