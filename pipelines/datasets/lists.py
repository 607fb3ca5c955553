"""Lists of examples, as data sets come with them, and the files that they name.

Nothing outside a data set's folder is read, whatever a list or a link in the folder says.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.errors import DataError
from pipelines.split import Example

Listed = tuple[tuple[Example, ...], tuple[DataError, ...]]  # What can be used, and faults.


def data_root(name: str, data_dir: str | Path | None, where: str) -> Path:
    """The folder that a user gives for a data set.

    Args:
        name: of the data set.
        data_dir: the folder, or None.
        where: what to download, from whom, and where to put it.

    Returns:
        A `Path`.

    Raises:
        DataError: no folder is given, or it is not there.
    """
    if data_dir is None:
        raise DataError(f"data_dir (--data-dir): is needed for {name}. {where}")
    if not Path(data_dir).is_dir():
        raise DataError(f"data_dir={str(data_dir)!r}: no such folder. {where}")
    return Path(data_dir)


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file that hold something, without the blanks around.

    Args:
        path: a UTF-8 text file with line ends of any system.

    Raises:
        DataError: it cannot be read, is not UTF-8, or holds nothing.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a UTF-8 text file (byte {error.start}). Save it as UTF-8.", file=path
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).", file=path) from None
    # Not splitlines(): a name may hold what Unicode counts as a line end.
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    lines = [line for line in lines if line]
    if not lines:
        raise DataError(f"{path}: the split is empty.", kind="empty split", file=path)
    return lines


def existing(examples: Iterable[Example], root: Path, listing: Path, where: str = "") -> Listed:
    """Sorts the examples that a list names into those whose files are there, and faults.

    Args:
        examples: `Example`s with paths.
        root: the folder that all files must lie in, links followed.
        listing: the list's path, for messages.
        where: what to say to a user who lacks the data set.

    Returns:
        A tuple of `Example`s and a tuple of `DataError`s.

    Raises:
        DataError: no listed file is there.
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
            f"{listing}: no example that it lists has all its files; the first that is missing is "
            f"{missing[0]}. {where}".rstrip(),
            kind="missing file",
            file=listing,
        )
    return tuple(good), tuple(faults)


def paired(
    images: Mapping[str, Path], masks: Mapping[str, Path], root: Path, where: str = ""
) -> Listed:
    """Sorts the images and masks of folders without a list into examples, and faults.

    Args:
        images: the path of each image, by what its name shares with its mask's.
        masks: the same of the masks.
        root: the folder that all files must lie in, links followed.
        where: what to say to a user who lacks the data set.

    Returns:
        A tuple of `Example`s in the order of their names, and a tuple of `DataError`s.

    Raises:
        DataError: there is no pair.
    """
    pairs = [Example(name, images[name], masks[name]) for name in sorted(images.keys() & masks)]
    if not pairs:
        raise DataError(
            f"{root}: {len(images)} images and {len(masks)} masks of the split are there, and no "
            f"pair. {where}".rstrip(),
            kind="missing file",
            file=root,
        )
    lonely = [
        DataError(
            f"{images.get(name) or masks[name]}: has no {'mask' if name in images else 'image'}. "
            "Add it, or remove this file.",
            kind="not a pair",
            file=images.get(name) or masks[name],
        )
        for name in sorted(images.keys() ^ masks)
    ]
    examples, faults = existing(pairs, root, root, where)
    return examples, (*lonely, *faults)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path leads to somewhere in a folder, links followed; also links in a circle."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _fault(path: Path, root: Path, listing: Path) -> DataError | None:
    """What is wrong with a listed path, or None."""
    if not is_inside(path, root):
        return DataError(
            f"{listing}: lists {path}, which lies outside {root}. Copy the file into the data "
            "set's folder.",
            kind="outside the folder",
            file=path,
        )
    if not path.is_file():
        return DataError(
            f"{listing}: lists {path}, which is missing.", kind="missing file", file=path
        )
    return None
