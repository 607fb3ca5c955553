"""Finds images and their masks in a folder without a description.

Folders with image files are paired by their files' names and their own (`pairing`). Folder names,
or lists called train.txt, val.txt and test.txt, give the split.
"""

import os
import shlex
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pipelines.datasets.folder_pairs import EXTENSIONS, files_of
from pipelines.datasets.lists import is_inside, read_lines
from pipelines.discovery.pairing import Choice, Found, find_pairs
from pipelines.discovery.parts import Folders, Part, relative, shown
from pipelines.errors import DataError
from pipelines.split import SPLITS
from pipelines.split_names import split_of

TEXTS = (".csv", ".json", ".txt", ".xml", ".yaml", ".yml")  # May name classes.
DEPTH = 4  # Levels of subfolders to search.


@dataclass(frozen=True)
class Layout:
    """What was found in a folder.

    Attributes:
        root: The folder.
        parts: The `Part`s of each split.
        texts: Text files, some of which may name the classes.
        notes: Notes for the user.
        links: Number of images and masks that are links out of their folders.
    """

    root: Path
    parts: dict[str, list[Part]]
    texts: tuple[Path, ...]
    notes: tuple[str, ...]
    links: int

    @property
    def masks(self) -> list[Path]:
        """The files of all masks."""
        return [
            mask for parts in self.parts.values() for part in parts for mask in part.pairs.values()
        ]


def find(
    root: str | Path,
    *,
    images: str | None = None,
    masks: str | None = None,
    image_suffix: str | None = None,
    mask_suffix: str | None = None,
) -> Layout:
    """Finds images and masks in a folder and its subfolders.

    Args:
        root: The folder.
        images: Where several folders of images fit: the one to use, or a part of its path if each
            split has its own.
        masks: The same for masks.
        image_suffix: Where several suffixes fit: what image names add to the common name.
        mask_suffix: The same for masks.

    Returns:
        A `Layout` that has at least "train".

    Raises:
        DataError: No matching images and masks were found, or several match.
    """
    root = existing_folder(root)
    folders, texts, notes = _walk(root)
    found = find_pairs(root, folders, Choice(images, masks, image_suffix, mask_suffix))
    notes += found.notes
    by_split = _by_split(found)
    if "train" not in by_split and None in by_split:
        by_split["train"] = by_split.pop(None)
    if "train" not in by_split:
        raise _no_train(root, folders, by_split, notes)
    left_out = by_split.pop(None, [])
    notes += [f"left out: {shown(root, part)}" for part in left_out]
    parts = {split: by_split[split] for split in SPLITS if split in by_split}
    if list(parts) == ["train"] and len(parts["train"]) == 1:
        parts = _by_lists(parts["train"][0], texts) or parts
    used = {f for p in (*left_out, *sum(parts.values(), [])) for f in (p.images, p.masks)}
    notes += [*_unused(root, folders, used), *_unsupported(parts, folders)]
    return Layout(root, parts, tuple(texts), tuple(notes), _links(parts, folders))


def existing_folder(root: str | Path) -> Path:
    """Returns the folder that the user gives.

    Raises:
        DataError: It does not exist, or is a file.
    """
    if os.path.isdir(root):
        return Path(root)
    if os.path.exists(root):
        raise DataError(
            f"{root}: a file, not a folder. Give the folder that holds the images and masks.",
            file=root,
        )
    raise DataError(f"{root}: no such folder.", file=root)


def _walk(root: Path) -> tuple[Folders, list[Path], list[str]]:
    """Finds image files by folder and name, text files, and notes on what was not searched."""
    folders, texts, notes = {}, [], []
    for top, below, names in os.walk(root):
        place = Path(top)
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in below:
            if (place / name).is_symlink():
                link = relative(root, place / name)
                notes.append(f"not searched: {link} (a link); put the folder itself there")
        if below and len(place.relative_to(root).parts) >= DEPTH:
            notes.append(
                f"not searched: the folders below {relative(root, place)} (more than {DEPTH} "
                "levels deep); run `data init` on that folder"
            )
            below.clear()
        texts += [place / n for n in sorted(names) if Path(n).suffix in TEXTS]
        if files := files_of(place):
            folders[place] = files
    return folders, texts, notes


