"""Lists that name an image and its mask in each line, with a tab between them.

They are for images and masks whose names differ, as `pipelines.annotations` writes them.
"""

import os
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from pipelines.datasets.lists import is_inside, read_lines
from pipelines.errors import DataError
from pipelines.split import Example

_SHORT = reprlib.Repr()  # Of lines: a file that is no list may have long ones.
_SHORT.maxstring = 300


def read_pairs(listing: Path) -> list[tuple[str, str]]:
    """Reads a list whose lines are the path of an image, a tab, and that of its mask.

    Returns:
        (image, mask) of each line; empty if it is a list of images only.

    Raises:
        DataError: The list cannot be read, or some lines have a tab and others have none.
    """
    lines = read_lines(listing)
    tabs = [line.count("\t") for line in lines]
    if not any(tabs):
        return []
    if wrong := [line for line, count in zip(lines, tabs, strict=True) if count != 1]:
        raise DataError(
            f"{listing}: the line {_SHORT.repr(wrong[0])} must be an image, one tab and its mask, "
            "as other lines are.",
            file=listing,
        )
    return [(image.strip(), mask.strip()) for image, mask in (line.split("\t") for line in lines)]


def listed_pairs(
    listing: Path,
    lines: Iterable[tuple[str, str]],
    image_folder: Path,
    mask_folder: Path,
    follow_links: bool,
) -> Iterator[tuple[str, Example | DataError]]:
    """Pairs what the lines of a list name.

    Args:
        listing: The list, for messages.
        lines: (image, mask) of each line, relative to the two folders.
        image_folder: The folder that must hold the images.
        mask_folder: The folder that must hold the masks.
        follow_links: Whether links may lead out of the folders.

    Yields:
        (name, `Example`) for each line, (name, `DataError`) for each fault. The name is the path of
        the mask without its ending.
    """
    seen = set()
    for image, mask in lines:
        name = str(PurePosixPath(mask).with_suffix(""))
        if mask in seen:
            yield (
                name,
                DataError(
                    f"{listing}: lists the mask {_SHORT.repr(mask)} twice. Remove one line.",
                    kind="listed twice",
                    file=listing,
                    value=mask,
                ),
            )
            continue
        seen.add(mask)
        faults = [
            fault
            for line, folder in ((image, image_folder), (mask, mask_folder))
            if (fault := _fault_of_line(listing, line, folder, follow_links))
        ]
        for fault in faults:
            yield name, fault
        if not faults:
            yield name, Example(name, image_folder / image, mask_folder / mask)


def _fault_of_line(listing: Path, line: str, folder: Path, follow_links: bool) -> DataError | None:
    """Returns the fault of a path in a list of pairs."""
    text = f"{listing}: lists {_SHORT.repr(line)}"
    if not line or os.path.isabs(line) or ".." in PurePosixPath(line).parts:
        text += f", but a path in {folder}, without `..` or a leading slash, must be there."
    elif not follow_links and not is_inside(folder / line, folder):
        text += (
            f", but a link leads out of {folder} there. Copy the file there, or permit links with "
            "`follow_links: true`."
        )
    elif not os.path.isfile(folder / line):
        return DataError(
            f"{text}, but {folder} has no such file.",
            kind="missing file",
            file=listing,
            value=line,
        )
    else:
        return None
    return DataError(text, kind="outside the folder", file=listing, value=line)
