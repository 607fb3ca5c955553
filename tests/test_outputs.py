import subprocess
import sys

import pytest

from fcn_keras import outputs
from fcn_keras.errors import ConfigError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_replaced_atomically(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(KeyError), outputs.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and names(tmp_path) == ["model.keras"]
    with outputs.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.name.startswith(".")
    assert path.read_text() == "new" and names(tmp_path) == ["model.keras"]


def test_temporary_names_are_unique(tmp_path):
    path = tmp_path / "report.html"
    with outputs.replacing(path) as first, outputs.replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and names(tmp_path) == ["report.html"]


def test_long_names_work(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")  # 255 bytes is the limit of file systems.
    for by_suffix in (False, True):
        with outputs.replacing(path, by_suffix=by_suffix) as temporary:
            assert (temporary.suffix == ".png") is by_suffix
            temporary.write_text("whole")
        assert path.read_text() == "whole"


WRITE_UNTIL_KILLED = """
import os, signal, sys
from fcn_keras import outputs
with outputs.replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    sys.stdin.readline()
"""


def test_only_temporary_files_of_killed_processes_are_removed(tmp_path):
    mine = [".bashrc.tmp", ".notes.20261127.tmp.txt", ".0a1b2c3d-99999999-0.fcn-keras-tmp.bak.txt"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path / "metrics.json")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        left = tmp_path / other.stdout.readline().strip()
        with outputs.locked(tmp_path):
            assert left.read_text() == "half"  # The other process is still writing it.
        other.kill()
    assert left.exists()
    with outputs.locked(tmp_path):
        assert not left.exists()
    assert set(mine) < set(names(tmp_path))


def test_folder_lock_is_exclusive(tmp_path):
    with outputs.locked(tmp_path):
        with pytest.raises(ConfigError, match="another training run is writing to it"):
            with outputs.locked(tmp_path):
                pass
