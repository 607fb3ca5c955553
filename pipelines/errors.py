"""The error for unusable data; its message names the file, the rule, the value and the fix."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

SHOWN = 20  # Faults listed in one message.


class DataError(ValueError):
    """A file or folder of the user's data that breaks a rule.

    Non-printable characters in the message are escaped, because file names may contain them.

    Attributes:
        kind: A short name for this kind of fault, used for grouping.
        file: The file or folder with the fault, or None.
        value: The value found, or None.
        position: (row, column) of the first such pixel, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "data set",
        file: object = None,
        value: object = None,
        position: tuple[int, int] | None = None,
    ) -> None:
        """Creates an error with the text `message`."""
        name = str(file)
        super().__init__(_shown(message.replace(name, _shown(name, "")), "\n"))
        self.kind, self.file, self.value, self.position = kind, file, value, position

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-compatible dict; `DataError(**error.to_dict())` restores the error."""
        return {
            "message": str(self),
            "kind": self.kind,
            "file": None if self.file is None else str(self.file),
            "value": self.value,
            "position": self.position,
        }


def _shown(text: str, kept: str) -> str:
    """Escapes the non-printable characters of a text, except those in `kept`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text)


def quoted(path: object) -> str:
    """Quotes a path for the shell, so that a leading dash is not read as an option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def raise_all(faults: Iterable[DataError]) -> None:
    """Raises one `DataError` with one line per fault, if there are any."""
    faults = tuple(faults)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise DataError("\n".join([*map(str, faults[:SHOWN]), *more]))


def grouped(errors: Sequence[DataError]) -> dict[str, list[DataError]]:
    """Groups errors by kind into a dict of lists, the most frequent kind first."""
    order = Counter(error.kind for error in errors)
    return {kind: [e for e in errors if e.kind == kind] for kind, _ in order.most_common()}


def as_lines(errors: Sequence[DataError]) -> list[str]:
    """Formats errors for display: one line per kind for errors in files, one per other error."""
    of_files = grouped([error for error in errors if error.file is not None])
    lines = []
    for alike in of_files.values():
        more = f" ({len(alike)} files like this)" if len(alike) > 1 else ""
        lines.append(f"{alike[0]}{more}")
    return lines + [str(error) for error in errors if error.file is None]
