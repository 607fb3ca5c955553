"""Reads XML files strictly and piece by piece: no DTDs or entities, limits on size and depth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from pipelines.errors import DataError

MAX_BYTES = 2_000_000_000
MAX_DEPTH = 50


def children(path: Path, root: str) -> Iterator[Element]:
    """Reads the children of the root element one after another; only one is kept in memory.

    Args:
        path: The file: UTF-8, or another encoding that it declares.
        root: The tag of the root element.

    Raises:
        DataError: The file cannot be read, is too large or too deep, is not XML, has a DTD or
            entities, or has another root.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
            yield from _children(file, root)
    except DefusedXmlException:
        raise _not_xml(path, "it has a DTD or entities, which can be harmful") from None
    except (ParseError, ValueError, LookupError) as error:
        raise _not_xml(path, str(error)) from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Check the path and its permissions.",
            kind="unreadable",
            file=path,
        ) from None


def _children(file: Any, root: str) -> Iterator[Element]:
    open_elements: list[Element] = []
    for event, element in iterparse(file, events=("start", "end"), forbid_dtd=True):
        if event == "start":
            open_elements.append(element)
            if len(open_elements) > MAX_DEPTH:
                raise ValueError("it is nested too deeply")
            if open_elements[0].tag != root:
                raise ValueError(f"its root is <{element.tag:.100}>, not <{root}>")
        else:
            open_elements.pop()
            if len(open_elements) == 1:
                yield element
                open_elements[0].clear()


def _not_xml(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: not readable as XML: {reason}. Export it again, or correct it.",
        kind="not XML",
        file=path,
    )
