"""What a check has found, remembered for as long as no file of the split changes.

The notes lie in the user's cache folder ($XDG_CACHE_HOME/fcn_keras, or ~/.cache/fcn_keras), never
beside the data. They hold for files of the same sizes and times, for the same meaning of the masks
and for the same rules: the source code of this package.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.checking.examine import examine
from pipelines.checking.findings import Findings
from pipelines.errors import DataError
from pipelines.split import Split

LISTS = ("checksums", "present", "half_void", "bad")


def examine_once(split: Split, progress: Callable[[], object] | None = None) -> Findings:
    """`examine`, or what it found the last time if nothing has changed since.

    Args:
        split: a `Split`.
        progress: called with no argument after each example that is read, or None.

    Returns:
        `Findings`.
    """
    state = _state(split)
    if state is None:
        return examine(split, progress)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        remembered = json.loads(_note(split).read_text(encoding="utf-8"))
        if remembered["state"] == state:
            return _from_json(split, remembered)
    return _examine_and_note(split, state, progress)


def examine_anew(split: Split, progress: Callable[[], object] | None = None) -> Findings:
    """`examine`, whatever it found the last time; notes what it finds, as `examine_once` does."""
    return _examine_and_note(split, _state(split), progress)


def _examine_and_note(
    split: Split, state: str | None, progress: Callable[[], object] | None
) -> Findings:
    """`state` is from before the files are read; nothing is noted without one."""
    findings = examine(split, progress)
    if state is not None:
        _remember(findings, state)
    return findings


def _remember(findings: Findings, state: str) -> None:
    """Notes what a check has found; does nothing where the cache folder cannot be written."""
    note = _note(findings.split)
    temporary = note.with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"state": state, **_to_json(findings)}), encoding="utf-8")
        os.replace(temporary, note)


def _note(split: Split) -> Path:
    return _folder() / f"{_digest([_name(e.image) for e in split.examples])}.json"


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fcn_keras" / "checks"


def _state(split: Split) -> str | None:
    """A digest of all that the findings depend on; None if a source is no file."""
    files = []
    for example in split.examples:
        for source in (example.image, example.mask):
            path = getattr(source, "path", source)
            if not isinstance(path, Path):
                return None
            try:
                status = path.stat()
            except OSError:
                return None
            files.append((_name(source), status.st_size, status.st_mtime_ns))
    rules = [path.read_bytes().hex() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    meaning = [sorted(split.mask_values.items()), sorted(split.mask_colours.items())]
    reader = repr(getattr(split.read_mask, "__qualname__", type(split.read_mask)))
    faults = [str(fault) for fault in split.faults]
    return _digest([split.name, split.class_names, meaning, reader, faults, files, rules])


def _name(source: object) -> str:
    return str(source.absolute()) if isinstance(source, Path) else str(source)


def _digest(content: object) -> str:
    text = json.dumps(content, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _to_json(findings: Findings) -> dict[str, Any]:
    return {
        "pixels": findings.pixels.tolist(),
        "images": findings.images.tolist(),
        "sizes": findings.sizes,
        **{name: getattr(findings, name) for name in LISTS},
        "faults": [e.to_dict() for e in findings.faults],
        "warnings": [e.to_dict() for e in findings.warnings],
    }


def _from_json(split: Split, note: dict[str, Any]) -> Findings:
    return Findings(
        split,
        np.array(note["pixels"], "int64"),
        np.array(note["images"], "int64"),
        sizes=[tuple(size) if size else None for size in note["sizes"]],
        **{name: note[name] for name in LISTS},
        faults=[DataError(**e) for e in note["faults"]],
        warnings=[DataError(**e) for e in note["warnings"]],
    )
