"""Writes the YAML file for folders of images and masks, from the content of the masks.

All masks are read. The file is inferred from the data: its comments give the reasons and say what
to check.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.datasets.yaml_folders import in_val
from pipelines.discovery.class_names import VOID_NAMES, matching, tables
from pipelines.discovery.folders import Layout
from pipelines.discovery.mask_values import Contents, Key, listed, read_contents
from pipelines.errors import DataError
from pipelines.split import IGNORE

SHARES = (0.2, 0.25, 1 / 3, 0.4, 0.5, 0.6, 0.75, 0.9)  # For val; the first with images in both.


@dataclass(frozen=True)
class MaskValue:
    """A value or colour of the masks, and its interpretation.

    Attributes:
        name: Name of the class or of the ignored label; "" if it has no name.
        key: The value, or the colour (r, g, b).
        colour: The colour declared for the class, or None.
        pixels: Number of pixels in all masks.
        masks: Number of masks that have it.
        note: A remark for the YAML file.
    """

    name: str
    key: Key
    colour: tuple[int, int, int] | None
    pixels: int
    masks: int
    note: str


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
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder.")
    out = Path(f"{root.resolve().name or 'data'}.yaml") if out is None else Path(out)
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(f"--out {out}: the file name must end in .yaml.")
    if out.exists():
        raise DataError(f"{out}: exists already. Remove it, or choose another name with --out.")
    if out.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{out}: is in {root}, where nothing is written. Choose another folder with --out, "
            f"such as --out ../{out.name}."
        )
    if not out.resolve().parent.is_dir():
        raise DataError(f"--out {out}: the folder {out.parent} does not exist. Create it first.")
    return out


def describe(layout: Layout, out: Path, progress: Callable[[], object] | None = None) -> YamlFile:
    """Reads all masks and composes the YAML file's text; writes nothing.

    Args:
        layout: The result of `pipelines.discovery.folders.find`.
        out: Path of the file, since the paths in it are relative to it.
        progress: Called without arguments after each mask, or None.

    Returns:
        A `YamlFile`.

    Raises:
        DataError: No mask can be read, or the masks do not hold classes.
    """
    held = read_contents(layout, progress)
    keys = sorted(held.pixels)
    void = _void(keys)
    notes = list(layout.notes)
    names, table = _names(layout, [key for key in keys if key not in void], notes)
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
    ignored += [MaskValue("", key, None, held.pixels[key], held.masks[key], "") for key in void]
    if len(classes) < 2:
        raise DataError(
            f"{layout.root}: the masks hold only {listed(held.pixels)}: at least two classes are "
            "needed.",
            kind="one class",
            file=layout.root,
        )
    notes += [
        f"{split}: images or masks without a partner: {part.unpaired}; they are errors until you "
        "remove them or give a `list` of the images to use"
        for split, part in layout.parts.items()
        if part.unpaired
    ]
    if table:
        notes.append(f"class names are from {table}")
    text = _yaml(layout, out, classes, ignored, held, notes)
    train = layout.parts["train"].pairs
    return YamlFile(text, tuple(classes), tuple(ignored), len(train), held.faults, tuple(notes))


def _void(keys: Sequence[Key]) -> list[Key]:
    """Returns [255] if it is void: with several small values. Otherwise 255 is a class."""
    others = [key for key in keys if isinstance(key, int) and key != IGNORE]
    if IGNORE not in keys or len(others) < 2 or others[-1] >= 2 * len(others) + 10:
        return []
    return [IGNORE]


def _names(
    layout: Layout, keys: Sequence[Key], notes: list[str]
) -> tuple[dict[Key, str], Path] | tuple[None, None]:
    """Returns `{key: name}` from a file in the folder, and that file; None if there is none.

    Files that do not match are added to the list `notes`.
    """
    for file, entries in tables(layout.texts):
        names = matching(entries, keys)
        if names:
            return names, file
        notes.append(
            f"{file} names {len(entries)} classes, which do not match the {len(keys)} in the "
            "masks; its names are not used"
        )
    return None, None


def _black_first(keys: Iterable[Key]) -> list[Key]:
    # Some programs store an all-black mask with one channel: its value 0 must be black's class id.
    return sorted(keys, key=lambda key: key != (0, 0, 0))


def _yaml(
    layout: Layout,
    out: Path,
    classes: Sequence[MaskValue],
    ignored: Sequence[MaskValue],
    held: Contents,
    notes: Sequence[str],
) -> str:
    base = out.resolve().parent
    count = sum(len(part.pairs) for part in layout.parts.values())
    lines = [
        f"# Found in {layout.root}: {count} images with masks. Paths are relative to this file.",
        "# Check the classes: where a line ends with an arrow, replace class_N with a name.",
    ]
    lines += [f"# {note}" for note in notes]
    for split, part in layout.parts.items():
        fields = {"images": _path(part.images, base), "masks": _path(part.masks, base)}
        if part.listing:
            fields["list"] = _path(part.listing, base)
        if part.suffix:
            fields["mask_suffix"] = _scalar(part.suffix)
        lines.append(f"{split}: {_flow(fields)}  # {len(part.pairs)} images")
    if "val" not in layout.parts:
        share, chosen = _val_share(layout)
        lines.append(
            f"val_share: {share:.3g}  # {chosen} images of train, by a checksum of their names"
        )
    offset = _offset([entry.key for entry in classes])
    if offset:
        lines.append(f"offset: {offset}  # the mask value of the first class")
    lines.append("classes:")
    for class_id, entry in enumerate(classes):
        fields = {"name": _scalar(entry.name)}
        if entry.colour:
            fields["colour"] = str(list(entry.colour))
        what = f"colour {list(entry.key)}" if isinstance(entry.key, tuple) else f"value {entry.key}"
        if not held.in_colours and entry.key != class_id + offset:
            fields["value"] = str(entry.key)
        line = f"  - {_flow(fields) if len(fields) > 1 else fields['name']}"
        lines.append(f"{line}  # {what}: {_share(entry, held)}{entry.note}")
    numbers: Sequence[object] = [list(e.key) for e in ignored if isinstance(e.key, tuple)]
    if not held.in_colours:
        numbers = sorted({*(e.key for e in ignored), IGNORE} - {entry.key for entry in classes})
    if numbers:
        shares = [f"{e.name or e.key}: {_share(e, held)}" for e in ignored]
        lines.append(f"ignore: {numbers}  # " + "; ".join(["neither learned nor scored", *shares]))
    return "\n".join([line.replace("\n", " ") for line in lines]) + "\n"


def _val_share(layout: Layout) -> tuple[float, int]:
    """Returns a share of train for val, and how many images that is."""
    names = list(layout.parts["train"].pairs)
    for share in SHARES:
        share = float(f"{share:.3g}")
        chosen = sum(in_val(name, share) for name in names)
        if 0 < chosen < len(names):
            return share, chosen
    raise DataError(
        f"{layout.root}: {len(names)} image{'s' * (len(names) > 1)} with a mask, too few for train "
        "and val.",
        kind="empty split",
        file=layout.root,
    )


def _offset(keys: Sequence[Key]) -> int:
    """Returns the value of class 0 if the keys are consecutive values, otherwise 0."""
    first = keys[0]
    if not isinstance(first, int) or keys != list(range(first, first + len(keys))):
        return 0
    return first


def _share(entry: MaskValue, held: Contents) -> str:
    if not entry.masks:
        return "in no mask"
    return f"{entry.pixels / held.pixels.total():.2%} of the pixels, in {entry.masks} masks"


def _flow(fields: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"


def _path(path: Path, base: Path) -> str:
    try:
        return _scalar(Path(os.path.relpath(path.resolve(), base)).as_posix())
    except ValueError:  # On another drive.
        return _scalar(str(path.resolve()))


def _scalar(text: str) -> str:
    """Formats a string as YAML, with quotes if it needs them."""
    plain = re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
