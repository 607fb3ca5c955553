"""Gives the files of an export their names: all of them, or none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fcn_keras import outputs
from fcn_keras.errors import ConfigError, ModelError


def publish(parts: Sequence[Path], folder: Path) -> None:
    """Gives files of a temporary folder their names in `folder`; replaces nothing.

    Args:
        parts: The files, the one that is opened last, so that it appears when all is complete.
        folder: Where they get the same names.

    Raises:
        ConfigError: A name has been taken since the export began.
        ModelError: A file cannot be written.
    """
    done: list[Path] = []
    try:
        for part in parts:
            target = folder / part.name
            _give(part, target)
            done.append(target)
    except (OSError, ConfigError) as error:
        for path in done:
            path.unlink(missing_ok=True)
        if isinstance(error, ConfigError):
            raise
        raise ModelError(f"{target}: cannot be written ({error.strerror}).") from None


def remove_unfinished(folder: Path) -> None:
    """Removes what killed exports have left in a folder, named files of an incomplete one too."""
    for left in outputs.unfinished(folder):
        parts = [part for part in left.iterdir() if part.is_file()] if left.is_dir() else []
        named = [folder / part.name for part in parts if _is_same(part, folder / part.name)]
        if len(named) < len(parts):
            for path in named:
                path.unlink()
    outputs.remove_unfinished(folder)


def _give(part: Path, target: Path) -> None:
    """Links a file, so that `remove_unfinished` recognises it; or renames it."""
    try:
        os.link(part, target)
    except FileExistsError:
        outputs.check_free(target)
        raise
    except OSError:  # The file system has no links.
        outputs.check_free(target)
        os.rename(part, target)


def _is_same(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)
