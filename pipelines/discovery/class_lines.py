"""Reads lines that name classes: a name each, and the same numbers beside every name, or none.

What may mean two things is refused (`Unclear`), not guessed.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.discovery.mask_values import Colour

DELIMITERS = "\t;,|"
_NUMBER, _GAP = r"[\[(]?\d+(?:\.\d+)?[\])]?", r"(?:\s*[-=]>\s*|\s+-\s+|[\s,:;=|]+)"
LINE = re.compile(
    rf"(?P<before>(?:{_NUMBER}{_GAP})*)(?P<name>(?!{_NUMBER}(?:{_GAP}|$))[^\s,:;=|].*?)"
    rf"(?P<after>(?:{_GAP}{_NUMBER})*)[\s,:;]*"
)
CVAT = re.compile(r"(.+?):(?:\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*)?:[^:]*:[^:]*")
SHAPES = {  # Numbers before and after a name -> which of them are (v)alue and (c)olour.
    **{(1, 0): "v", (0, 1): "v", (3, 0): "ccc", (0, 3): "ccc"},
    **{(1, 3): "vccc", (3, 1): "cccv"},
}


class Unclear(ValueError):
    """Why a table is not used; the message completes the sentence "classes.txt ..."."""


@dataclass(frozen=True)
class ClassName:
    """A class named in a file, with its mask value and its colour, if given."""

    name: str
    value: int | None = None
    colour: Colour | None = None


@dataclass(frozen=True)
class Row:
    """A line: a name, and the numbers before and after it."""

    before: list[str]
    name: str
    after: list[str]


def of_rows(lines: Sequence[str]) -> list[ClassName]:
    """Reads lines such as `road`, `3 road`, `road,3` or `128 64 128 road`.

    Raises:
        Unclear: The lines do not agree, or their numbers have several meanings.
    """
    rows = _delimited(lines) or [row_of(line) for line in lines]
    shapes = {(len(row.before), len(row.after)) for row in rows}
    repeat = len({row.name for row in rows}) < len(rows)
    beside = [line for line, row in zip(lines, rows, strict=True) if row.after]
    blanks = all(re.search(r"\w\s+\d+$", line) for line in beside)
    if shapes == {(0, 0)} and all(re.search(r"(?<![\w.])\d+(?![\w.])", line) for line in lines):
        raise Unclear("has a number inside each line. Write VALUE,NAME in every line")
    if shapes == {(0, 0)} or (repeat and blanks and shapes <= {(0, 0), (0, 1)}):
        return [entry_of(line) for line in lines]  # `lane 1`, `lane 2` are names.
    if len(shapes) > 1:
        raise Unclear(
            "has different numbers in its lines, or none in some. Write VALUE,NAME in every line"
        )
    (shape,) = shapes
    kinds = SHAPES.get(shape) or (_kinds_of_four(rows) if sum(shape) == 4 else "")
    if not kinds:
        raise Unclear(
            f"has {sum(shape)} numbers in a line, whose meaning is unclear. Begin with a header, "
            "such as name,value,red,green,blue"
        )
    entries = []
    for row in rows:
        numbers = list(zip(kinds, [*row.before, *row.after], strict=True))
        value = next((number for kind, number in numbers if kind == "v"), None)
        colour = [number for kind, number in numbers if kind == "c"]
        entries.append(entry_of(row.name, value, colour or None))
    return entries


def of_cvat(lines: Iterable[str]) -> list[ClassName]:
    """Reads the lines of CVAT's labelmap.txt, `name:red,green,blue:parts:actions`."""
    entries = []
    for line in lines:
        if not (found := CVAT.fullmatch(line)):
            raise Unclear(f"has the line {line!r}, which is not CVAT's NAME:R,G,B:PARTS:ACTIONS")
        entries.append(entry_of(found[1], None, found.group(2, 3, 4) if found[2] else None))
    return entries


def entry_of(name: Any, value: Any = None, colour: Any = None) -> ClassName:
    """Checks the fields of one class.

    Raises:
        Unclear: The value or the colour is none.
    """
    if not isinstance(name, str):
        raise Unclear(f"has {name!r} in place of a name")
    number = None if value is None else whole(value)
    if value is not None and number is None:
        raise Unclear(f"has the value {value!r}, which is no whole number")
    return ClassName(name.strip(" \"'"), number, None if colour is None else colour_of(colour))


def whole(value: Any) -> int | None:
    """Returns a whole number, such as 3, "3" or "3.0"; None if it is none."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,9}(\.0*)?\s*", value):
        return int(float(value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def colour_of(value: Any) -> Colour:
    """Returns the colour in [r, g, b], "r, g, b", "rgb(r, g, b)" or "#rrggbb".

    Raises:
        Unclear: It is another form, or is not within 0..255.
    """
    numbers = value
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
            numbers = list(bytes.fromhex(text.removeprefix("#")))
        else:
            numbers = re.findall(r"[\d.]+", text) if "#" not in text else []
    channels = [whole(number) for number in numbers] if isinstance(numbers, list | tuple) else []
    known = [c for c in channels if c is not None and 0 <= c <= 255]
    if len(channels) != 3 or len(known) != 3:
        raise Unclear(f"has the colour {value!r}, which is not red, green, blue, each 0..255")
    return known[0], known[1], known[2]


def cells_of(line: str, delimiter: str) -> list[str]:
    """Splits a line of a CSV file."""
    rows = csv.reader([line], delimiter=delimiter, skipinitialspace=True)
    return [cell.strip() for cell in next(rows)]


def row_of(line: str) -> Row:
    """Splits a line into a name and the numbers before and after it; `#rrggbb` is three.

    Raises:
        Unclear: It has no name.
    """
    spread = re.sub(
        r"#[0-9a-fA-F]{6}\b", lambda found: " ".join(map(str, ("", *colour_of(found[0])))), line
    )
    if not (found := LINE.fullmatch(spread.strip())):
        raise Unclear(f"has the line {line!r}, in which no name is found")
    before, after = (re.findall(r"[\d.]+", found[group]) for group in ("before", "after"))
    return Row(before, found["name"], after)


def _delimited(lines: Sequence[str]) -> list[Row] | None:
    """Splits lines at the delimiter that leaves one name and otherwise numbers, if there is one."""
    for delimiter in DELIMITERS:
        rows = [cells_of(line, delimiter) for line in lines]
        if len({len(cells) for cells in rows}) == 1 < len(rows[0]):
            columns = enumerate(zip(*rows, strict=True))
            names = [at for at, cells in columns if None in map(whole, cells)]
            if len(names) == 1:
                (at,) = names
                return [Row(cells[:at], cells[at], cells[at + 1 :]) for cells in rows]
    return None


def _kinds_of_four(rows: Sequence[Row]) -> str:
    """Tells a value before a colour from one behind it; "" if both are possible.

    Each class has its own value and its own colour. A last number of 255 may be opacity.
    """
    numbers = [[*row.before, *row.after] for row in rows]

    def differ(part: slice) -> bool:
        return len({tuple(four[part]) for four in numbers}) == len(numbers)

    possible = [
        kinds
        for kinds, value, colour in (
            ("vccc", slice(1), slice(1, 4)),
            ("cccv", slice(3, 4), slice(3)),
        )
        if differ(value) and differ(colour)
    ]
    is_opacity = {four[-1] for four in numbers} == {"255"}
    return possible[0] if len(possible) == 1 and not is_opacity else ""
