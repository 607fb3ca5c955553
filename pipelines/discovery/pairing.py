"""Pairs folders of images with folders of masks, or says what is ambiguous and how to choose."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.datasets.lists import is_inside
from pipelines.discovery.looks import NOT_CLASSES, Files, by_content, by_name, distance, held
from pipelines.discovery.names import OF_MASKS, Names, Suffixes, common_suffixes
from pipelines.discovery.split_names import may_belong
from pipelines.errors import DataError, quoted

Folders = dict[Path, Files]


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
class Part:
    """Images and masks that belong together.

    Attributes:
        images: Folder of the images.
        masks: Folder of the masks.
        suffixes: What the names of images and of masks add to their common name.
        listing: The list of images that belong to the part, or None for all.
        pairs: Maps each common name to the mask's file.
        unpaired: Number of images or masks without a partner.
    """

    images: Path
    masks: Path
    suffixes: Suffixes
    listing: Path | None
    pairs: dict[str, Path]
    unpaired: int


def find_pairs(root: Path, folders: Folders, choice: Choice) -> list[Part]:
    """Returns a `Part` for each folder of images that has masks.

    Folders with the same file names are paired by their paths, which may differ only in words such
    as images and masks. Folders that are clearly not class masks are left out.

    Raises:
        DataError: Images have several kinds of masks, masks fit several folders of images, or
            nothing fits the choice.
    """
    possible: dict[Path, list[Part]] = defaultdict(list)
    shared: list[tuple[Path, list[Part]]] = []
    for masks, parts in _candidates(root, folders, choice).items():
        if len({part.images for part in parts}) == 1:
            possible[parts[0].images] += parts
        else:
            shared.append((masks, parts))
    for masks, parts in shared:  # They are left out if some of these images have their own masks.
        images = {part.images for part in parts}
        if images.isdisjoint(possible):
            raise _several_images(root, masks, sorted(images))
    best = {images: _class_masks(root, parts) for images, parts in possible.items()}
    several = {images: parts for images, parts in best.items() if len(parts) > 1}
    if several:
        raise _several_masks(root, next(iter(several.values())))
    taken = {part.masks for parts in best.values() for part in parts if part.masks != part.images}
    return [best[images][0] for images in sorted(best) if images not in taken]


def shown(root: Path, part: Part) -> str:
    """Names the two folders of a part."""
    return f"{_relative(root, part.images)} + {_relative(root, part.masks)}"


def _candidates(root: Path, folders: Folders, choice: Choice) -> dict[Path, list[Part]]:
    """Maps each folder of masks to its parts with the folders of images that fit best."""
    names = {folder: Names(files.keys()) for folder, files in folders.items()}
    of_images, of_masks = (
        _chosen(root, folders, option, given) if given else list(folders)
        for option, given in (("--images", choice.images), ("--masks", choice.masks))
    )

    @cache
    def rank(folder: Path) -> float:
        """Scores how much a folder looks like a folder of masks, from -3 to 3."""
        return 2 * by_name(folder.relative_to(root)) + by_content(folders[folder])

    def fits(images: Path, masks: Path) -> bool:
        if images == masks:
            return True
        if not may_belong(images, masks):
            return False
        is_chosen = choice.masks is not None and of_masks == [masks]
        return is_chosen or rank(images) < min(rank(masks), 2)

    result = {}
    for masks in of_masks:
        found = []
        for images in of_images:
            if not fits(images, masks):
                continue
            for suffixes in common_suffixes(
                names[images], names[masks], choice.image_suffix, choice.mask_suffix
            ):
                part = _part(images, masks, suffixes, folders)
                if images != masks:
                    looks = 1 + (rank(images) > 0)
                elif _has_masks(part, folders):
                    looks = 0
                elif choice.mask_suffix or _are_named_alike(part):
                    looks = 3  # The images may be masks of another kind.
                else:
                    continue
                if 2 * len(part.pairs) >= len(names[masks].without(suffixes.mask)):
                    found.append(((looks, distance(images, masks)), part))
        if found:
            least = min(closeness for closeness, _ in found)
            result[masks] = [part for closeness, part in found if closeness == least]
    return result


def _part(images: Path, masks: Path, suffixes: Suffixes, folders: Folders) -> Part:
    of_images = dict(_without(folders[images], suffixes.image))
    of_masks = dict(_without(folders[masks], suffixes.mask))
    if images == masks:
        for name in of_masks:
            of_images.pop(f"{name}{suffixes.mask}".removesuffix(suffixes.image), None)
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
    paths = {folder: f"/{_relative(root, folder)}/" for folder in folders}
    for match in (str.__eq__, str.endswith, str.__contains__):
        if found := [folder for folder, text in paths.items() if match(text, wanted)]:
            return found
    listed = ", ".join(_relative(root, folder) for folder in list(folders)[:8])
    raise DataError(
        f"{option} {given}: no such folder with image files in {root}. Choose one of: {listed}."
    )


def _class_masks(root: Path, parts: list[Part]) -> list[Part]:
    """Leaves out instances, edges and coloured copies, unless there is nothing else."""
    classes = [
        part
        for part in parts
        if not NOT_CLASSES.search(f"{_relative(root, part.masks)}/{part.suffixes.mask}")
    ]
    return classes or parts


def _several_masks(root: Path, parts: list[Part]) -> DataError:
    """Builds the error for images with several kinds of masks, or the reverse."""
    first = parts[0]
    images, masks = _relative(root, first.images), _relative(root, first.masks)
    folders = [part.masks for part in parts]
    alone = next((part for part in parts if folders.count(part.masks) == 1), None)
    if not alone and len({part.suffixes.mask for part in parts}) == 1:
        names = [f"{images}/*{part.suffixes.image}.*" for part in parts]
        return DataError(
            f"{root}: the masks in {masks} fit several kinds of images: {', '.join(names)}. Choose "
            f"one, for example with --image-suffix={quoted(first.suffixes.image)}.",
            file=root,
        )
    kinds = [
        _relative(root, part.masks)
        + f"/*{part.suffixes.mask}.*" * (folders.count(part.masks) > 1)
        + f" ({held(list(part.pairs.values()))})"
        for part in parts
    ]
    if alone:
        others = [folder for folder in folders if folder != alone.masks]
        option = f"--masks {quoted(_distinguishing(root, alone, others))}"
        fix = f"Choose one, for example with {option}."
    elif first.images == first.masks:
        fix = "Leave one kind there and move the others to another folder."
    else:
        fix = f"Choose one, for example with --mask-suffix={quoted(first.suffixes.mask)}."
    return DataError(
        f"{root}: the images in {images} have several kinds of masks: {'; '.join(kinds)}. {fix}",
        file=root,
    )


def _distinguishing(root: Path, part: Part, others: list[Path]) -> str:
    """What only this folder of masks has in its path, such as the kind of masks."""
    taken = {name for folder in (part.images, *others) for name in folder.relative_to(root).parts}
    own = [name for name in part.masks.relative_to(root).parts if name not in taken]
    return own[0] if own else _relative(root, part.masks)


def _several_images(root: Path, masks: Path, images: list[Path]) -> DataError:
    listed = ", ".join(_relative(root, folder) for folder in images)
    return DataError(
        f"{root}: the folder {_relative(root, masks)} fits several folders of images: {listed}. "
        f"Choose one, for example with --images {quoted(_relative(root, images[0]))}.",
        file=root,
    )


def _relative(root: Path, folder: Path) -> str:
    return folder.relative_to(root).as_posix()
