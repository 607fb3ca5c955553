"""Chooses the attribute of VIA's regions that holds the class, and reads its values."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import DataError

OBJECT = "object"  # The class of regions without attributes.
RARE = 20  # A class is rare beside one that has this many times more regions.
SIMILAR = 0.8  # Of difflib's ratio, from 0 to 1.


class ClassReader:
    """Reads the class of a region: the value of the chosen attribute.

    Attributes:
        attribute: The attribute; None if no region has one, so that all are `OBJECT`.
    """

    def __init__(self, attribute: str | None, options: Mapping[str, str]) -> None:
        """Takes the attribute and its options: their ids and descriptions.

        Descriptions are the names of the classes if each option has its own.
        """
        self.attribute = attribute
        is_described = all(options.values()) and len(set(options.values())) == len(options)
        self._names = dict(options) if is_described else {key: key for key in options}

    def read(self, attributes: Mapping[str, Any]) -> str:
        """Returns the class of a region.

        Raises:
            ValueError: It has none, or several; the message says so.
        """
        if self.attribute is None:
            return OBJECT
        values = values_of(attributes.get(self.attribute))
        if len(values) != 1:
            amount = "several values" if values else "no value"
            raise ValueError(f"region with {amount} for {self.attribute!r:.100}")
        return self._names.get(values[0], values[0])

    def order(self, found: Iterable[str]) -> list[str]:
        """Returns the classes: the options in their order, then others that were found, sorted."""
        return list(dict.fromkeys([*self._names.values(), *sorted(found)]))


def values_of(value: Any) -> list[str]:
    """Returns the values of an attribute: one, or those that are ticked; none if it is empty."""
    if isinstance(value, dict):  # Checkboxes.
        return [key for key, is_ticked in value.items() if is_ticked and key.strip()]
    if isinstance(value, list):
        return [text for one in value for text in values_of(one)]
    text = "" if value is None else str(value)
    return [text] if text.strip() else []


def choose_attribute(
    regions: Iterable[Mapping[str, Any]], given: str | None, source: Path
) -> str | None:
    """Returns the attribute that holds the class; None if no region has a value of any.

    Args:
        regions: The attributes of each region.
        given: The user's choice.
        source: The source, for messages.

    Raises:
        DataError: There are several, or not the one that is given.
    """
    counts: Counter[str] = Counter()
    for attributes in regions:
        counts.update(name for name, value in attributes.items() if values_of(value))
    listed = ", ".join(f"{name!r} (regions: {count:,})" for name, count in counts.most_common(10))
    if given is not None:
        if given in counts:
            return given
        raise DataError(
            f"--attribute {given}: no region of {source} has a value for it. "
            + (f"There are: {listed}." if counts else "No region has an attribute with a value."),
            kind="unknown attribute",
            file=source,
            value=given,
        )
    if len(counts) > 1:
        raise DataError(
            f"{source}: the regions have several attributes: {listed}. Say which one holds the "
            f'class, for example --attribute "{counts.most_common(1)[0][0]}".',
            kind="several attributes",
            file=source,
            value=sorted(counts),
        )
    return next(iter(counts), None)


def rare_names(counts: Mapping[str, int]) -> list[str]:
    """Returns notes on rare classes whose names are like those of frequent ones."""
    notes = []
    for name, count in counts.items():
        often = [n for n in counts if counts[n] >= RARE * count and _letters(n) != _letters(name)]
        for close in difflib.get_close_matches(name, often, 1, SIMILAR):
            notes.append(
                f"the class {name!r} is rare ({count:,}, but {counts[close]:,} of {close!r}): if "
                f'that is a typing error, join them with --merge "{name}={close}"'
            )
    return notes


def _letters(name: str) -> str:
    """Names that differ only by their digits are no typing errors."""
    return "".join(character for character in name if not character.isdigit())
