"""Reads one file of VIA: a project, a JSON export or a CSV export."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.annotations.json_files import MAX_BYTES, encoding_of, load, parse
from pipelines.errors import DataError
from pipelines.files.opening import read_content

SHAPE = "region_shape_attributes"  # A column of a CSV export.
PROJECT = "_via_img_metadata"
SIGNS = ('"regions"', '"filename"', '"shape_attributes"', '"file_attributes"')


@dataclass
class Entry:
    """The regions of an image: (shape attributes, region attributes)."""

    filename: str
    file_size: Any
    regions: list[tuple[dict[str, Any], dict[str, Any]]]
    image_data: str = ""


@dataclass
class ViaFile:
    """What a file holds.

    Attributes:
        path: The file.
        name: Its path below the source.
        entries: The images.
        options: For each attribute with fixed options, their ids and descriptions.
        folder: What the names of images begin with, in addition.
    """

    path: Path
    name: str
    entries: list[Entry]
    options: dict[str, dict[str, str]]
    folder: str = ""


def is_via(name: str, text: str) -> bool:
    """Whether the beginning and end of a file look like VIA's."""
    if name.lower().endswith(".csv"):
        header = text.lstrip("\ufeff").partition("\n")[0]
        return SHAPE in header and "filename" in header
    return f'"{PROJECT}"' in text or sum(sign in text for sign in SIGNS) >= 3


def read_file(path: Path, name: str) -> ViaFile:
    """Reads a file.

    Raises:
        DataError: It is not readable, or not as VIA writes it.
    """
    if name.lower().endswith(".csv"):
        return ViaFile(path, name, _csv_entries(path), {})
    content = load(path)
    if not isinstance(content, dict) or PROJECT not in content:
        return ViaFile(path, name, _entries(path, content), {})
    settings = content.get("_via_settings")
    core = settings.get("core") if isinstance(settings, dict) else None
    folder = core.get("default_filepath") if isinstance(core, dict) else None
    return ViaFile(
        path,
        name,
        _entries(path, content[PROJECT]),
        _options(content.get("_via_attributes")),
        folder if isinstance(folder, str) else "",
    )


def _entries(path: Path, content: Any) -> list[Entry]:
    values = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(values, list):
        raise wrong(path, f"its images must be an object or a list, found {content!r:.100}")
    return [_entry(path, value) for value in values]


def _entry(path: Path, value: Any) -> Entry:
    filename = value.get("filename") if isinstance(value, dict) else None
    if not isinstance(filename, str) or not filename.strip():
        raise wrong(path, f"an image has no `filename`: {value!r:.100}")
    regions = value.get("regions") or []
    regions = list(regions.values()) if isinstance(regions, dict) else regions
    if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
        raise wrong(path, f"the regions of {filename!r:.100} must be objects: {regions!r:.100}")
    pairs = [(_dict(r.get("shape_attributes")), _dict(r.get("region_attributes"))) for r in regions]
    data = value.get("base64_img_data")
    return Entry(filename, value.get("size"), pairs, data if isinstance(data, str) else "")


def _csv_entries(path: Path) -> list[Entry]:
    """Reads a CSV export, which has a row for each region."""
    data = read_content(path, MAX_BYTES)
    found: dict[tuple[str, str], Entry] = {}
    try:
        rows = csv.DictReader(io.StringIO(data.decode(encoding_of(data)), newline=""), strict=True)
        for row in rows:
            filename = row.get("filename") or row.get("#filename") or ""
            size = row.get("file_size") or ""
            if not filename.strip():
                raise ValueError(f"line {rows.line_num} has no filename")
            file_size = int(size) if re.fullmatch(r"-?\d{1,15}", size) else None
            entry = found.setdefault((filename, size), Entry(filename, file_size, []))
            shape = _dict(parse(row.get(SHAPE) or "{}"))
            if shape:
                entry.regions.append((shape, _dict(parse(row.get("region_attributes") or "{}"))))
    except (csv.Error, ValueError) as error:
        raise wrong(path, f"not readable as CSV: {error}") from None
    return list(found.values())


def _options(attributes: Any) -> dict[str, dict[str, str]]:
    """Returns {attribute: {option's id: its description}} of a project's region attributes."""
    regions = _dict(_dict(attributes).get("region"))
    return {
        name: {key: text if isinstance(text, str) else "" for key, text in options.items()}
        for name, about in regions.items()
        if (options := _dict(_dict(about).get("options")))
    }


def without_duplicates(files: Iterable[ViaFile]) -> tuple[list[ViaFile], list[str]]:
    """Leaves out entries that another file has too, such as a project beside its export.

    Returns:
        The files that still have entries, and notes.
    """
    # Projects know most, and CSV files least.
    ordered = sorted(files, key=lambda f: (f.name.lower().endswith(".csv"), not f.options, f.name))
    seen: dict[tuple[str, str], list[Any]] = {}
    kept, notes = [], []
    for file in ordered:
        place = file.name.rpartition("/")[0]
        of_others = dict(seen)
        entries = []
        for entry in file.entries:
            key = place, entry.filename
            if of_others.get(key) != entry.regions:
                entries.append(entry)
                seen[key] = entry.regions
        if len(entries) < len(file.entries):
            count = len(file.entries) - len(entries)
            notes.append(f"left out {count} images of {file.name}: another file has the same")
        if entries or not file.entries:
            kept.append(ViaFile(file.path, file.name, entries, file.options, file.folder))
    return sorted(kept, key=lambda file: file.name), notes


def wrong(path: Path, reason: str) -> DataError:
    """Builds the error of a file that is not as VIA writes it."""
    return DataError(
        f"{path}: {reason}. Export it again, or correct it.", kind="wrong VIA file", file=path
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
