"""Where results go: checked before any work is done, and nothing of the user's is replaced."""

import os
from pathlib import Path

from fcn_keras.errors import ConfigError


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


def check_json(path):
    """Checks that a JSON file can be written.

    Raises:
        ConfigError: its name does not end in .json, or its folder is not there or not writable.
    """
    path = Path(path)
    if path.suffix.lower() != ".json" or path.is_dir():
        raise ConfigError(f"--json {path}: must be a file whose name ends in .json.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--json {path}: there is no folder {path.parent}. Make it first.")
    check_folder(path.parent)
