"""Reads the labels of CVAT's XML: names and colours, at the beginning of the file."""

from pathlib import Path
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from pipelines.discovery.class_lines import ClassName, Unclear, entry_of

MAX_LABELS = 1000


def of_cvat_xml(path: Path) -> list[ClassName]:
    """Reads the labels of an `annotations.xml`; the images after them are not read.

    Raises:
        Unclear: The file is not XML.
        ValueError: It has no labels.
    """
    found: dict[str, ClassName] = {}
    try:
        with path.open("rb") as file:
            for _, element in iterparse(file):
                if element.tag == "label" and (name := element.findtext("name")):
                    if not element.findtext("parent"):  # That of a part of a skeleton has one.
                        found.setdefault(name, entry_of(name, None, element.findtext("color")))
                if element.tag in ("meta", "image", "track") or len(found) > MAX_LABELS:
                    break
    except (ParseError, DefusedXmlException) as error:
        raise Unclear(f"is not plain XML ({error}). Export it again") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if len(found) < 2:
        raise ValueError("no classes")
    return list(found.values())
