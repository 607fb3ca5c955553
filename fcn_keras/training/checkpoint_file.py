"""Checkpoint files: arrays and some JSON with a SHA-256, written completely or not at all.

A file consists of a line `fcn_keras checkpoint SHA256`, a line of JSON, and the arrays in NumPy's
.npy format. The hash covers everything after its own line.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fcn_keras.errors import ModelError
from fcn_keras.outputs import replacing

MAGIC = b"fcn_keras checkpoint "
ENDING = ".ckpt"


def write(path: str | Path, arrays: Mapping[str, np.ndarray], state: Any) -> None:
    """Writes a checkpoint atomically: `path` is either complete or unchanged.

    Args:
        path: The file; an existing one is replaced.
        arrays: A dict of NumPy arrays.
        state: Any further JSON value.

    Raises:
        OSError: The file cannot be written, for example because the disk is full; `path` is
            unchanged.
    """
    path = Path(path)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_first_line("0" * 64))
        hashed = _Hashed(file)
        hashed.write(json.dumps({"names": list(arrays), "state": state}).encode() + b"\n")
        for array in arrays.values():
            np.save(hashed, np.asarray(array), allow_pickle=False)
        file.seek(0)
        file.write(_first_line(hashed.sha.hexdigest()))
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)  # So that the new name is on disk too.


def read(path: str | Path) -> tuple[dict[str, np.ndarray], Any]:
    """Reads a checkpoint: a dict of arrays, and the state.

    Raises:
        ModelError: The file is missing, damaged, incomplete or not a checkpoint.
    """
    with _opened(path) as file:
        head = json.loads(file.readline())
        return {name: np.load(file, allow_pickle=False) for name in head["names"]}, head["state"]


def read_state(path: str | Path) -> Any:
    """Reads only a checkpoint's state, after checking the whole file.

    Raises:
        ModelError: As in `read`.
    """
    with _opened(path) as file:
        return json.loads(file.readline())["state"]


def in_order(folder: str | Path) -> list[Path]:
    """Returns the checkpoints of a folder, newest first; their names are step numbers."""
    return sorted(Path(folder).glob(f"step-*{ENDING}"), reverse=True)


def newest(folder: Path) -> tuple[Path | None, Any]:
    """Returns the newest intact checkpoint of a folder and its state; (None, None) without one.

    Prints a warning for each damaged one.

    Raises:
        ModelError: All checkpoints are damaged.
    """
    faults = []
    for path in in_order(folder):
        try:
            state = read_state(path)
        except ModelError as error:
            faults.append(error)
            continue
        for fault in faults:
            print(f"warning: {fault} Using the previous checkpoint.", file=sys.stderr)
        return path, state
    if faults:
        raise ModelError(f"{faults[0]} There is no older one. Remove {folder} to start over.")
    return None, None


def keep(latest: Path, count: int) -> None:
    """Deletes all checkpoints but `count`: `latest`, which was just written, and those before it.

    A checkpoint with a higher number is damaged, or of an earlier training with longer epochs.
    """
    found = in_order(latest.parent)
    place = found.index(latest)
    for path in (*found[:place], *found[place + count :]):
        path.unlink()


def _opened(path: str | Path) -> BinaryIO:
    """Opens a file after its first line, if its hash is correct."""
    try:
        file = Path(path).open("rb")
        first = file.readline(len(_first_line("0" * 64)))
        start, sha = file.tell(), hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}).") from None
    if first != _first_line(sha.hexdigest()):
        file.close()
        raise ModelError(f"{path}: damaged or incomplete: its SHA-256 does not match.")
    file.seek(start)
    return file


def _first_line(sha: str) -> bytes:
    return MAGIC + sha.encode() + b"\n"


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha.update(data)
        return self.file.write(data)
