"""Reads tables of classes whose fields have names: CSV files with a header, and JSON.

Without a header, the lines of a text are read by `class_lines`.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pipelines.datasets.lists import lines_of
from pipelines.discovery.class_lines import (
    CVAT,
    DELIMITERS,
    ClassName,
    Unclear,
    cells_of,
    entry_of,
    of_cvat,
    of_rows,
    row_of,
    whole,
)

MAX_LINE = 300  # Characters; longer lines have another purpose.

# Keys of JSON objects and columns of CSV files, in lower case and without `_`, blanks and digits.
OWN_NAME = {"name", "names", "classname", "labelname", "categoryname"}
NAMES = {*OWN_NAME, "class", "classes", "label", "labels", "title", "category", "categories"}
VALUES = {
    *("value", "pixelvalue", "maskvalue", "greyvalue", "grayvalue", "pixel", "grey", "gray"),
    *("id", "ids", "classid", "labelid", "trainid", "categoryid", "catid", "number", "code"),
    *("index", "idx", "classindex", "labelindex"),
}
CHANNELS = [{c[0], c, f"color{c[0]}", f"colour{c[0]}"} for c in ("red", "green", "blue")]
COLOURS = {"color", "colour", "rgb", "colorrgb", "colourrgb", "rgbcolor", "rgbcolour", "hex"}
KNOWN = NAMES.union(VALUES, COLOURS, *CHANNELS)


def of_text(text: str) -> list[ClassName]:
    """Reads a text or CSV file.

    Raises:
        Unclear: The lines do not agree, or have several meanings.
        ValueError: The file is not about classes.
    """
    every = lines_of(text)
    if not every or any(len(line) > MAX_LINE for line in every):
        raise ValueError("not a class")
    lines = [line for line in every if not line.startswith("# ")]
    starts = [(line.removeprefix("# "), lines) for line in every[:1] if line not in lines]
    for header, body in [*starts, *((line, lines[1:]) for line in lines[:1])]:
        if header.lower().lstrip("#").startswith("label:color"):
            return of_cvat(body)
        if records := _below(header.lstrip("#"), body):
            return _of_records(records)
        if body and _plain(header) in NAMES:
            return of_rows(body)
    return of_cvat(lines) if all(map(CVAT.fullmatch, lines)) else of_rows(lines)


def of_json(text: str) -> list[ClassName]:
    """Reads a JSON file: a list of names or objects, or an object with an item for each class.

    Raises:
        Unclear: Its items have several meanings.
        ValueError: The file is not about classes.
    """
    content = json.loads(text)
    if isinstance(content, dict) and isinstance(content.get("labels"), list):
        content["labels"] = _with_positions(content["labels"])
    for key in ("classes", "labels", "categories", "names", "label_to_id"):
        if isinstance(content, dict) and isinstance(content.get(key), list | dict):
            content = content[key]
    if isinstance(content, dict):
        return _of_records([_of_item(key, item) for key, item in content.items()])
    if isinstance(content, list) and all(isinstance(item, str) for item in content):
        return [entry_of(item) for item in content]
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise ValueError("not classes")
    return _of_records([{_plain(key): value for key, value in item.items()} for item in content])


def of_yolo(content: Any) -> list[ClassName]:
    """Reads the content of YOLO's YAML file; its ids count from 0, which masks need not do.

    Raises:
        ValueError: The file is not about classes.
    """
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and all(type(key) is int for key in names):
        names = [names[key] for key in sorted(names)]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("not classes")
    return [entry_of(name) for name in names]


def _with_positions(labels: list[Any]) -> list[Any]:
    """Adds the values of Mapillary Vistas's labels, which are their positions."""
    if not all(
        isinstance(label, dict) and "readable" in label and "id" not in label for label in labels
    ):
        return labels
    kept = ("name", "color")
    return [
        {"value": position, **{key: label[key] for key in kept if key in label}}
        for position, label in enumerate(labels)
    ]


