"""Line charts as numbers for an SVG: ticks, paths and points."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 24, 42
MARGIN = 0.04  # Between the data and the upper and lower edge, as a share of the data's range.
MOST_DOTS = 15  # A line with more points is drawn without dots.
MOST_POINTS = 400  # Per line; more cannot be told apart.

Point = tuple[float, float]


@dataclass
class Line:
    """One line of a chart.

    Attributes:
        name: The name in the tooltips.
        xs: Numbers, ascending.
        ys: Numbers, or None where a value is missing.
        colour: The number of a colour of the page, 0, 1, ...
        dashed: Whether the line is dashed.
        best: The x of the point to mark with a ring, or None.
    """

    name: str
    xs: list[float]
    ys: list[float | None]
    colour: int
    dashed: bool = False
    best: float | None = None

    def points(self) -> list[Point]:
        """The finite points, thinned out to `MOST_POINTS`; the last is always kept."""
        found = self._finite()
        every = math.ceil(len(found) / MOST_POINTS) or 1
        return found[::-1][::every][::-1]

    def best_point(self) -> Point | None:
        """The point at `best`, if it exists."""
        return next((point for point in self._finite() if point[0] == self.best), None)

    def _finite(self) -> list[Point]:
        return [
            (x, y)
            for x, y in zip(self.xs, self.ys, strict=True)
            if y is not None and math.isfinite(y)
        ]


@dataclass
class Axes:
    """Ranges of both axes, which enclose all points closely."""

    x_range: Point
    y_range: Point

    @classmethod
    def around(cls, points: Sequence[Point]) -> "Axes":
        """The axes for some points."""
        xs, ys = zip(*points, strict=True)
        low, high = min(ys), max(ys)
        margin = MARGIN * (high - low) or abs(low) / 10 or 1
        bottom = low - margin if low < 0 else max(0, low - margin)
        return cls((min(xs), max(max(xs), min(xs) + 1)), (bottom, high + margin))

    def place(self, x: float, y: float) -> Point:
        """The position of a point in the SVG."""
        across = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        left = LEFT + across * (WIDTH - LEFT - RIGHT)
        return round(left, 1), round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1)

    def x_ticks(self) -> list[tuple[float, str]]:
        """Positions and texts of the ticks of the lower axis."""
        found = ticks(*self.x_range, 6, whole=True)
        return [
            (self.place(x, self.y_range[0])[0], f"{x:g}") for x in found if x <= self.x_range[1]
        ]

    def y_ticks(self) -> list[tuple[float, str]]:
        """Positions and texts of the ticks of the left axis."""
        low, high = self.y_range
        slack = 1e-9 * (high - low)
        found = [y for y in ticks(low, high, 5) if low - slack <= y <= high + slack]
        places = [self.place(self.x_range[0], y)[1] for y in found]
        return list(zip(places, _alike(found), strict=True))


def chart(
    title: str, lines: Sequence[Line], x_title: str = "epoch", best: float | None = None
) -> dict[str, Any] | None:
    """What a template needs to draw lines into one pair of axes; None if there are no points.

    Args:
        title: The title of the chart.
        lines: `Line`s.
        x_title: What the lower axis counts, in whole numbers.
        best: The x to mark with a vertical line, or None.

    Returns:
        A dict: title, x_title, width, height, the edges of the plot, `x_ticks` and `y_ticks`
        (position and text), `best` (x, anchor and text, or None) and `lines` (colour, dashed,
        `path`, `has_dots`, `points` and `best`: x, y, text).
    """
    drawn = [(line, points) for line in lines if (points := line.points())]
    if not drawn:
        return None
    axes = Axes.around([point for _, points in drawn for point in points])
    return {
        "title": title,
        "x_title": x_title,
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "x_ticks": axes.x_ticks(),
        "y_ticks": axes.y_ticks(),
        "best": _vertical_line(best, axes, x_title),
        "lines": [_drawn(line, points, axes.place, x_title) for line, points in drawn],
    }


def _vertical_line(x: float | None, axes: Axes, x_title: str) -> dict[str, Any] | None:
    """A labelled line at `x`; near an edge the label stands on the inner side of the line."""
    if x is None or not axes.x_range[0] <= x <= axes.x_range[1]:
        return None
    at = axes.place(x, axes.y_range[0])[0]
    across = (at - LEFT) / (WIDTH - LEFT - RIGHT)
    anchor = "start" if across < 0.15 else "end" if across > 0.85 else "middle"
    return {"x": at, "anchor": anchor, "text": f"best {x_title} {x:g}"}


def _drawn(
    line: Line, points: Sequence[Point], place: Callable[..., Point], x_title: str
) -> dict[str, Any]:
    places = [place(*point) for point in points]
    best = line.best_point()
    return {
        "colour": line.colour,
        "dashed": line.dashed,
        "path": "M" + "L".join(f"{x} {y}" for x, y in places),
        "has_dots": len(points) <= MOST_DOTS,
        "points": [
            (*at, f"{line.name}, {x_title} {x:g}: {number(y)}")
            for at, (x, y) in zip(places, points, strict=True)
        ],
        "best": best
        and (*place(*best), f"{line.name}, best {x_title} {best[0]:g}: {number(best[1])}"),
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


def _alike(values: Sequence[float]) -> list[str]:
    """Numbers in short, all with the same number of decimals: 0.50, 0.75, 1.00."""
    texts = [number(value) for value in values]
    if any("e" in text or "," in text for text in texts):
        return texts
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return [f"{value:.{decimals}f}" for value in values]


def number(value: float) -> str:
    """A number in short: 0.7012, 1e-05, 23,400."""
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