def _by_split(found: Found) -> dict[str | None, list[Part]]:
    """Groups parts by the split in their paths; what is above all of them names none."""
    by_split: dict[str | None, list[Part]] = defaultdict(list)
    every = [folder for p in (*found.parts, *found.left_out) for folder in (p.images, p.masks)]
    for part in found.parts:
        above = os.path.commonpath(every)
        of_images, of_masks = (split_of(folder) for folder in part.places(Path(above)))
        by_split[of_images or of_masks].append(part)
    return dict(by_split)


def _by_lists(part: Part, texts: list[Path]) -> dict[str, list[Part]] | None:
    """Splits a part by lists called train.txt, val.txt and test.txt, if there are any."""
    best: tuple[float, dict[str, list[Part]]] | None = None
    for place in {text.parent for text in texts}:
        parts = {}
        for text in texts:
            split = split_of(text.stem)
            known = (split, f"{split}id", f"{split}idation")
            if split and text.parent == place and text.stem.lower() in known:
                listed = _names(text, part.suffixes.image)
                pairs = {name: part.pairs[name] for name in listed if name in part.pairs}
                # The test images of many data sets have no masks.
                if 2 * len(pairs) > len(listed):
                    unpaired = len(listed) - len(pairs)
                    parts[split] = replace(part, listing=text, pairs=pairs, unpaired=unpaired)
        shares = [len(p.pairs) / (len(p.pairs) + p.unpaired) for p in parts.values()]
        if "train" in parts and (best is None or min(shares) > best[0]):
            best = min(shares), {split: [parts[split]] for split in SPLITS if split in parts}
    return best[1] if best else None


def _names(listing: Path, suffix: str) -> list[str]:
    try:
        lines = read_lines(listing)
    except DataError:
        return []
    paths = (PurePosixPath(unicodedata.normalize("NFC", line)) for line in lines)
    stems = (str(p.with_suffix("") if p.suffix.lower() in EXTENSIONS else p) for p in paths)
    return [stem.removesuffix(suffix) for stem in stems]


def _unused(root: Path, folders: Folders, used: set[Path]) -> Iterator[str]:
    """Yields a note that names the folders with image files that are not used, if there are any."""
    unused = [
        f"{folder.relative_to(root).as_posix()} ({len(files)} file{'s' * (len(files) > 1)})"
        for folder, files in folders.items()
        if folder not in used
    ]
    if unused:
        yield f"not used: {', '.join(unused)}"


def _unsupported(parts: dict[str, list[Part]], folders: Folders) -> Iterator[str]:
    """Yields notes on how to convert images in unsupported formats."""
    for split, of_split in parts.items():
        for part in of_split:
            images = [file for name in part.pairs for file in _images(part, name, folders)]
            for ending in (".tif", ".tiff", ".heic", ".heif"):
                count = sum(file.suffix.lower() == ending for file in images)
                if count:
                    pattern = f"{shlex.quote(f'{part.images}/')}*{ending}"
                    yield (
                        f"{split}: {ending[1:].upper()} images are unsupported, found {count}. "
                        "Convert them to PNG in another folder, for example with ImageMagick: "
                        f"magick mogrify -format png -path PNGS {pattern}"
                    )


def _links(parts: dict[str, list[Part]], folders: Folders) -> int:
    """Counts the images and masks that are links out of their folders."""
    return sum(
        file.is_symlink() and not is_inside(file, file.parent)
        for of_split in parts.values()
        for part in of_split
        for name, mask in part.pairs.items()
        for file in (mask, *_images(part, name, folders))
    )


def _images(part: Part, name: str, folders: Folders) -> list[Path]:
    return folders[part.images].get(f"{name}{part.suffixes.image}", [])


def _no_train(
    root: Path,
    folders: Folders,
    by_split: dict[str | None, list[Part]],
    notes: Sequence[str],
) -> DataError:
    """Builds the error for a folder without a train split; `notes` may tell why."""
    why = "".join(f" Note: {note}." for note in notes)
    if by_split:
        found = "; ".join(f"{split}: {shown(root, p[0])}" for split, p in by_split.items())
        return DataError(
            f"{root}: found no training images, only {found}. Add a folder of training images, or "
            f"write the YAML file by hand.{why}"
        )
    held = ", ".join(
        f"{relative(root, f)} ({len(files)})" for f, files in list(folders.items())[:8]
    )
    return DataError(
        f"{root}: found no images with masks. "
        + (f"Folders with image files: {held}. " if held else "It holds no image files. ")
        + "An image and its mask must have the same name, in two folders such as images and masks, "
        f"or side by side as NAME.jpg and NAME_mask.png.{why}"
    )
