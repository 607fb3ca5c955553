"""Reads the lists of examples that data sets come with, and checks the files that they name.

Nothing outside a data set's folder is read, whatever a list or a link in the folder says.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.errors import DataError
from pipelines.files.opening import read_content
from pipelines.split import Example

Listed = tuple[tuple[Example, ...], tuple[DataError, ...]]  # Usable examples, and faults.


def data_root(name: str, data_dir: str | Path | None, where: str) -> Path:
    """Returns the folder that the user gives for a data set.

    Args:
        name: Name of the data set.
        data_dir: The folder, or None.
        where: What to download, from where, and where to put it, for messages.

    Returns:
        A `Path`.

    Raises:
        DataError: No folder is given, or it does not exist.
    """
    if data_dir is None:
        raise DataError(f"data_dir (--data-dir): required for {name}. {where}")
    if not os.path.isdir(data_dir):  # Path.is_dir() raises an error for names that are too long.
        raise DataError(f"data_dir={str(data_dir)!r}: no such folder. {where}")
    return Path(data_dir)


def read_lines(path: str | Path) -> list[str]:
    """Reads the non-empty lines of a text file, without surrounding whitespace.

    Args:
        path: A UTF-8 text file with the line ends of any system.

    Raises:
        DataError: The file cannot be read, is not UTF-8, has a zero byte, or has no such lines.
    """
    try:
        text = read_content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a UTF-8 text file (byte {error.start}). Save it as UTF-8.", file=path
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path}: not a text file: line {line} has a zero byte. Save it as UTF-8.", file=path
        )
    lines = lines_of(text)
    if not lines:
        raise DataError(
            f"{path}: the split is empty. Name one example per line.",
            kind="empty split",
            file=path,
        )
    return lines


def lines_of(text: str) -> list[str]:
    """Returns the non-empty lines of a text, without surrounding whitespace."""
    # Not splitlines(): names may contain characters that Unicode treats as line ends.
    lines = (line.strip() for line in text.replace("\r", "\n").split("\n"))
    return [line for line in lines if line]


def existing(examples: Iterable[Example], root: Path, listing: Path, where: str = "") -> Listed:
    """Separates listed examples into those whose files exist, and faults.

    Args:
        examples: `Example`s with paths.
        root: The folder that must contain all files, after resolving links.
        listing: Path of the list, for messages.
        where: Where to get the data set, for messages.

    Returns:
        A tuple of `Example`s and a tuple of `DataError`s.

    Raises:
        DataError: Files are missing, and no listed example has all its files.
    """
    good, faults, seen = [], [], set()
    for example in examples:
        both = (_fault(Path(str(path)), root, listing) for path in (example.image, example.mask))
        found = [fault for fault in both if fault]
        if example.id in seen:
            found.append(
                DataError(
                    f"{listing}: lists {example.id!r} twice. Remove one line.",
                    kind="listed twice",
                    file=listing,
                    value=example.id,
                )
            )
        seen.add(example.id)
        faults += found
        if not found:
            good.append(example)
    missing = [fault.file for fault in faults if fault.kind == "missing file"]
    if missing and not good:
        raise DataError(
            f"{listing}: no listed example has all its files; the first missing file is "
            f"{missing[0]}. {where}".rstrip(),
            kind="missing file",
            file=listing,
        )
    return tuple(good), tuple(faults)


def paired(
    images: Mapping[str, Path], masks: Mapping[str, Path], root: Path, where: str = ""
) -> Listed:
    """Pairs the images and masks of folders without a list, and collects faults.

    Args:
        images: The path of each image, by the part of the name that it shares with its mask.
        masks: The same for the masks.
        root: The folder that must contain all files, after resolving links.
        where: Where to get the data set, for messages.

    Returns:
        A tuple of `Example`s sorted by name, and a tuple of `DataError`s.

    Raises:
        DataError: There is no pair.
    """
    pairs = [Example(name, images[name], masks[name]) for name in sorted(images.keys() & masks)]
    if not pairs:
        raise DataError(
            f"{root}: found {len(images)} images and {len(masks)} masks of the split, but no pair. "
            f"{where}".rstrip(),
            kind="missing file",
            file=root,
        )
    unpaired = [
        DataError(
            f"{images.get(name) or masks[name]}: has no {'mask' if name in images else 'image'}. "
            "Add it, or remove this file.",
            kind="unpaired",
            file=images.get(name) or masks[name],
        )
        for name in sorted(images.keys() ^ masks)
    ]
    examples, faults = existing(pairs, root, root, where)
    return examples, (*unpaired, *faults)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is inside a folder after resolving links, even circular ones."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _fault(path: Path, root: Path, listing: Path) -> DataError | None:
    """Returns the fault of a listed path, or None."""
    if not is_inside(path, root):
        return DataError(
            f"{listing}: lists {path}, which is outside {root}. Copy the file into the data "
            "set's folder.",
            kind="outside the folder",
            file=path,
        )
    if not os.path.isfile(path):
        return DataError(
            f"{listing}: lists {path}, which is missing.", kind="missing file", file=path
        )
    return None
