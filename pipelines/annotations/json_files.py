"""Reads JSON files strictly: no NaN, no repeated keys, and limits on size and depth (Python's).

Files are UTF-8, with or without a byte order mark, or UTF-16 or UTF-32 with one.
"""

import codecs
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from pipelines.errors import DataError
from pipelines.files.opening import read_content

MAX_BYTES = 200_000_000  # Of a file that is read at once; `entries` has no limit.
WINDOW = 4_000_000  # Characters that `entries` reads at a time.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # Before UTF-16, whose mark it begins with.
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SPACE = " \t\n\r"


def load(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        DataError: The file cannot be read, is too large or not strict JSON.
    """
    data = read_content(path, MAX_BYTES)
    try:
        return _decoder().decode(data.decode(encoding_of(data)))
    except (ValueError, RecursionError) as error:
        raise _not_json(path, error) from None


def parse(text: str) -> Any:
    """Reads a text as JSON.

    Raises:
        ValueError: It is not strict JSON.
    """
    try:
        return _decoder().decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def entries(path: Path, arrays: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Reads a JSON object piece by piece, so that memory does not grow with the file.

    Args:
        path: The file.
        arrays: Keys at the top whose arrays are read entry by entry.

    Yields:
        (key, value) for each key at the top; (key, entry) for each entry of the arrays.

    Raises:
        DataError: The file cannot be read, is no object at the top, or not strict JSON.
    """
    try:
        with open(path, "rb") as file:
            encoding = encoding_of(file.read(4))
        with open(path, encoding=encoding, newline="") as file:
            yield from _Pieces(file).entries(arrays)
    except (ValueError, RecursionError) as error:
        raise _not_json(path, error) from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Check the path and its permissions.",
            kind="unreadable",
            file=path,
        ) from None


def encoding_of(data: bytes) -> str:
    """Returns the encoding of a text by its byte order mark; UTF-8 without one."""
    return next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")


def beginning_and_end(path: Path, length: int) -> str:
    """Returns the first and last bytes of a text, for a look at it; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(length)
            mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
            rest = os.fstat(file.fileno()).st_size - length
            file.seek(max(length, rest // 4 * 4))  # At the start of a character.
            end = file.read(length) if rest > 0 else b""
    except OSError:
        return ""
    parts = [data, mark + end] if end else [data]
    return "\n".join(part.decode(encoding_of(part), errors="replace") for part in parts)


class _Pieces:
    """The text of a file, of which only the part from `at` on is kept."""

    def __init__(self, file: Any) -> None:
        self.file, self.text, self.at, self.passed = file, "", 0, 0
        self.decoder = _decoder()

    def entries(self, arrays: frozenset[str]) -> Iterator[tuple[str, Any]]:
        """Yields the entries of the object at the top."""
        self.expect("{", "an object, which begins with {,")
        seen: set[str] = set()
        while self.next_of("}", first=not seen):
            key = self.value()
            if not isinstance(key, str):
                raise self.error("expected a key in quotes")
            if key in seen:
                raise self.error(f"the key {key[:100]!r} appears twice")
            seen.add(key)
            self.expect(":", "a colon")
            if key in arrays and self.peek() == "[":
                self.expect("[", "[")
                first = True
                while self.next_of("]", first=first):
                    first = False
                    yield key, self.value()
            else:
                yield key, self.value()
        if self.peek():
            raise self.error("there is text after the end of the object")

    def peek(self) -> str:
        """Returns the next character that is no space; "" at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in SPACE:
                self.at += 1
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def expect(self, character: str, what: str) -> None:
        """Skips one character, which must come next."""
        if self.peek() != character:
            raise self.error(f"expected {what}")
        self.at += 1

    def next_of(self, end: str, *, first: bool) -> bool:
        """Skips a comma, or the end; returns whether a further entry follows."""
        if self.peek() == end:
            self.at += 1
            return False
        if not first:
            self.expect(",", f"a comma or {end}")
        return True

    def value(self) -> Any:
        """Reads one value."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if not self.more():
                    raise self.error(error.msg, error.pos) from None
                continue
            # A number may go on in the text that is not read yet.
            if end < len(self.text) or not self.more():
                self.at = end
                return value

    def more(self) -> bool:
        """Reads on; returns whether there was more."""
        self.passed += self.at
        self.text, self.at = self.text[self.at :], 0
        # Twice as much each time, so that a long value is not parsed again and again.
        piece = self.file.read(max(WINDOW, len(self.text)))
        self.text += piece
        return bool(piece)

    def error(self, reason: str, at: int | None = None) -> ValueError:
        """Builds the error for the text at a position."""
        return ValueError(f"{reason} at character {self.passed + (self.at if at is None else at)}")


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:100]!r} appears twice in one object")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _not_json(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:500]
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        reason = "it is not UTF-8, or UTF-16 with a byte order mark. Save it as UTF-8"
    return DataError(
        f"{path}: not readable as JSON: {reason}. Export it again, or correct it.",
        kind="not JSON",
        file=path,
    )
