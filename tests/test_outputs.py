import os
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


RESULTS = {
    ".json": '{\n  "written_by": "fcn-keras",\n  "mean_iou": 0.5\n}\n',
    ".html": '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="generator" content="fcn-keras">\n<title>mine</title>',
}
OWN_FILES = {
    ".json": [
        "",
        '["fcn-keras"]',
        '{"project": "fcn-keras", "written_by": "me"}',
        '{"notes": {"written_by": "fcn-keras"}}',
        '{"mean_iou": 0.5, "written_by": "fcn-keras"}',
        '{"written_by": "fcn-keras-tools"}',
    ],
    ".html": [
        "",
        "<p>We trained with fcn-keras.</p>",
        '<!doctype html>\n<html lang="en">\n<body><pre>\n' + RESULTS[".html"] + "</pre>",
    ],
}


@pytest.mark.parametrize("ending", RESULTS)
def test_only_earlier_results_are_replaced(tmp_path, ending):
    path = tmp_path / f"file{ending}"
    outputs.check_file("--to", path, ending)
    for text in OWN_FILES[ending]:
        path.write_text(text)
        with pytest.raises(ConfigError, match="exists already and was not written by fcn-keras"):
            outputs.check_file("--to", path, ending)
    path.write_text(RESULTS[ending])
    outputs.check_file("--to", path, ending)
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ConfigError, match="was not written by fcn-keras"):
        outputs.check_file("--to", path, ending)


def test_a_pipe_is_not_a_result_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")  # To read it would wait forever.
    with pytest.raises(ConfigError, match="exists already and was not written by fcn-keras"):
        outputs.check_file("--json", tmp_path / "pipe.json", ".json")


def test_own_results_are_recognised(tmp_path):
    outputs.write_json(tmp_path / "a.json", {"mean_iou": 0.5})
    outputs.check_file("--json", tmp_path / "a.json", ".json")


def test_folder_lock_is_exclusive(tmp_path):
    with outputs.locked(tmp_path):
        with pytest.raises(ConfigError, match="another training run is writing to it"):
            with outputs.locked(tmp_path):
                pass
