"""Strict JSON, read at once and piece by piece."""

import json

import pytest

from pipelines import DataError
from pipelines.annotations import json_files
from pipelines.annotations.json_files import entries, load


@pytest.fixture(params=["load", "entries"])
def read(request, tmp_path):
    """Writes bytes to a file and reads them; both ways give a dict."""

    def reader(data):
        path = tmp_path / "file.json"
        path.write_bytes(data)
        if request.param == "load":
            return load(path)
        found = {}
        for key, value in entries(path, frozenset({"many"})):
            if key == "many":
                found.setdefault(key, []).append(value)
            else:
                found[key] = value
        return found

    return reader


CONTENT = {"a": {"b": [1, 2.5, None]}, "many": [{"x": "é\u2028"}, 3, [4]], "c": "d"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("indent", [None, 2])
def test_encodings(read, encoding, indent):
    assert read(json.dumps(CONTENT, ensure_ascii=False, indent=indent).encode(encoding)) == CONTENT


@pytest.mark.parametrize("window", [1, 2, 3, 7])
def test_pieces_of_any_size_give_the_same(read, monkeypatch, window):
    monkeypatch.setattr(json_files, "WINDOW", window)
    assert read(json.dumps({**CONTENT, "n": 12345678}).encode()) == {**CONTENT, "n": 12345678}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"many": [1, {"x": Infinity}]}', "Infinity is not a number"),
        (b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
        (b'{"many": [{"x": 1, "x": 2}]}', "the key 'x' appears twice"),
        (b'{"many": [1], "many": [2]}', "the key 'many' appears twice"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"many": [' + b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": 1', "Expecting|expected"),
        (b'{"many": [1, 2', "Expecting|expected"),
        (b'{"many": [1 2]}', "Expecting|expected"),
        (b'{"a": 1} x', "Extra data|after the end"),
        (b"", "Expecting|expected"),
        (b"<html>", "Expecting|expected"),
        ('{"a": "é"}'.encode("latin-1"), "not UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "Expecting|expected|not UTF-8"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "integer string conversion"),
    ],
)
def test_what_is_not_strict_json(read, data, reason):
    with pytest.raises(DataError, match=f"file.json: not readable as JSON: .*({reason})"):
        read(data)


def test_missing_and_large_files(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read"):
        list(entries(tmp_path / "none.json", frozenset()))
    monkeypatch.setattr(json_files, "MAX_BYTES", 3)
    (tmp_path / "a.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="at most 3 are read"):
        load(tmp_path / "a.json")


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "WINDOW", 1000)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"many": [{"n": n} for n in range(5000)]}))
    with path.open() as file:
        pieces = json_files._Pieces(file)
        longest = 0
        for number, (_, entry) in enumerate(pieces.entries(frozenset({"many"}))):
            assert entry == {"n": number}
            longest = max(longest, len(pieces.text))
    assert number == 4999 and longest < 4000
