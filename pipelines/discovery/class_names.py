"""Reads class names from text files beside masks: classes.txt, labels.json and so on."""

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.datasets.lists import lines_of
from pipelines.discovery.mask_values import Colour, Key
from pipelines.errors import DataError
from pipelines.files.opening import read_content

FILES = re.compile(
    r"(class|classes|labels?|codes|names|palette|colou?rs?|categories)"
    r"([-_ ]?(names?|colou?rs?|map|dict|list|palette))?\.(txt|csv|json)",
    re.IGNORECASE,
)
LABELMES_IGNORE = "__ignore__"  # Takes no index: labelme counts from the next line,
LABELMES_FIRST = "_background_"  # which is this one.
VOID_NAMES = {"void", "ignore", "ignored", "unlabelled", "unlabeled", LABELMES_IGNORE}
MAX_BYTES, MAX_LINE = 1_000_000, 300  # Larger files and longer lines have another purpose.

_NUMBER, _GAP = r"(\d{1,3})", r"[\s,:;]+"
_COLOUR = _NUMBER + _GAP + _NUMBER + _GAP + _NUMBER
LINE = re.compile(
    rf"(?:{_COLOUR}{_GAP})?(?:{_NUMBER}{_GAP})?(\D.*?)(?:{_GAP}{_COLOUR})?[\s,:;]*",
)


@dataclass(frozen=True)
class ClassName:
    """A class named in a file, with its mask value and its colour, if given."""

    name: str
    value: int | None = None
    colour: Colour | None = None


def tables(texts: Iterable[Path], masks: Collection[Path]) -> list[tuple[Path, list[ClassName]]]:
    """Reads the text files that seem to name classes.

    Args:
        texts: Paths of text files.
        masks: The folders of the masks.

    Returns:
        (file, entries) of each, those nearest to the masks first.
    """
    found = []
    for text in texts:
        if FILES.fullmatch(text.name):
            try:
                content = read_content(text, MAX_BYTES).decode("utf-8-sig")
                entries = _of_json(content) if text.suffix == ".json" else _of_lines(content)
            except (DataError, TypeError, ValueError, OverflowError, RecursionError):
                continue  # A file with another purpose.
            if all(entry.value is None for entry in entries):
                entries = [entry for entry in entries if entry.name != LABELMES_IGNORE]
            names = [entry.name for entry in entries]
            if 1 < len(names) == len(set(names)):
                found.append((text, entries))
    return sorted(found, key=lambda one: min(_steps(one[0].parent, folder) for folder in masks))


def matching(
    entries: Sequence[ClassName], keys: Sequence[Key], palette: Mapping[int, Colour]
) -> dict[Key, str] | None:
    """Matches the classes of a table with the values or colours in masks.

    Args:
        entries: The entries of a table.
        keys: The masks' values, or colours, in order.
        palette: The colours of the values, if the masks have palettes.

    Returns:
        `{key: name}` in the table's order, including classes that no mask has; None if the table
        does not match.
    """
    table: dict[Key, str]
    values = [entry.value for entry in entries if entry.value is not None]
    if isinstance(keys[0], tuple):
        table = {entry.colour: entry.name for entry in entries if entry.colour}
    elif palette and all(entry.colour for entry in entries):
        table = _by_colour(entries, palette)
        return table if set(keys) <= set(table) else None  # Whatever the order of the lines.
    elif len(values) == len(entries):
        table = {value: entry.name for value, entry in zip(values, entries, strict=True)}
    elif len(entries) == len(keys):
        table = {key: entry.name for key, entry in zip(keys, entries, strict=True)}
    else:  # The line number is the value; a longer list may count otherwise, but not labelme's.
        table = {index: entry.name for index, entry in enumerate(entries)}
        if keys[-1] != len(entries) - 1 and entries[0].name != LABELMES_FIRST:
            return None
    fits = len(table) == len(entries) <= 255 and set(keys) <= set(table)
    numbers = [n for key in table for n in (key if isinstance(key, tuple) else [key])]
    return table if fits and all(n in range(256) for n in numbers) else None


def _by_colour(entries: Sequence[ClassName], palette: Mapping[int, Colour]) -> dict[Key, str]:
    """Names the values of a palette by their colours, in the order of the table."""
    values = {colour: value for value, colour in palette.items()}
    return {values[entry.colour]: entry.name for entry in entries if entry.colour in values}


def _steps(one: Path, other: Path) -> int:
    """Counts the steps from one folder to another."""
    above = Path(os.path.commonpath([one, other]))
    return sum(len(folder.relative_to(above).parts) for folder in (one, other))


def _of_lines(text: str) -> list[ClassName]:
    entries = []
    for number, line in enumerate(lines_of(text)):
        if len(line) > MAX_LINE:
            raise ValueError("not a class")
        is_header = number == 0 and re.search(r"name.*[,;\t]|[,;\t].*name", line, re.IGNORECASE)
        found = LINE.fullmatch(line)
        if line.startswith("# ") or is_header:
            continue
        if not found:
            raise ValueError(f"not a class: {line!r}")
        before, value, name, after = found.group(1, 2, 3), found[4], found[5], found.group(6, 7, 8)
        colour = next((c for c in (before, after) if c[0] is not None), None)
        entries.append(_entry(name, value, colour))
    return entries


def _of_json(text: str) -> list[ClassName]:
    content = json.loads(text)
    for key in ("classes", "labels", "categories"):
        if isinstance(content, dict) and isinstance(content.get(key), list | dict):
            content = content[key]
    if isinstance(content, list):
        return [_of_object(item) for item in content]
    if isinstance(content, dict):
        return [_of_item(key, item) for key, item in content.items()]
    raise ValueError("neither a list nor an object")


def _of_object(item: Any) -> ClassName:
    if isinstance(item, str):
        return _entry(item)
    if not isinstance(item, dict):
        raise ValueError("not a class")
    item = {key.lower(): value for key, value in item.items()}
    name, value, colour = (
        next((item[key] for key in keys if key in item), None)
        for keys in (
            ("name", "label", "class", "title"),
            ("value", "id", "index"),
            ("colour", "color", "rgb"),
        )
    )
    return _entry(name, value, colour)


def _of_item(key: str, item: Any) -> ClassName:
    if isinstance(item, str) and key.isdecimal():
        return _entry(item, key)
    if isinstance(item, dict):
        return _of_object({"name": key, **item})
    return _entry(key, None, item) if isinstance(item, list | str) else _entry(key, item)


def _entry(name: Any, value: Any = None, colour: Any = None) -> ClassName:
    if isinstance(colour, str):
        colour = bytes.fromhex(colour.removeprefix("#"))
    colour = None if colour is None else tuple(int(c) for c in colour)
    if not isinstance(name, str) or (colour is not None and len(colour) != 3):
        raise ValueError("not a class")
    return ClassName(name.strip(" \"'"), None if value is None else int(value), colour)
