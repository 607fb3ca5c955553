"""Line charts as numbers for an SVG: ticks, paths and points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 38
MARKED = 80  # Points of a line that are drawn as dots.
POINTS = 400  # Of a line, at most; more would not be seen.


@dataclass
class Line:
    """One line of a chart.

    Attributes:
        name: for the texts that appear under the mouse.
        xs: numbers, ascending.
        ys: numbers, or None where there is nothing.
        colour: which of the page's colours, 0, 1, ...
        dashed: whether it is.
    """

    name: str
    xs: list[float]
    ys: list[float | None]
    colour: int
    dashed: bool = False

    def points(self) -> list[tuple[float, float]]:
        """The finite points, thinned out to `POINTS`, with the last."""
        found = [
            (x, y)
            for x, y in zip(self.xs, self.ys, strict=True)
            if y is not None and math.isfinite(y)
        ]
        every = math.ceil(len(found) / POINTS) or 1
        return found[::-1][::every][::-1]


def chart(title: str, lines: Sequence[Line], x_title: str = "epoch") -> dict[str, Any] | None:
    """What a template needs to draw lines into one pair of axes; None without a point.

    Args:
        title: of the chart.
        lines: `Line`s.
        x_title: what the lower axis counts, in whole numbers.

    Returns:
        A dict: title, x_title, width, height, the edges of the plot, `x_ticks` and `y_ticks`
        (position and text), and `lines` (name, colour, dashed, `path`, and `dots`: x, y, text).
    """
    drawn = [(line, points) for line in lines if (points := line.points())]
    if not drawn:
        return None
    xs = [x for _, points in drawn for x, _ in points]
    ys = [y for _, points in drawn for _, y in points]
    x_ticks = ticks(min(xs), max(xs), 6, whole=True)
    y_ticks = ticks(min(ys), max(ys), 5)
    x_range = min(xs), max(max(xs), min(xs) + 1)
    y_range = y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_range[0]) / (x_range[1] - x_range[0])
        up = (y - y_range[0]) / (y_range[1] - y_range[0])
        left = LEFT + across * (WIDTH - LEFT - RIGHT)
        return round(left, 1), round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1)

    def described(line: Line, points: list[tuple[float, float]]) -> dict[str, Any]:
        places = [place(*point) for point in points]
        return {
            "name": line.name,
            "colour": line.colour,
            "dashed": line.dashed,
            "path": "M" + "L".join(f"{x} {y}" for x, y in places),
            "marked": len(points) <= MARKED,
            "dots": [
                (*at, f"{line.name}, {x_title} {x:g}: {number(y)}")
                for at, (x, y) in zip(places, points, strict=True)
            ],
        }

    return {
        "title": title,
        "x_title": x_title,
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "x_ticks": [(place(x, y_range[0])[0], f"{x:g}") for x in x_ticks if x <= x_range[1]],
        "y_ticks": [(place(x_range[0], y)[1], number(y)) for y in y_ticks],
        "lines": [described(line, points) for line, points in drawn],
    }


def ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """Round numbers, about `count`, from the last below `low` to the first above `high`.

    With `whole` they are whole numbers, none below `low`.
    """
    if not high > low:
        spread = 1 if whole else abs(low) / 10 or 1
        low, high = (low, low + spread) if whole else (low - spread, low + spread)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= rough * 0.999)
    if whole:
        step = max(1, round(step))
        return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, last + 1)]


def number(value: float) -> str:
    """A number as short as it can be read: 0.7012, 1e-05, 23,400."""
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
