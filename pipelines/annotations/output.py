"""Writes a conversion's folder: all of it or nothing."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.annotations.annotated import Colour
from pipelines.errors import DataError
from pipelines.split import IGNORE

RECORD, YAML = "conversion.json", "data.yaml"
OWN = {"masks", "images", "lists", YAML, RECORD}  # What a conversion writes.
VOID_COLOUR = (224, 224, 192)  # As in PASCAL VOC.
COMPRESSION = 4  # Of zlib, 0..9; masks compress well at any.


def check_destination(out: Path, source: Path) -> None:
    """Checks that a conversion may be written to a folder; creates nothing.

    Raises:
        DataError: It is in the source, or exists and is no earlier conversion of the same source.
    """
    folder = source if source.is_dir() else source.parent
    real = Path(os.path.realpath(out))
    if real.is_relative_to(os.path.realpath(folder)):
        raise DataError(
            f"--out {out}: is in {folder}, where nothing is written. Choose another folder."
        )
    if not os.path.isdir(real.parent):
        raise DataError(f"--out {out}: the folder {out.parent} does not exist. Create it first.")
    if not os.path.lexists(out):
        return
    rule = "exists already"
    if out.is_dir() and not out.is_symlink():
        if not any(out.iterdir()):
            return
        if not (record := _record(out)):
            rule = f"exists already, and is no conversion (it has no {RECORD})"
        elif record.get("source") != os.path.realpath(source):
            rule = f"is a conversion of {record.get('source')}"
        elif others := sorted({path.name for path in out.iterdir()} - OWN):
            rule = f"holds other files too: {', '.join(others[:3])}"
        elif record.get("yaml") != _checksum(out / YAML):
            rule = f"has a {YAML} that was changed after the conversion"
        elif record.get("masks") != _checksum_of_all(out / "masks"):
            rule = "has masks that were changed after the conversion"
        else:
            return
    raise DataError(f"--out {out}: {rule}. Choose another folder, or remove this one.", file=out)


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `out`, which replaces `out` after the block.

    If the block raises, nothing is left. Folders that killed processes left are removed.
    """
    _remove_unfinished(out)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.fcn-keras-tmp")
    old = out.with_name(f".{out.name}.{os.getpid()}-old.fcn-keras-tmp")
    temporary.mkdir()
    try:
        yield temporary
        if os.path.lexists(out):
            os.replace(out, old)
        os.replace(temporary, out)
    finally:
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)


def write_mask(path: Path, mask: np.ndarray, colours: Sequence[Colour]) -> None:
    """Writes a mask, uint8 `[h, w]` of class ids, as a palette PNG."""
    palette = np.zeros((256, 3), "uint8")
    palette[: len(colours)] = colours
    palette[IGNORE] = VOID_COLOUR
    picture = Image.fromarray(mask)
    picture.putpalette(palette.tobytes())  # Makes it a palette image.
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, compress_level=COMPRESSION)


def write_record(folder: Path, source: Path, content: dict[str, Any]) -> None:
    """Writes `conversion.json`, after `data.yaml`."""
    record = {
        "written_by": "fcn-keras",
        "source": os.path.realpath(source),
        "yaml": _checksum(folder / YAML),
        "masks": _checksum_of_all(folder / "masks"),
        **content,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", "utf-8", errors="backslashreplace")


def _record(out: Path) -> dict[str, Any]:
    """Returns the record of an earlier conversion; empty if there is none."""
    try:
        record = json.loads((out / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    is_ours = isinstance(record, dict) and record.get("written_by") == "fcn-keras"
    return record if is_ours else {}


def _checksum(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _checksum_of_all(folder: Path) -> str:
    """Returns a checksum of the names and contents of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (f"{_checksum(path)} {path.relative_to(folder).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _remove_unfinished(out: Path) -> None:
    name = re.compile(rf"\.{re.escape(out.name)}\.(\d+)(-old)?\.fcn-keras-tmp")
    for path in out.parent.glob(".*.fcn-keras-tmp"):
        match = name.fullmatch(path.name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # It belongs to another user.
        pass
    return pid != os.getpid()
