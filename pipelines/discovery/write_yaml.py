"""Writes the YAML file for folders of images and masks, from the content of the masks.

All masks are read, and the classes are inferred from them.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.discovery.class_lines import Unclear
from pipelines.discovery.class_names import BACKGROUND, VOID_NAMES, matching, tables
from pipelines.discovery.folders import Layout, existing_folder
from pipelines.discovery.mask_values import Contents, Key, listed, read_contents
from pipelines.discovery.yaml_text import MaskValue, is_utf8, yaml_text
from pipelines.errors import DataError
from pipelines.split import IGNORE

MAX_NAME = 255  # Bytes of a file's name, on all usual systems.


@dataclass(frozen=True)
class YamlFile:
    """The YAML file's text, and what it describes.

    Attributes:
        text: The file's content.
        classes: The classes in the order of their ids.
        ignored: The ignored values or colours.
        train_images: Number of training images.
        faults: `DataError`s of masks that could not be read.
        notes: Further notes for the user.
    """

    text: str
    classes: tuple[MaskValue, ...]
    ignored: tuple[MaskValue, ...]
    train_images: int
    faults: tuple[DataError, ...]
    notes: tuple[str, ...]


def destination(root: str | Path, out: str | Path | None = None) -> Path:
    """Returns the path of a folder's YAML file: `out`, or NAME.yaml in the current directory.

    Raises:
        DataError: The file exists already, has another extension, or would be in the user's folder.
    """
    root = existing_folder(root)
    if out is None:
        name = root.resolve().name
        out = f"{name if name and is_utf8(name) else 'data'}.yaml"
    out = Path(out)
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(f"--out {out}: the file name must end in .yaml.")
    if os.path.lexists(out):
        raise DataError(f"{out}: exists already. Remove it, or choose another name with --out.")
    if out.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{out}: is in {root}, where nothing is written. Choose another folder with --out, "
            f"such as --out ../{out.name}."
        )
    if not os.path.isdir(out.parent):
        raise DataError(f"--out {out}: the folder {out.parent} does not exist. Create it first.")
    if not is_utf8(out.name):
        raise DataError(f"--out {out}: this name is not UTF-8. Choose another name.")
    if len(os.fsencode(out.name)) > MAX_NAME:
        raise DataError(
            f"{out}: this name is too long for a file. Choose a shorter one with --out."
        )
    return out


def describe(
    layout: Layout,
    out: Path,
    progress: Callable[[], object] | None = None,
    threshold: int | None = None,
) -> YamlFile:
    """Reads all masks and composes the YAML file's text; writes nothing.

    Args:
        layout: The result of `pipelines.discovery.folders.find`.
        out: Path of the file, since the paths in it are relative to it.
        progress: Called without arguments after each mask, or None.
        threshold: `mask_threshold` of the YAML file, for black-and-white masks in JPEG files.

    Returns:
        A `YamlFile`.

    Raises:
        DataError: No mask can be read, or the masks do not hold classes.
    """
    held = read_contents(layout, progress, threshold)
    keys = sorted(held.pixels)
    void = _void(keys)
    notes = list(layout.notes)
    names, table = _names(layout, [key for key in keys if key not in void], held, notes)
    ground = 0 if keys == [0, 255] else held.pixels.most_common(1)[0][0]
    classes: list[MaskValue] = []
    ignored: list[MaskValue] = []
    for key in _black_first([key for key in names or keys if key not in void]):
        name, note = f"class_{len(classes)}", "  <- its name?"
        if names or (key == ground and key in (0, (0, 0, 0))):
            name, note = names[key] if names else "background", ""
        colour = key if isinstance(key, tuple) else held.palette.get(key)
        entry = MaskValue(name, key, colour, held.pixels[key], held.masks[key], note)
        (ignored if name.lower() in VOID_NAMES else classes).append(entry)
    ignored += [
        MaskValue("", key, None, held.pixels[key], held.masks[key], "")
        for key in void
        if key not in (names or {})
    ]
    if len(classes) < 2:
        raise DataError(
            f"{layout.root}: the masks hold only {listed(held.pixels)}: at least two classes are "
            "needed.",
            kind="one class",
            file=layout.root,
        )
    notes += _on_files(layout)
    if held.own_orders:
        notes.append(
            "the masks' palettes differ in their order: colours are the classes, not values"
        )
    if table:
        notes.append(f"class names are from {table}")
    text = yaml_text(layout, out, classes, ignored, held, notes)
    train = sum(len(part.pairs) for part in layout.parts["train"])
    return YamlFile(text, tuple(classes), tuple(ignored), train, held.faults, tuple(notes))


def _void(keys: Sequence[Key]) -> list[Key]:
    """Returns [255] if it is void: with several small values. Otherwise 255 is a class."""
    others = [key for key in keys if isinstance(key, int) and key != IGNORE]
    if IGNORE not in keys or len(others) < 2 or others[-1] >= 2 * len(others) + 10:
        return []
    return [IGNORE]


def _names(
    layout: Layout, keys: Sequence[Key], held: Contents, notes: list[str]
) -> tuple[dict[Key, str], Path] | tuple[None, None]:
    """Returns `{key: name}` from a file in the folder, and that file; None if there is none.

    What the user should know about files of class names is added to the list `notes`.
    """
    best: tuple[dict[Key, str], Path] | tuple[None, None] = None, None
    folders = {mask.parent for mask in layout.masks}
    for file, entries in tables(layout.texts, folders):
        try:
            if isinstance(entries, Unclear):
                raise entries
            names = matching(entries, keys, held.palette)
        except Unclear as error:
            notes.append(f"{file} {error}; its names are not used")
            continue
        if names is None:
            notes.append(
                f"{file} names {len(entries)} classes, which do not match the {len(keys)} in the "
                "masks; its names are not used"
            )
        elif best[0] is None:
            best = names, file
            if BACKGROUND in set(names.values()) - {entry.name for entry in entries}:
                notes.append(f"{file} does not name {next(iter(names))}, so it is {BACKGROUND}")
            present = {name for key, name in names.items() if held.masks[key]}
            if absent := [entry.name for entry in entries if entry.name not in present]:
                notes.append(f"in no mask: {', '.join(absent)}, which {file} names")
        elif names != best[0]:
            notes.append(f"{file} has other names, which are not used")
    return best


def _on_files(layout: Layout) -> Iterator[str]:
    """Yields notes on files that `data check` will report."""
    for split, parts in layout.parts.items():
        unpaired = sum(part.unpaired for part in parts)
        if unpaired:
            yield (
                f"{split}: images or masks without a partner: {unpaired}; they are errors until "
                "you remove them or give a `list` of the images to use"
            )
    if layout.links:
        yield (
            f"links out of their folders: {layout.links}; they are errors unless you set "
            "`follow_links: true`"
        )


def _black_first(keys: Iterable[Key]) -> list[Key]:
    # Some programs store an all-black mask with one channel: its value 0 must be black's class id.
    return sorted(keys, key=lambda key: key != (0, 0, 0))
