"""Finds images and their masks in a folder without a description.

Folders with image files are paired by their files' names. Folder names and the content of a few
files show which folder holds the masks. Folder names, or lists called train.txt, val.txt and
test.txt, give the split.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from pipelines.datasets.lists import read_lines
from pipelines.datasets.yaml_folders import EXTENSIONS, files_of
from pipelines.errors import DataError
from pipelines.files.images import read_mask
from pipelines.split import SPLITS, colour_codes

DEPTH = 4  # Levels of subfolders to search.
FEW = 64  # Most values or colours in one mask; photographs have more.
SAMPLED = 3  # Files to read per folder.
Files = dict[str, list[Path]]  # As from `files_of`.
Folders = dict[Path, Files]

MASKS = re.compile(r"mask|label|annot|segm|ground.?truth|target|(?<![a-z])(gt|seg)(?![a-z])")
IMAGES = re.compile(r"image|img|photo|picture|rgb|jpe?g|input|frame")
NOT_CLASSES = re.compile(r"object|instance|colou?r|overlay|visual|edge|bound|depth")
SUFFIX = re.compile(r"[-_. ]\D+")
SUFFIX_OF_MASKS = re.compile(r"[-_. ](\D*(mask|label|annot|seg|truth|gt)\D*|l)", re.IGNORECASE)
SPLIT = re.compile(r"(?<![a-z])(train|val|test)(ing|id|idation|annot\w*|set|s)?(?![a-z])")


@dataclass(frozen=True)
class Part:
    """Images and masks that belong together.

    Attributes:
        images: Folder of the images.
        masks: Folder of the masks.
        suffix: What mask names add to image names.
        listing: The list of images that belong to the part, or None for all.
        pairs: Maps each name to the mask's file.
        unpaired: Number of images or masks without a partner.
    """

    images: Path
    masks: Path
    suffix: str
    listing: Path | None
    pairs: dict[str, Path]
    unpaired: int


@dataclass(frozen=True)
class Layout:
    """What was found in a folder: `parts` by split, text files, and notes for the user."""

    root: Path
    parts: dict[str, Part]
    texts: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def masks(self) -> list[Path]:
        """The files of all masks."""
        return [mask for part in self.parts.values() for mask in part.pairs.values()]


def find(root: str | Path) -> Layout:
    """Finds images and masks in a folder and its subfolders.

    Args:
        root: The folder.

    Returns:
        A `Layout` that has at least "train".

    Raises:
        DataError: No matching images and masks were found, or several folders match a split.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder.")
    folders, texts = _walk(root)
    pairs = _pairs(root, folders)
    by_split: dict[str | None, list[Part]] = {}
    for part in pairs:
        by_split.setdefault(_split_of(root, part), []).append(part)
    if "train" not in by_split and None in by_split:
        by_split["train"] = by_split.pop(None)
    if "train" not in by_split:
        raise _no_train(root, folders, by_split)
    left_out = [f"left out: {_shown(root, part)}" for part in by_split.pop(None, [])]
    for split, alike in by_split.items():
        if len(alike) > 1:
            listed = "; ".join(_shown(root, part) for part in alike[:5])
            raise DataError(
                f"{root}: {len(alike)} pairs of folders could be {split}: {listed}. Give one of "
                "these folders, or write the YAML file by hand."
            )
    parts = {split: by_split[split][0] for split in SPLITS if split in by_split}
    if list(parts) == ["train"]:
        parts = _by_lists(parts["train"], texts) or parts
    return Layout(root, parts, tuple(texts), (*_unsupported(parts, folders), *left_out))


def _walk(root: Path) -> tuple[Folders, list[Path]]:
    """Finds image files by folder and name, and text files."""
    folders, texts = {}, []
    for top, below, names in os.walk(root):
        place = Path(top)
        deep = len(place.relative_to(root).parts) >= DEPTH
        below[:] = [] if deep else sorted(name for name in below if not name.startswith("."))
        texts += [place / n for n in sorted(names) if Path(n).suffix in (".txt", ".csv", ".json")]
        if files := files_of(place):
            folders[place] = files
    return folders, texts


def _pairs(root: Path, folders: Folders) -> list[Part]:
    """Returns a `Part` per folder of masks, with the folder of images that matches best."""

    @cache
    def rank(folder: Path) -> float:
        """Scores how much a folder looks like a folder of masks, from -3 to 3."""
        return 2 * _by_name(folder.relative_to(root)) + _by_content(folders[folder])

    found = []
    for masks in folders:
        candidates = []
        for images in folders:
            if images != masks and not (
                rank(images) < rank(masks) and _may_belong(root, images, masks)
            ):
                continue
            suffix = _suffix(folders[images], folders[masks], images == masks)
            if suffix is None:
                continue
            part = _part(images, masks, suffix, folders)
            of_suffix = sum(stem.endswith(suffix) for stem in folders[masks])
            if 2 * len(part.pairs) >= of_suffix:
                near = len(os.path.commonpath([images, masks]))
                closeness = (images == masks, -rank(images), len(part.pairs), near)
                candidates.append((closeness, part))
        if candidates:
            found.append(max(candidates, key=lambda candidate: candidate[0])[1])
    # Of several kinds of masks for the same images, prefer class masks to instances or overlays.
    best = {}
    for part in sorted(found, key=lambda p: (rank(p.masks), len(p.pairs))):
        best[part.images] = part
    taken = {part.masks for part in best.values() if part.masks != part.images}
    return [best[images] for images in sorted(best) if images not in taken]


