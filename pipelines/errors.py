"""The error for data that cannot be used; its text names file, rule, value found and fix."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

SHOWN = 20  # Faults in one message.


class DataError(ValueError):
    """A file or folder of the user's data that breaks a rule.

    In its text, characters that no terminal shows are escaped; files' names may hold any.

    Attributes:
        kind: a short name for faults of this sort, by which they are grouped.
        file: the file or folder it is about, or None.
        value: what was found there, or None.
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
        """An error whose text is `message`."""
        name = str(file)
        super().__init__(_shown(message.replace(name, _shown(name, "")), "\n"))
        self.kind, self.file, self.value, self.position = kind, file, value, position

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON can hold it; `DataError(**error.to_dict())` is one like it."""
        return {
            "message": str(self),
            "kind": self.kind,
            "file": None if self.file is None else str(self.file),
            "value": self.value,
            "position": self.position,
        }


def _shown(text: str, kept: str) -> str:
    """A text with everything escaped that is not printable, but for the characters `kept`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text)


def raise_all(faults: Iterable[DataError]) -> None:
    """Raises one `DataError` with a line for each fault, if there are any."""
    faults = tuple(faults)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise DataError("\n".join([*map(str, faults[:SHOWN]), *more]))


def grouped(errors: Sequence[DataError]) -> dict[str, list[DataError]]:
    """Errors by kind, the most frequent kind first: a dict of lists."""
    order = Counter(error.kind for error in errors)
    return {kind: [e for e in errors if e.kind == kind] for kind, _ in order.most_common()}


def as_lines(errors: Sequence[DataError]) -> list[str]:
    """Errors as lines for a person: those of files one line a kind, others a line each."""
    of_files = grouped([error for error in errors if error.file is not None])
    lines = []
    for alike in of_files.values():
        more = f" ({len(alike)} files like this)" if len(alike) > 1 else ""
        lines.append(f"{alike[0]}{more}")
    return lines + [str(error) for error in errors if error.file is None]
