"""Checkpoint files: arrays and a little JSON under a SHA-256, each complete or not there at all.

A file is a line `fcn_keras checkpoint SHA256`, a line of JSON, and NumPy's .npy format, array after
array. The hash is that of everything below its own line.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fcn_keras.errors import ModelError
from fcn_keras.outputs import replacing

MAGIC = b"fcn_keras checkpoint "
ENDING = ".ckpt"


def write(path: str | Path, arrays: Mapping[str, np.ndarray], state: Any) -> None:
    """Writes a checkpoint so that the disk holds the whole of it, or nothing under this name.

    Args:
        path: the file; one that is there is replaced.
        arrays: a dict of NumPy arrays.
        state: what else is to be kept; anything that JSON can hold.

    Raises:
        OSError: it cannot be written, such as on a full disk; what `path` held is still there.
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
    _sync_folder(path.parent)  # The new name is on the disk too.


def read(path: str | Path) -> tuple[dict[str, np.ndarray], Any]:
    """Reads a checkpoint: a dict of arrays, and the state.

    Raises:
        ModelError: the file is damaged, incomplete, not there or no checkpoint.
    """
    with _opened(path) as file:
        head = json.loads(file.readline())
        return {name: np.load(file, allow_pickle=False) for name in head["names"]}, head["state"]


def read_state(path: str | Path) -> Any:
    """Reads a checkpoint's state alone, after checking all of the file.

    Raises:
        ModelError: as `read`.
    """
    with _opened(path) as file:
        return json.loads(file.readline())["state"]


def in_order(folder: str | Path) -> list[Path]:
    """The checkpoints of a folder, the newest first; their names are numbers of steps."""
    return sorted(Path(folder).glob(f"step-*{ENDING}"), reverse=True)


def _opened(path: str | Path) -> BinaryIO:
    """The file behind its first line, once its hash is found to be right."""
    try:
        file = Path(path).open("rb")
        first = file.readline(len(_first_line("0" * 64)))
        start, sha = file.tell(), hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}).") from None
    if first != _first_line(sha.hexdigest()):
        file.close()
        raise ModelError(f"{path}: damaged or incomplete: its SHA-256 is not the one it names.")
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
    """A file that is hashed as it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha.update(data)
        return self.file.write(data)
