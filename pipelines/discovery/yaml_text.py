"""Composes the text of the YAML file, with comments that give reasons and say what to check."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.datasets.yaml_folders import val_images
from pipelines.discovery.folders import Layout
from pipelines.discovery.mask_values import BLACK_WHITE, Colour, Contents, Key
from pipelines.discovery.parts import Part
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
    colour: Colour | None
    pixels: int
    masks: int
    note: str


def yaml_text(
    layout: Layout,
    out: Path,
    classes: Sequence[MaskValue],
    ignored: Sequence[MaskValue],
    held: Contents,
    notes: Sequence[str],
) -> str:
    """Composes the text of the YAML file.

    Args:
        layout: The folders.
        out: Path of the file; paths in it are relative to it.
        classes: The classes in the order of their ids.
        ignored: The ignored values or colours.
        held: What the masks hold.
        notes: Notes for the user, written as comments.

    Raises:
        DataError: There are too few images for train and val, or a folder's name is not UTF-8.
    """
    base = out.resolve().parent
    lines = [
        f"# Found in {layout.root}: {len(layout.masks)} images with masks. Paths are relative to "
        "this file.",
        "# Check the classes: where a line ends with an arrow, replace class_N with a name.",
    ]
    lines += [f"# {note}" for note in notes]
    for split, parts in layout.parts.items():
        pairs = [f"{_flow(_pair(part, base))}  # {len(part.pairs)} images" for part in parts]
        if len(pairs) == 1:
            lines.append(f"{split}: {pairs[0]}")
        else:
            lines += [f"{split}:", *(f"  - {pair}" for pair in pairs)]
    if layout.links:
        lines.append("# follow_links: true")
    if "val" not in layout.parts:
        share, chosen = _val_share(layout, base)
        lines.append(
            f"val_share: {share:.3g}  # {chosen} images of train, by a checksum of their names"
        )
    if held.threshold is not None:
        lines.append(
            f"mask_threshold: {held.threshold}  # values up to it are {BLACK_WHITE[0]}, others "
            f"{BLACK_WHITE[1]}"
        )
    offset = _offset([entry.key for entry in classes])
    if offset:
        lines.append(f"offset: {offset}  # the mask value of the first class")
    lines += ["classes:", *_classes(classes, offset, held)]
    numbers: Sequence[object] = [list(e.key) for e in ignored if isinstance(e.key, tuple)]
    if not held.in_colours:
        numbers = sorted({*(e.key for e in ignored), IGNORE} - {entry.key for entry in classes})
    if numbers:
        shares = [f"{e.name or e.key}: {_share(e, held)}" for e in ignored]
        lines.append(f"ignore: {numbers}  # " + "; ".join(["neither learned nor scored", *shares]))
    return "\n".join(map(_one_line, lines)) + "\n"


def _classes(classes: Sequence[MaskValue], offset: int, held: Contents) -> Iterator[str]:
    """Yields the lines of the classes."""
    for class_id, entry in enumerate(classes):
        fields = {"name": _scalar(entry.name)}
        if entry.colour:
            fields["colour"] = str(list(entry.colour))
        what = f"colour {list(entry.key)}" if isinstance(entry.key, tuple) else f"value {entry.key}"
        if not held.in_colours and entry.key != class_id + offset:
            fields["value"] = str(entry.key)
        line = f"  - {_flow(fields) if len(fields) > 1 else fields['name']}"
        yield f"{line}  # {what}: {_share(entry, held)}{entry.note}"


def _one_line(text: str) -> str:
    """Escapes what a comment in a YAML file must not hold: file names may contain anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _pair(part: Part, base: Path) -> dict[str, str]:
    """The keys of a pair of folders, as YAML."""
    fields = {"images": part.images, "masks": part.masks, "list": part.listing}
    suffixes = {"image_suffix": part.suffixes.image, "mask_suffix": part.suffixes.mask}
    return {
        **{key: _scalar(_relative(path, base)) for key, path in fields.items() if path},
        **{key: _scalar(suffix) for key, suffix in suffixes.items() if suffix},
    }


def _val_share(layout: Layout, base: Path) -> tuple[float, int]:
    """Returns a share of train for val, and how many images that is."""
    images = [
        (_relative(part.images, base), name)
        for part in layout.parts["train"]
        for name in part.pairs
    ]
    for share in SHARES:
        share = float(f"{share:.3g}")
        chosen = len(val_images(images, share))
        if 0 < chosen < len(images):
            return share, chosen
    raise DataError(
        f"{layout.root}: {len(images)} image{'s' * (len(images) > 1)} with a mask, too few for "
        "train and val.",
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


def _relative(path: Path, base: Path) -> str:
    """Returns a path relative to the YAML file's folder, with forward slashes."""
    try:
        relative = Path(os.path.relpath(path.resolve(), base)).as_posix()
    except ValueError:  # On another drive.
        relative = str(path.resolve())
    if not is_utf8(relative):
        raise DataError(
            f"{path}: this name is not UTF-8, so a YAML file cannot hold it. Rename it.",
            file=path,
        )
    return relative


def is_utf8(name: str) -> bool:
    """Whether a file's name is UTF-8; Python keeps other bytes as surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _scalar(text: str) -> str:
    """Formats a string as YAML, with quotes if it needs them."""
    plain = re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
