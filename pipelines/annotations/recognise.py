"""Tells the format of a source by its content."""

from pathlib import Path

from pipelines.annotations.formats import FORMATS, PICTURES
from pipelines.annotations.listing import Listing
from pipelines.annotations.unreadable import unreadable
from pipelines.errors import DataError, raise_all


def evidence(listing: Listing) -> dict[str, str]:
    """Returns the formats that a folder holds, each with the evidence in words."""
    found = {name: module.is_found(listing) for name, module in FORMATS.items()}
    found = {name: why for name, why in found.items() if why}
    others = {name: why for name, why in found.items() if name not in PICTURES}
    pictures = [(name, found[name]) for name in PICTURES if name in found]
    return others or dict(pictures[:1])


def recognise(listing: Listing, source: Path) -> tuple[str, str]:
    """Returns the format of a source and the evidence.

    Args:
        listing: Its files.
        source: The source as the user gives it, for messages.

    Raises:
        DataError: There is no known format, or several.
    """
    found = evidence(listing)
    if len(found) == 1:
        return next(iter(found.items()))
    if not found:
        raise_all(unreadable(listing))
        raise DataError(
            f"{source}: holds no annotations in a known format ({', '.join(FORMATS)}). Give the "
            "folder that the labelling tool exported. For a folder of images and masks, run "
            "`fcn-keras data init`.",
            kind="unknown format",
            file=source,
        )
    reasons = "; ".join(f"{name}: {why}" for name, why in found.items())
    raise DataError(
        f"{source}: holds annotations in several formats. {reasons}. Choose one with --format "
        f"{next(iter(found))}, or give the folder of one.",
        kind="several formats",
        file=source,
        value=sorted(found),
    )
