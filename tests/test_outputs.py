import pytest

from fcn_keras import outputs
from fcn_keras.errors import ConfigError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(KeyError), outputs.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and names(tmp_path) == ["model.keras"]
    with outputs.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == ".keras" and temporary.name.startswith(".")
    assert path.read_text() == "new" and names(tmp_path) == ["model.keras"]


def test_two_processes_do_not_write_into_one_temporary_file(tmp_path):
    path = tmp_path / "report.html"
    with outputs.replacing(path) as first, outputs.replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and names(tmp_path) == ["report.html"]


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
    left = outputs.replacing(tmp_path / "metrics.json").__enter__()  # And never left.
    for path in (left, tmp_path / ".bashrc.tmp"):
        path.write_text("half")
    (tmp_path / ".notes.unsaved!.tmp").write_text("mine")
    with outputs.locked(tmp_path):
        assert not left.exists()
        assert (tmp_path / ".bashrc.tmp").exists() and (tmp_path / ".notes.unsaved!.tmp").exists()


def test_a_folder_is_held_by_one_process(tmp_path):
    with outputs.locked(tmp_path):
        with pytest.raises(ConfigError, match="another training is writing there"):
            with outputs.locked(tmp_path):
                pass
