"""Finds the files that name classes, such as classes.txt, and matches them with masks."""

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from pipelines.datasets.yaml_loading import parse
from pipelines.discovery.class_lines import ClassName, Unclear
from pipelines.discovery.class_tables import of_json, of_text, of_yolo
from pipelines.discovery.cvat_labels import of_cvat_xml
from pipelines.discovery.mask_values import Colour, Key
from pipelines.errors import DataError
from pipelines.files.opening import read_content

FILES = re.compile(
    r"_?(class|classes|labels?|codes|names|palette|colou?rs?|categories)"
    r"([-_ ]?(class|names?|colou?rs?|ids?|map|dict|list|palette|info|seg)){0,3}\.(txt|csv|json)"
    r"|meta\.json|obj_class_to_machine_color\.json"  # Supervisely's.
    r"|(label|class|name)_?(to|2)_?(id|index|idx)\.json"
    r"|config(_v[\d.]+)?\.json"  # Mapillary Vistas's.
    r"|(data|dataset)\.ya?ml"  # YOLO's.
    r"|annotations\.xml",  # CVAT's.
    re.IGNORECASE,
)
LABELMES_IGNORE = "__ignore__"  # Takes no index: labelme counts from the next line,
LABELMES_FIRST = "_background_"  # which is this one.
BACKGROUND = "background"
VOID_NAMES = {"void", "ignore", "ignored", "unlabelled", "unlabeled", LABELMES_IGNORE}
MAX_BYTES = 1_000_000  # Larger files have another purpose.


def tables(
    texts: Iterable[Path], masks: Collection[Path]
) -> list[tuple[Path, list[ClassName] | Unclear]]:
    """Reads the text files that seem to name classes.

    Args:
        texts: Paths of text files.
        masks: The folders of the masks.

    Returns:
        (file, entries, or why they are `Unclear`) of each, those nearest to the masks first.
    """
    found: list[tuple[Path, list[ClassName] | Unclear]] = []
    for text in texts:
        if FILES.fullmatch(text.name):
            try:
                found.append((text, _entries(text)))
            except Unclear as error:
                found.append((text, error))
            except (DataError, TypeError, ValueError, OverflowError, RecursionError):
                continue  # A file with another purpose.
    return sorted(found, key=lambda one: min(_steps(one[0].parent, folder) for folder in masks))


def matching(
    entries: Sequence[ClassName], keys: Sequence[Key], palette: Mapping[int, Colour]
) -> dict[Key, str] | None:
    """Matches the classes of a table with the values or colours in masks.

    Values and colours count before the order of the lines, which counts only without them.

    Args:
        entries: The entries of a table.
        keys: The masks' values, or colours, in order.
        palette: The colours of the values, if the masks have palettes.

    Returns:
        `{key: name}` in the table's order, including classes that no mask has; None if the table
        does not match.

    Raises:
        Unclear: The table may mean several things.
    """
    by_value: dict[Key, str] = {e.value: e.name for e in entries if e.value is not None}
    by_colour: dict[Key, str] = {e.colour: e.name for e in entries if e.colour is not None}
    of_values = by_value if len(by_value) == len(entries) else {}
    if isinstance(keys[0], tuple):
        candidates = [by_colour if len(by_colour) == len(entries) else {}]
    elif not by_value and not by_colour:
        candidates = [_by_line(entries, keys)]
    elif palette:
        candidates = [of_values, _by_palette(entries, palette)]
    elif by_colour and all(e.colour and len({*e.colour}) == 1 for e in entries):
        candidates = [of_values, {e.colour[0]: e.name for e in entries if e.colour}]
    elif by_colour and not by_value:
        raise Unclear(
            "gives colours, but the masks hold values. Give each class its value: VALUE,NAME"
        )
    else:
        candidates = [of_values]
    fitting = [t for t in (_with_ground(table, keys) for table in candidates) if _fits(t, keys)]
    if any(table[key] != fitting[0][key] for table in fitting for key in keys):
        raise Unclear("gives values and colours that name different classes")
    return fitting[0] if fitting else None


def _entries(text: Path) -> list[ClassName]:
    """Reads one table."""
    if text.suffix.lower() == ".xml":
        return of_cvat_xml(text)
    try:
        content = read_content(text, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unclear("is not UTF-8. Save it as UTF-8") from None
    suffix = text.suffix.lower()
    if text.name == "meta.json" and '"classes"' not in content:
        raise ValueError("of another program")
    if text.name.startswith("config") and '"labels"' not in content:
        raise ValueError("of another program")
    try:
        if suffix in (".yaml", ".yml"):
            entries = of_yolo(parse(text))
        else:
            entries = of_json(content) if suffix == ".json" else of_text(content)
    except json.JSONDecodeError as error:
        raise Unclear(f"is not JSON (line {error.lineno}). Correct it") from None
    if all(entry.value is None for entry in entries):
        entries = [entry for entry in entries if entry.name != LABELMES_IGNORE]
    entries = [e for e in entries if e.value is None or e.value >= 0]  # -1: in no mask.
    names = [entry.name for entry in entries]
    if len(names) < 2:
        raise ValueError("no classes")
    if twice := [name for name in names if names.count(name) > 1]:
        raise Unclear(f"calls two classes {twice[0]!r}. Rename one")
    return entries


def _by_line(entries: Sequence[ClassName], keys: Sequence[Key]) -> dict[Key, str]:
    """Names values by the order of the lines; empty if the lines may count otherwise."""
    if len(entries) == len(keys):
        return {key: entry.name for key, entry in zip(keys, entries, strict=True)}
    # The line number is the value; a longer list may count otherwise, but not labelme's.
    if keys[-1] != len(entries) - 1 and entries[0].name != LABELMES_FIRST:
        return {}
    return {index: entry.name for index, entry in enumerate(entries)}


def _by_palette(entries: Sequence[ClassName], palette: Mapping[int, Colour]) -> dict[Key, str]:
    """Names the values of a palette by their colours, in the order of the table."""
    values = {colour: value for value, colour in palette.items()}
    return {values[e.colour]: e.name for e in entries if e.colour in values}


def _with_ground(table: dict[Key, str], keys: Sequence[Key]) -> dict[Key, str]:
    """Adds background if a table names all but value 0, or black: many programs leave it out."""
    missing = set(keys) - set(table)
    named = {name.lower().strip("_") for name in table.values()}
    if missing not in ({0}, {(0, 0, 0)}) or BACKGROUND in named:
        return table
    numbers = [key for key in table if isinstance(key, int)]
    # Otherwise the table may count from 1, and the masks from 0.
    counts_alike = not numbers or max(numbers) == keys[-1]
    return {missing.pop(): BACKGROUND, **table} if counts_alike else table


def _fits(table: Mapping[Key, str], keys: Sequence[Key]) -> bool:
    """Whether a table names all values or colours of the masks, and only possible ones."""
    numbers = [n for key in table for n in (key if isinstance(key, tuple) else [key])]
    return set(keys) <= set(table) and len(table) <= 255 and all(n in range(256) for n in numbers)


def _steps(one: Path, other: Path) -> int:
    """Counts the steps from one folder to another."""
    above = Path(os.path.commonpath([one, other]))
    return sum(len(folder.relative_to(above).parts) for folder in (one, other))
