"""Caches what a check has found, for as long as no file of the split changes.

The cache is in the user's cache folder ($XDG_CACHE_HOME/fcn_keras, or ~/.cache/fcn_keras), never
beside the data. An entry is valid for the same file sizes and times, the same meaning of the masks
and the same rules, which are the source code of this package.
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
    """Returns the cached findings of `examine`, or runs it if anything has changed.

    Args:
        split: A `Split`.
        progress: Called without arguments after each example that is read, or None.

    Returns:
        `Findings`.
    """
    state = _state(split)
    if state is None:
        return examine(split, progress)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        cached = json.loads(_file(split).read_text(encoding="utf-8"))
        if cached["state"] == state:
            return _from_json(split, cached)
    return _examine_and_save(split, state, progress)


def examine_again(split: Split, progress: Callable[[], object] | None = None) -> Findings:
    """Runs `examine` even if its findings are cached, and updates the cache."""
    return _examine_and_save(split, _state(split), progress)


def _examine_and_save(
    split: Split, state: str | None, progress: Callable[[], object] | None
) -> Findings:
    """Saves what it finds under `state`, computed before the reading; with None saves nothing."""
    findings = examine(split, progress)
    if state is not None:
        _save(findings, state)
    return findings


def _save(findings: Findings, state: str) -> None:
    """Caches findings; does nothing if the cache folder is not writable."""
    file = _file(findings.split)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"state": state, **_to_json(findings)}), encoding="utf-8")
        os.replace(temporary, file)


def _file(split: Split) -> Path:
    return _folder() / f"{_digest([_name(e.image) for e in split.examples])}.json"


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fcn_keras" / "checks"


def _state(split: Split) -> str | None:
    """Returns a digest of everything that findings depend on; None if a source is not a file."""
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
    reader = getattr(split.read_mask, "__qualname__", repr(split.read_mask))
    faults = [str(fault) for fault in split.faults]
    return _digest(
        [split.name, split.class_names, meaning, reader, split.upright, faults, files, rules]
    )


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


def _from_json(split: Split, cached: dict[str, Any]) -> Findings:
    return Findings(
        split,
        np.array(cached["pixels"], "int64"),
        np.array(cached["images"], "int64"),
        sizes=[tuple(size) if size else None for size in cached["sizes"]],
        **{name: cached[name] for name in LISTS},
        faults=[DataError(**e) for e in cached["faults"]],
        warnings=[DataError(**e) for e in cached["warnings"]],
    )
