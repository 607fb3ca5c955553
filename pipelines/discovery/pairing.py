"""Pairs folders of images with folders of masks, or says what is ambiguous and how to choose."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.datasets.folder_pairs import masks_among
from pipelines.datasets.lists import is_inside
from pipelines.discovery.ambiguity import (
    contradicting,
    doubts,
    has_class_masks,
    several_images,
    several_masks,
    without_class_masks,
)
from pipelines.discovery.looks import NOT_CLASSES, Files, by_content, by_name
from pipelines.discovery.names import OF_MASKS, Names, Suffixes, common_suffixes
from pipelines.discovery.parts import Folders, Part, relative
from pipelines.discovery.places import are_elsewhere, contradict, distance
from pipelines.errors import DataError
from pipelines.split_names import may_belong


@dataclass(frozen=True)
class Choice:
    """What the user chooses where a folder holds several candidates; None leaves it open.

    Attributes:
        images: The folder of the images, or a part of its path if each split has its own.
        masks: The same for the masks.
        image_suffix: What the names of images add to the common name.
        mask_suffix: What the names of masks add to it.
    """

    images: str | None = None
    masks: str | None = None
    image_suffix: str | None = None
    mask_suffix: str | None = None


@dataclass(frozen=True)
class Found:
    """The pairs of folders.

    Attributes:
        parts: A `Part` for each folder of images that has masks.
        left_out: Parts of images that only have masks of instances, edges and the like.
        notes: Notes for the user on what may be wrong.
    """

    parts: list[Part]
    left_out: list[Part]
    notes: list[str]


def find_pairs(root: Path, folders: Folders, choice: Choice) -> Found:
    """Pairs each folder of images with its masks.

    Folders with the same file names are paired by their paths, which may differ only in words such
    as images and masks. Folders that are clearly not class masks are left out.

    Raises:
        DataError: Images have several kinds of masks, masks fit several folders of images, or
            nothing fits the choice.
    """
    possible: dict[Path, list[Part]] = defaultdict(list)
    shared: list[list[Part]] = []
    candidates, refused = _Candidates(root, folders, choice).by_masks()
    for parts in candidates.values():
        if len({part.images for part in parts}) == 1:
            possible[parts[0].images] += parts
        else:
            shared.append(parts)
    for parts in shared:  # They are left out if some of these images have their own masks.
        if possible.keys().isdisjoint(part.images for part in parts):
            raise several_images(root, parts)
    best, others = _class_masks(root, possible)
    for parts in best.values():
        if len(parts) > 1:
            raise several_masks(root, parts)
    taken = {part.masks for parts in best.values() for part in parts if part.masks != part.images}
    found = [best[images][0] for images in sorted(best) if images not in taken]
    used = taken.union(part.images for part in found)
    others = [part for part in others if part.images not in used]
    notes = [
        *(without_class_masks(root, part) for part in others),
        *(contradicting(root, p) for p in refused if used.isdisjoint((p.images, p.masks))),
        *doubts(root, found),
    ]
    return Found(found, others, notes)


class _Candidates:
    """What each folder may be, from its name and a few of its files."""

    def __init__(self, root: Path, folders: Folders, choice: Choice) -> None:
        self.root, self.folders, self.choice = root, folders, choice
        self.names = {folder: Names(files.keys()) for folder, files in folders.items()}
        self.content = cache(lambda folder: by_content(folders[folder]))
        self.images, self.masks = (
            _chosen(root, folders, option, given) if given else list(folders)
            for option, given in (("--images", choice.images), ("--masks", choice.masks))
        )
        self.is_chosen = choice.masks is not None and len(self.masks) == 1

    def by_masks(self) -> tuple[dict[Path, list[Part]], list[Part]]:
        """Maps each folder of masks to its parts with the folders of images that fit best.

        Also returns parts of folders that only have the same file names: their paths contradict it.
        """
        result, refused = {}, []
        for masks in self.masks:
            found = []
            for part in (one for images in self.images for one in self._parts(images, masks)):
                if contradict(*part.places(self.root)) and not self.is_chosen:
                    refused.append(part)
                else:
                    found.append((self._closeness(part), part))
            if found:
                least = min(closeness for closeness, _ in found)
                result[masks] = [part for closeness, part in found if closeness == least]
        return result, refused

    def _parts(self, images: Path, masks: Path) -> Iterator[Part]:
        """Yields the parts of two folders whose files have the same names but for suffixes."""
        if images != masks and not self._fit(images, masks):
            return
        given = self.choice.image_suffix, self.choice.mask_suffix
        for suffixes in common_suffixes(self.names[images], self.names[masks], *given):
            part = _part(images, masks, suffixes, self.folders)
            all_masks = len(self.names[masks].without(suffixes.mask))
            all_images = len(self.names[images].without(suffixes.image))
            if images != masks:  # One may hold more: the partners of several folders.
                fits = 2 * len(part.pairs) >= min(all_masks, all_images)
            else:
                named = self.choice.mask_suffix or _are_named_alike(part)
                has_masks = named or _has_masks(part, self.folders)
                fits = bool(has_masks) and 2 * len(part.pairs) >= all_masks
            if fits:
                yield part

    def _fit(self, images: Path, masks: Path) -> bool:
        """Whether two folders look like images and masks, and are not of different splits."""
        if not may_belong(images, masks):
            return False
        by_masks_name = by_name(masks.relative_to(self.root))
        if self.choice.masks is None and self.content(masks) < 0 and by_masks_name <= 0:
            return False  # These are images, too.
        return self.is_chosen or self._rank(images) < min(self._rank(masks), 2)

    def _rank(self, folder: Path) -> float:
        """Scores how much a folder looks like a folder of masks, from -3 to 3."""
        return 2 * by_name(folder.relative_to(self.root)) + self.content(folder)

    def _closeness(self, part: Part) -> tuple[float, ...]:
        """Orders the parts of a folder of masks: the least fits best."""
        if part.images != part.masks:
            looks = 1 + (self._rank(part.images) > 0)
        else:  # Without a look of images, they may be masks of another kind.
            looks = 0 if _has_masks(part, self.folders) else 3
        return looks, *distance(*part.places(self.root))


def _part(images: Path, masks: Path, suffixes: Suffixes, folders: Folders) -> Part:
    image_files, mask_files = folders[images], folders[masks]
    if images == masks:
        stems = masks_among(mask_files, *suffixes)
        image_files = {stem: files for stem, files in mask_files.items() if stem not in stems}
        mask_files = {stem: mask_files[stem] for stem in stems}
    of_images = dict(_without(image_files, suffixes.image))
    of_masks = dict(_without(mask_files, suffixes.mask))
    pairs = {name: of_masks[name] for name in sorted(of_images.keys() & of_masks)}
    return Part(images, masks, suffixes, None, pairs, len(of_images.keys() ^ of_masks))


def _without(files: Files, suffix: str) -> Iterator[tuple[str, Path]]:
    for stem, of_stem in files.items():
        if stem.endswith(suffix):
            yield stem.removesuffix(suffix), of_stem[0]


def _has_masks(part: Part, folders: Folders) -> bool:
    """Whether names or content show that of the files in one folder some are masks of others."""
    stems = (f"{name}{part.suffixes.image}" for name in part.pairs)
    of_images = by_content({stem: folders[part.images][stem] for stem in stems})
    if OF_MASKS.fullmatch(part.suffixes.mask):
        return of_images <= 0
    return of_images < 0 < by_content({name: [mask] for name, mask in part.pairs.items()})


def _are_named_alike(part: Part) -> bool:
    """Whether the images of a folder have the names of their masks without `_mask` or the like."""
    return not part.suffixes.image and OF_MASKS.fullmatch(part.suffixes.mask) is not None


def _chosen(root: Path, folders: Folders, option: str, given: str) -> list[Path]:
    """Returns the folders that an option names: by a path, or by a part of their paths."""
    path = Path(given)
    if os.path.isdir(path) and is_inside(path, root):
        given = os.path.relpath(os.path.realpath(path), os.path.realpath(root))
    wanted = f"/{Path(given).as_posix().strip('/')}/"
    paths = {folder: f"/{relative(root, folder)}/" for folder in folders}
    for match in (str.__eq__, str.endswith, str.__contains__):
        if found := [folder for folder, text in paths.items() if match(text, wanted)]:
            return found
    listed = ", ".join(relative(root, folder) for folder in list(folders)[:8])
    why = "no such folder with image files"
    if os.path.isdir(root / given):
        why = "holds no image files, or is a link or too deep, so it was not searched,"
    raise DataError(f"{option} {given}: {why} in {root}. Choose one of: {listed}.")


def _class_masks(
    root: Path, possible: dict[Path, list[Part]]
) -> tuple[dict[Path, list[Part]], list[Part]]:
    """Leaves out instances, edges and coloured copies, and masks of other places.

    They stay if there is nothing else.

    Returns:
        The parts with each folder of images, and the parts of those that only have other masks.
    """
    best = {}
    for images, parts in possible.items():
        named = [f"{relative(root, part.masks)}/{part.suffixes.mask}" for part in parts]
        classes = [
            part for part, name in zip(parts, named, strict=True) if not NOT_CLASSES.search(name)
        ]
        here = [p for p in classes or parts if not are_elsewhere(*p.places(root))]
        best[images] = here or classes or parts
    lacking = [i for i, parts in best.items() if not any(has_class_masks(root, p) for p in parts)]
    if len(lacking) == len(best):
        return best, []
    others = [part for images in lacking for part in best.pop(images)]
    return best, others