def _below(header: str, body: Sequence[str]) -> list[dict[str, Any]]:
    """Maps the columns of a header to the cells of each line; empty if it is no header."""
    for delimiter in DELIMITERS:
        columns = [_plain(cell) for cell in cells_of(header, delimiter)]
        if len(columns) > 1 and not NAMES.isdisjoint(columns):
            return _records(columns, (cells_of(line, delimiter) for line in body))
    columns = [_plain(word) for word in header.split()]
    if len(columns) == 1 or NAMES.isdisjoint(columns) or not KNOWN.issuperset(columns):
        return []
    rows = map(row_of, body)
    return _records(columns, ([*row.before, row.name, *row.after] for row in rows))


def _records(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[dict[str, Any]]:
    records = []
    for cells in rows:
        if len(cells) > len(columns):
            raise Unclear(f"has {len(cells)} cells in a line, but {len(columns)} in its header")
        pairs = zip(columns, cells, strict=False)
        records.append({column: cell for column, cell in pairs if cell})
    return records


def _of_item(key: str, item: Any) -> dict[str, Any]:
    """Interprets an item of a JSON object, such as "cat": 1, "1": "cat" or "cat": [128, 0, 0]."""
    if isinstance(item, dict):
        item = {_plain(name): value for name, value in item.items()}
        return {"number" if key.isdecimal() else "name": key, **item}
    if isinstance(item, str) and key.isdecimal():
        return {"name": item, "value": key}
    if whole(item) is not None:
        return {"name": key, "value": item}
    if isinstance(item, str) and re.fullmatch(r"#[0-9a-fA-F]{6}|\D*\d+\D+\d+\D+\d+\D*", key):
        return {"name": item, "colour": key}
    if isinstance(item, str | list):
        return {"name": key, "colour": item}
    raise ValueError("not a class")


def _of_records(records: Sequence[dict[str, Any]]) -> list[ClassName]:
    """Reads classes from fields with names.

    Raises:
        Unclear: Several fields, or none, may be the name or the value.
    """
    fields = list(dict.fromkeys(key for record in records for key in record))
    numbers = {key: [whole(record.get(key)) for record in records] for key in fields}
    names = [key for key in fields if key in NAMES and None in numbers[key]]
    names = [key for key in names if key in OWN_NAME] or names
    if len(names) != 1:
        several = f"several fields of names: {', '.join(names)}. Keep one"
        raise Unclear(f"has {several if names else 'no field of names. Call it `name`'}")
    values = [
        key
        for key in fields
        if key in (VALUES | NAMES) - {names[0]} and any(_is_number(r.get(key)) for r in records)
    ]
    for key in values:
        if None in numbers[key]:
            raise Unclear(f"has a class whose `{key}` is missing or no whole number")
    if len({tuple(numbers[key]) for key in values}) > 1:
        raise Unclear(f"has several fields of values: {', '.join(values)}. Keep that of the masks")
    colours = [_colour_field(record) for record in records]
    others = [key for key in fields if None not in numbers[key]]
    if others and not values and not any(colours):
        raise Unclear(f"has numbers whose meaning is unclear: {', '.join(others)}")
    value = values[0] if values else ""
    return [
        entry_of(record.get(names[0]), record.get(value), colour)
        for record, colour in zip(records, colours, strict=True)
    ]


def _is_number(cell: Any) -> bool:
    """Whether a field holds a number, whole or not."""
    if isinstance(cell, str):
        return re.fullmatch(r"-?[\d.]+", cell.strip()) is not None
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _colour_field(record: dict[str, Any]) -> Any:
    channels = [next((record[key] for key in record if key in keys), None) for keys in CHANNELS]
    if None not in channels:
        return channels
    return next((record[key] for key in record if key in COLOURS), None)


def _plain(key: str) -> str:
    return re.sub(r"[\W\d_]", "", key.lower())
