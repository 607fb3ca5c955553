"""Where results go: checked before any work is done, and nothing of the user's is replaced."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from fcn_keras.errors import ConfigError

WRITTEN_BY = "fcn-keras"  # In every file of results: only such a file is replaced.

_PROCESS, _NUMBERS = uuid.uuid4().hex[:8], itertools.count()
_TEMPORARY = re.compile(r"\.([0-9a-f]{8})-(\d+)-\d+\.fcn-keras-tmp(?:\.\w+)?")


def check_folder(folder: str | Path) -> None:
    """Checks that a folder is there, or can be made, and can be written to; makes nothing.

    Raises:
        ConfigError: it is a file, lies below one, or must not be written to.
    """
    there = _nearest(folder)
    if Path(folder).is_symlink() and not Path(folder).exists():
        raise ConfigError(f"{folder}: is a link to what is not there. Choose another folder.")
    if not there.is_dir():
        raise ConfigError(f"{folder}: {there} is a file, not a folder. Choose another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{folder}: no permission to write in {there}. Choose another folder, or change that."
        )


def check_new_model(out: Path) -> None:
    """Checks the name of a model file that a command is to write.

    Raises:
        ConfigError: it does not end in .keras, or the file is there.
    """
    if out.suffix != ".keras":
        raise ConfigError(f"--out {out}: must end in .keras.")
    if out.exists():
        raise ConfigError(f"--out {out}: is there already. Choose another name, or remove it.")


def make_folder(folder: str | Path) -> None:
    """Makes a folder for results, unless it is there.

    Raises:
        ConfigError: as `check_folder`, or the system does not let it be made.
    """
    check_folder(folder)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made ({error.strerror}). Choose another folder."
        ) from None


def check_space(folder: str | Path, needed: int, what: str) -> None:
    """Checks that a folder's disk has room.

    Args:
        folder: it, or the nearest folder above it, is looked at.
        needed: bytes.
        what: words for what needs them.

    Raises:
        ConfigError: there is less room.
    """
    free = shutil.disk_usage(_nearest(folder)).free
    if free < needed:
        raise ConfigError(
            f"{Path(folder).absolute()}: {_size(free)} are free there, and {what} take about "
            f"{_size(needed)}. Make room, or choose another folder (--out)."
        )


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Holds a folder for one process; whatever ends the process gives it free.

    Removes the files that a killed process left half written.

    Raises:
        ConfigError: another process holds it.
    """
    lock = filelock.FileLock(Path(folder) / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ConfigError(
            f"{folder}: another training is writing there. Wait for its end, or choose another "
            "folder (--out)."
        ) from None
    try:
        remove_unfinished(folder)
        yield
    finally:
        lock.release()


def check_file(option: str, path: str | Path, ending: str) -> None:
    """Checks that a file of results can be written.

    Args:
        option: of the command line, that names the file.
        path: the file.
        ending: of its name, such as ".json".

    Raises:
        ConfigError: its name ends otherwise, its folder is not there or not writable, or it is
            there and not of ours.
    """
    path = Path(path)
    if path.suffix.lower() != ending or path.is_dir():
        raise ConfigError(f"{option} {path}: must be a file whose name ends in {ending}.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {path.parent}. Make it first.")
    if path.exists() and WRITTEN_BY not in path.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(
            f"{option} {path}: is there already, and fcn-keras did not write it. Choose another "
            "name."
        )
    check_folder(path.parent)


@contextlib.contextmanager
def replacing(path: str | Path, *, by_suffix: bool = False) -> Iterator[Path]:
    """Gives a temporary path beside `path`; once the block is done, the file takes that name.

    So `path` never holds half a file. The temporary name is hidden, and new each time: two
    processes may write the same file. If the block raises, the temporary file is removed; after a
    kill `remove_unfinished` does that.

    Args:
        path: the file; one that is there is replaced.
        by_suffix: give the temporary file the suffix of `path`, for libraries that go by it.
    """
    path = Path(path)
    suffix = path.suffix if by_suffix else ""
    name = f".{_PROCESS}-{os.getpid()}-{next(_NUMBERS)}.fcn-keras-tmp{suffix}"
    temporary = path.with_name(name)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: str | Path) -> None:
    """Removes the temporary files in a folder that killed processes have left."""
    for path in Path(folder).glob(".*.fcn-keras-tmp*"):
        found = _TEMPORARY.fullmatch(path.name)
        if found and found[1] != _PROCESS and not _runs(int(found[2])):
            path.unlink(missing_ok=True)


def _runs(number: int) -> bool:
    """Whether a process of that number runs, other than this one, which may have it anew."""
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # Somebody else's.
        return True
    return True


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Writes a dict as JSON by way of a temporary file, so that it is never half written."""
    content = {"written_by": WRITTEN_BY, **content}
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 file by way of a temporary one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def _nearest(folder: str | Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    folder = Path(folder).absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