def _by_name(path: Path) -> float:
    """Returns 1 for a path of masks (0.75 if not class masks), -1 for images, 0 if unclear."""
    for part in reversed(path.parts):
        part = part.lower()
        if MASKS.search(part):
            return 0.75 if NOT_CLASSES.search(part) else 1
        if IMAGES.search(part):
            return -1
    return 0


def _by_content(folder: Files) -> int:
    """Returns 1 if most sampled files have few values, -1 if many, 0 if none is readable."""
    files = [of_name[0] for of_name in folder.values()]
    votes = 0
    for file in files[:: max(1, len(files) // SAMPLED)][:SAMPLED]:
        try:
            votes += 1 if len(values_of(read_mask(file))[0]) <= FEW else -1
        except DataError as error:
            votes -= error.kind in ("lossy mask", "transparent mask")
    return int(np.sign(votes))


def values_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a mask's values `[n]`, or its `colour_codes`, and the pixels of each `[n]`."""
    if mask.dtype == bool:
        mask = mask * np.uint8(255)
    if mask.ndim == 3:
        mask = colour_codes(mask)
    return np.unique(mask, return_counts=True)


def _may_belong(root: Path, images: Path, masks: Path) -> bool:
    """Whether two folders may belong together: not if one is train and the other val."""
    a, b = (_split_of_path(folder.relative_to(root)) for folder in (images, masks))
    return a == b or None in (a, b)


def _split_of_path(path: Path) -> str | None:
    found = SPLIT.search(path.as_posix().lower())
    return found[1] if found else None


def _split_of(root: Path, part: Part) -> str | None:
    return _split_of_path(part.images.relative_to(root)) or _split_of_path(
        part.masks.relative_to(root)
    )


def _suffix(images: Files, masks: Files, together: bool) -> str | None:
    """Returns what mask names add to image names; None if they have nothing in common."""
    if not together and not images.keys().isdisjoint(masks):
        return ""
    rule = SUFFIX_OF_MASKS if together else SUFFIX
    found = Counter(
        stem[at.start() :]
        for stem in masks
        for at in re.finditer(r"[-_. ]", stem)
        if stem[: at.start()] in images and rule.fullmatch(stem, at.start())
    )
    return found.most_common(1)[0][0] if found else None


def _part(images: Path, masks: Path, suffix: str, folders: Folders) -> Part:
    of_images = set(folders[images])
    if images == masks:
        of_images = {stem for stem in of_images if not stem.endswith(suffix)}
    of_masks = {
        stem.removesuffix(suffix): files[0]
        for stem, files in folders[masks].items()
        if stem.endswith(suffix)
    }
    pairs = {stem: of_masks[stem] for stem in sorted(of_images & of_masks.keys())}
    return Part(images, masks, suffix, None, pairs, len(of_images ^ of_masks.keys()))


def _by_lists(part: Part, texts: list[Path]) -> dict[str, Part] | None:
    """Splits a part by lists called train.txt, val.txt and test.txt, if there are any."""
    best: tuple[float, dict[str, Part]] | None = None
    for place in {text.parent for text in texts}:
        parts = {}
        for text in texts:
            split = _split_of_path(Path(text.stem))
            known = (split, f"{split}id", f"{split}idation")
            if split and text.parent == place and text.stem.lower() in known:
                listed = _names(text)
                pairs = {name: part.pairs[name] for name in listed if name in part.pairs}
                # The test images of many data sets have no masks.
                if 2 * len(pairs) > len(listed):
                    unpaired = len(listed) - len(pairs)
                    parts[split] = Part(part.images, part.masks, part.suffix, text, pairs, unpaired)
        shares = [len(p.pairs) / (len(p.pairs) + p.unpaired) for p in parts.values()]
        if "train" in parts and (best is None or min(shares) > best[0]):
            best = min(shares), {split: parts[split] for split in SPLITS if split in parts}
    return best[1] if best else None


def _names(listing: Path) -> list[str]:
    try:
        lines = read_lines(listing)
    except DataError:
        return []
    paths = (PurePosixPath(unicodedata.normalize("NFC", line)) for line in lines)
    return [str(p.with_suffix("") if p.suffix.lower() in EXTENSIONS else p) for p in paths]


def _unsupported(parts: dict[str, Part], folders: Folders) -> Iterator[str]:
    """Yields notes on how to convert images in unsupported formats."""
    for split, part in parts.items():
        files = [file for name in part.pairs for file in folders[part.images].get(name, [])]
        for ending in (".tif", ".tiff", ".heic", ".heif"):
            count = sum(file.suffix.lower() == ending for file in files)
            if count:
                yield (
                    f"{split}: {ending[1:].upper()} images are unsupported, found {count}. Convert "
                    "them to PNG in another folder, for example with ImageMagick: "
                    f"magick mogrify -format png -path PNGS '{part.images}/*{ending}'"
                )


def _no_train(root: Path, folders: Folders, by_split: dict[str | None, list[Part]]) -> DataError:
    """Builds the error for a folder without a train split."""
    if by_split:
        found = "; ".join(f"{split}: {_shown(root, p[0])}" for split, p in by_split.items())
        return DataError(f"{root}: found no training images, only {found}.")
    held = ", ".join(
        f"{folder.relative_to(root).as_posix()} ({len(files)})"
        for folder, files in list(folders.items())[:8]
    )
    return DataError(
        f"{root}: found no images with masks. "
        + (f"Folders with image files: {held}. " if held else "It holds no image files. ")
        + "An image and its mask must have the same name, in two folders such as images and masks, "
        "or side by side as NAME.jpg and NAME_mask.png."
    )


def _shown(root: Path, part: Part) -> str:
    images, masks = (folder.relative_to(root).as_posix() for folder in (part.images, part.masks))
    return f"{images} + {masks}"
