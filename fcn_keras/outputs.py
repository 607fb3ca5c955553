"""Checks output paths before any work starts, and writes files atomically.

The user's own files are never replaced.
"""

from __future__ import annotations

import contextlib
import errno
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

WRITTEN_BY = "fcn-keras"  # Marks our result files: only these are replaced.
_MARKS = {  # How our result files begin, by ending.
    ".json": re.compile(rb'\s*\{\s*"written_by":\s*"fcn-keras"\s*[,}]'),
    ".html": re.compile(
        rb'\s*<!doctype html>\s*<html lang="en">\s*<head>\s*<meta charset="utf-8">\s*'
        rb'<meta name="generator" content="fcn-keras">'
    ),
}

# A file cannot be written, whatever it is: full disk, quota or limit, no permission.
DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
)

_PROCESS, _NUMBERS = uuid.uuid4().hex[:8], itertools.count()
_TEMPORARY = re.compile(r"\.([0-9a-f]{8})-(\d+)-\d+\.fcn-keras-tmp(?:\.\w+)?")


def path_argument(name: str, value: Any) -> Path:
    """Returns an argument as a path.

    Raises:
        ConfigError: It is empty, or not a path.
    """
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ConfigError(f"{name}={value!r}: must be a path. Pass a string or a pathlib.Path.")
    return Path(value)


def check_folder(folder: str | Path) -> None:
    """Checks that a folder exists or can be created, and is writable; creates nothing.

    Raises:
        ConfigError: The path is a file, is below a file, or is not writable.
    """
    existing = _nearest(folder)
    if Path(folder).is_symlink() and not Path(folder).exists():
        raise ConfigError(f"{folder}: is a broken link. Choose another folder.")
    if not existing.is_dir():
        raise ConfigError(f"{folder}: {existing} is a file, not a folder. Choose another folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{folder}: no permission to write to {existing}. Change the permissions, or choose "
            "another folder."
        )


def check_new_model(out: Path) -> None:
    """Checks the path of a new model file; creates nothing.

    Raises:
        ConfigError: The name does not end in .keras, the file exists already, or its folder cannot
            be created or written to.
    """
    if out.suffix != ".keras":
        raise ConfigError(f"--out {out}: must end in .keras.")
    check_free(out, "--out ")
    check_folder(out.parent)


def check_free(path: Path, option: str = "") -> None:
    """Raises a ConfigError, which begins with `option`, if there is anything at a path."""
    if os.path.lexists(path):
        raise ConfigError(f"{option}{path}: exists already. Choose another name, or delete it.")


def make_folder(folder: str | Path) -> list[Path]:
    """Creates an output folder; returns it and its parents that did not exist, innermost first.

    Raises:
        ConfigError: As in `check_folder`, or the folder cannot be created.
    """
    check_folder(folder)
    created = [path for path in (Path(folder), *Path(folder).parents) if not path.exists()]
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be created ({error.strerror}). Choose another folder."
        ) from None
    return created


def check_space(folder: str | Path, needed: int, what: str) -> None:
    """Checks that a folder's disk has enough free space.

    Args:
        folder: Folder to check; if it does not exist, its nearest existing parent.
        needed: Required space in bytes.
        what: What needs the space, for the error message; plural.

    Raises:
        ConfigError: There is not enough free space.
    """
    free = shutil.disk_usage(_nearest(folder)).free
    if free < needed:
        raise ConfigError(
            f"{Path(folder).absolute()}: {what} need about {_size(needed)}, but only {_size(free)} "
            "are free. Free some space, or choose another folder (--out)."
        )


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Locks a folder for this process; the lock is released however the process ends.

    Removes incomplete files left behind by a killed process.

    Raises:
        ConfigError: Another process holds the lock.
    """
    lock = filelock.FileLock(Path(folder) / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ConfigError(
            f"{folder}: another training run is writing to it. Wait until it ends, or choose "
            "another folder (--out)."
        ) from None
    try:
        remove_unfinished(folder)
        yield
    finally:
        lock.release()


def disk_fault(error: BaseException) -> str | None:
    """Returns why the disk refused a file, such as "No space left on device"; None if it did not.

    TensorFlow's errors have no number, only the system's text: its event files on a full disk raise
    the same ResourceExhaustedError as a GPU without memory.
    """
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno in DISK_ERRORS else None
    if not type(error).__module__.startswith("tensorflow."):
        return None
    texts = map(os.strerror, DISK_ERRORS)
    return next((text for text in texts if f"; {text}" in str(error)), None)


def check_file(option: str, path: str | Path, ending: str) -> None:
    """Checks that a result file can be written.

    Args:
        option: Command-line option that names the file.
        path: File to check.
        ending: Required file extension, for example ".json".

    Raises:
        ConfigError: The extension is wrong, the folder is missing or not writable, or the file
            exists and fcn-keras did not write it.
    """
    path = Path(path)
    if path.suffix.lower() != ending or path.is_dir():
        raise ConfigError(f"{option} {path}: must be a file name that ends in {ending}.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(
            f"{option} {path}: the folder {path.parent} does not exist. Create it first."
        )
    if path.exists() and not is_result(path):
        raise ConfigError(
            f"{option} {path}: exists already and was not written by fcn-keras. Choose another "
            "name."
        )
    check_folder(path.parent)


def is_result(path: str | Path) -> bool:
    """Returns whether a .json or .html file was written by fcn-keras, judged by its beginning."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return bool(_MARKS[path.suffix.lower()].match(file.read(1000)))


@contextlib.contextmanager
def replacing(path: str | Path, *, by_suffix: bool = False) -> Iterator[Path]:
    """Yields a temporary path next to `path`, and renames it to `path` after the block.

    So `path` never holds an incomplete file. The temporary file is hidden and has a unique name,
    so two processes may write the same file. If the block raises, the temporary file is removed;
    after a kill, `remove_unfinished` removes it.

    Args:
        path: File to write; an existing one is replaced.
        by_suffix: Keep the suffix of `path`, for libraries that choose the format by it.
    """
    path = Path(path)
    temporary = _temporary(path, path.suffix if by_suffix else "")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(beside: str | Path) -> Iterator[Path]:
    """Creates a hidden folder beside an output, to write the output in; removes it after the block.

    After a kill, `remove_unfinished` removes it.

    Args:
        beside: The output; its folder must exist.
    """
    folder = _temporary(Path(beside))
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_unfinished(folder: str | Path) -> None:
    """Removes temporary files and folders that killed processes left in a folder."""
    for path in unfinished(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def unfinished(folder: str | Path) -> list[Path]:
    """Returns the temporary files and folders that killed processes left in a folder."""
    paths = list(Path(folder).glob(".*.fcn-keras-tmp*"))
    names = [_TEMPORARY.fullmatch(path.name) for path in paths]
    return [
        path
        for path, name in zip(paths, names, strict=True)
        if name and name[1] != _PROCESS and not _is_running(int(name[2]))
    ]


def _temporary(path: Path, suffix: str = "") -> Path:
    return path.with_name(f".{_PROCESS}-{os.getpid()}-{next(_NUMBERS)}.fcn-keras-tmp{suffix}")


def _is_running(pid: int) -> bool:
    """Returns whether another process with that id runs; this process may have reused the id."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # It belongs to another user.
        return True
    return True


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Writes a dict as JSON via a temporary file, so the file is never incomplete."""
    content = {"written_by": WRITTEN_BY, **content}
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text file via a temporary file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def _nearest(folder: str | Path) -> Path:
    """Returns the folder itself, or its nearest existing parent."""
    folder = Path(folder).absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
