"""Reads Label Studio's label config, an XML file that names labels, their colours and images."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from pipelines.annotations.annotated import Colour
from pipelines.annotations.colours import colour_of
from pipelines.annotations.listing import Listing
from pipelines.errors import DataError
from pipelines.files.opening import read_content

MAX_BYTES = 1_000_000
AREAS = {"PolygonLabels", "BrushLabels", "BitmaskLabels", "EllipseLabels", "Labels"}
OTHERS = {"RectangleLabels", "KeyPointLabels"}


@dataclass
class Config:
    """The labels of a config in its order.

    Attributes:
        areas: Labels of polygons, brushes and ellipses.
        others: Labels of boxes and keypoints, as far as they are not among those.
        colours: The colours of the labels.
        images: The key of a task's `data` for each image of the config.
    """

    areas: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    colours: dict[str, Colour] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)


def read_config(listing: Listing) -> Config:
    """Reads the first label config of a folder; empty if there is none."""
    for name, text in listing.beginnings(".xml"):
        if "<View" in text and "toName" in text:
            try:
                root = fromstring(read_content(listing.root / name, MAX_BYTES), forbid_dtd=True)
            except (DataError, DefusedXmlException, ParseError, ValueError, LookupError):
                continue
            return _config(root)
    return Config()


def _config(root: Element) -> Config:
    config = Config()
    for control, label in _labels(root, ""):
        name = label.get("alias") or label.get("value")
        listed = config.areas if control in AREAS else config.others
        if name and name not in config.areas + config.others:
            listed.append(name)
        if name and (colour := colour_of(label.get("background"))):
            config.colours.setdefault(name, colour)
    for image in root.iter("Image"):
        key = (image.get("value") or "").removeprefix("$")
        if key and (name := image.get("name")):
            config.images[name] = key
    return config


def _labels(element: Element, control: str) -> Iterator[tuple[str, Element]]:
    """Yields (control, label) of all labels below an element; both may lie in other elements."""
    control = element.tag if element.tag in AREAS | OTHERS else control
    if element.tag == "Label" and control:
        yield control, element
    for child in element:
        yield from _labels(child, control)
