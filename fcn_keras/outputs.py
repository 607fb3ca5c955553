"""Where results go: checked before any work is done, and nothing of the user's is replaced."""

import json
import os
from pathlib import Path

from fcn_keras.errors import ConfigError

WRITTEN_BY = "fcn-keras"  # In every file of results: only such a file is replaced.


def check_folder(folder):
    """Checks that a folder is there, or can be made, and can be written to; makes nothing.

    Raises:
        ConfigError: it is a file, lies below one, or must not be written to.
    """
    folder = Path(folder)
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{folder}: {there} is a file, not a folder. Choose another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{folder}: no permission to write in {there}. Choose another folder, or change that."
        )


def check_file(option, path, ending):
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


def write_json(path, content):
    """Writes a dict as JSON by way of a temporary file, so that it is never half written."""
    content = {"written_by": WRITTEN_BY, **content}
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_text(path, text):
    """Writes a UTF-8 file by way of a temporary one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", errors="replace")
    os.replace(temporary, path)
