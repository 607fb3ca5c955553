"""Composes `data.yaml` and the lists of a conversion."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.annotations.classes import Classes
from pipelines.datasets.yaml_folders import val_images
from pipelines.errors import DataError
from pipelines.split import SPLITS

SHARES = (0.2, 0.25, 0.333, 0.4, 0.5)  # For val; the first with images in both.
EMBEDDED = "images"  # The folder of images that were inside the annotations.


@dataclass(frozen=True)
class Pair:
    """An image and its mask, relative to the folders of their kind.

    Attributes:
        image: Path below the folder of images.
        mask: Path below `masks/<split>`.
        is_embedded: Whether the image was inside the annotations.
    """

    image: str
    mask: str
    is_embedded: bool


def write(
    folder: Path,
    images: str,
    pairs: Mapping[str, Sequence[Pair]],
    classes: Classes,
    about: str,
    notes: list[str],
) -> str:
    """Writes the lists, and returns the text of the YAML file.

    Args:
        folder: The folder of the conversion.
        images: The folder of the images, relative to it.
        pairs: The images and masks of each split.
        classes: The classes.
        about: A line on the source.
        notes: Gets notes on a missing split.
    """
    lines = [f"# {_one_line(about)}", "# Lists name each image and, after a tab, its mask."]
    (folder / "lists").mkdir()
    for split in (split for split in SPLITS if pairs.get(split)):
        entries = _write_lists(folder, images, split, pairs[split])
        if len(entries) == 1:
            lines.append(f"{split}: {entries[0]}")
        else:
            lines += [f"{split}:", *(f"  - {entry}" for entry in entries)]
    if pairs.get("train") and not pairs.get("val"):
        lines.append(_val(images, pairs["train"], notes))
    elif not pairs.get("train"):
        notes.append("there are no training images, only those of " + " and ".join(pairs))
    lines.append("classes:")
    for name, colour in zip(classes.names, classes.colours, strict=True):
        lines.append(f"  - {{name: {_quoted(name)}, colour: {list(colour)}}}")
    lines.append("ignore: [255]  # void: neither learned nor scored")
    return "\n".join(lines) + "\n"


def relative_folder(path: Path, out: Path) -> str:
    """Returns the path of a folder relative to the conversion's, with forward slashes.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        relative = Path(os.path.relpath(os.path.realpath(path), os.path.realpath(out))).as_posix()
    except ValueError:  # On another drive.
        relative = os.path.realpath(path)
    if any("\ud800" <= c <= "\udfff" for c in relative):
        raise DataError(f"{path}: this name is not UTF-8. Rename it.", file=path)
    return relative


def _write_lists(folder: Path, images: str, split: str, pairs: Sequence[Pair]) -> list[str]:
    """Writes the lists of a split, and returns its entries in the YAML file."""
    entries = []
    for is_embedded in (False, True):
        listed = [pair for pair in pairs if pair.is_embedded == is_embedded]
        if listed:
            name = f"lists/{split}{'_embedded' * is_embedded}.txt"
            text = "".join(f"{pair.image}\t{pair.mask}\n" for pair in listed)
            (folder / name).write_text(text, "utf-8", newline="\n")
            place = _quoted(EMBEDDED if is_embedded else images)
            entries.append(f"{{images: {place}, masks: masks/{split}, list: {name}}}")
    return entries


def _val(images: str, train: Sequence[Pair], notes: list[str]) -> str:
    """Returns the line for the validation split, taken from train."""
    names = [
        (EMBEDDED if pair.is_embedded else images, pair.mask.removesuffix(".png")) for pair in train
    ]
    for share in SHARES:
        chosen = len(val_images(names, share))
        if 0 < chosen < len(names):
            return f"val_share: {share}  # {chosen} images of train, by a checksum of their names"
    notes.append("one image is too few for training and validation: add more")
    return "# val: missing, because one image cannot be shared. Add more images."


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
