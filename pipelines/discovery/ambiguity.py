"""What `data init` says of folders whose pairing is ambiguous or doubtful, and how to choose."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.discovery.looks import NOT_CLASSES, held
from pipelines.discovery.parts import Part, relative, shown
from pipelines.discovery.places import only_in_each
from pipelines.errors import DataError, quoted
from pipelines.split_names import NNU_NET, SPLIT


def several_masks(root: Path, parts: list[Part]) -> DataError:
    """Builds the error for images with several kinds of masks, or the reverse."""
    first = parts[0]
    images, masks = relative(root, first.images), relative(root, first.masks)
    folders = [part.masks for part in parts]
    if _are_disjoint(folders, [{name + p.suffixes.image for name in p.pairs} for p in parts]):
        return _scattered(root, "masks", images, parts)
    alone = next((part for part in parts if folders.count(part.masks) == 1), None)
    if not alone and len({part.suffixes.mask for part in parts}) == 1:
        names = [f"{images}/*{part.suffixes.image}.*" for part in parts]
        return DataError(
            f"{root}: the masks in {masks} fit several kinds of images: {', '.join(names)}. Choose "
            f"one, for example with --image-suffix={quoted(first.suffixes.image)}.",
            file=root,
        )
    kinds = [
        relative(root, part.masks)
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


def several_images(root: Path, parts: Sequence[Part]) -> DataError:
    """Builds the error for masks that fit several folders of images."""
    masks, folders = parts[0].masks, [part.images for part in parts]
    if _are_disjoint(folders, [{name + p.suffixes.mask for name in p.pairs} for p in parts]):
        return _scattered(root, "images", relative(root, masks), parts)
    images = [relative(root, folder) for folder in sorted(set(folders))]
    return DataError(
        f"{root}: the folder {relative(root, masks)} fits several folders of images: "
        f"{', '.join(images)}. To use several, write the YAML file by hand, with a list of pairs: "
        f"`train: [{{images: ..., masks: ...}}, ...]`. Or choose one, for example with --images "
        f"{quoted(images[0])}.",
        file=root,
    )


def contradicting(root: Path, part: Part) -> str:
    """Says why two folders with the same file names are not paired."""
    return (
        f"not paired: {shown(root, part)}; their files have the same names, but the numbers in "
        "their paths differ. If they belong together, choose them with "
        f"--masks {quoted(relative(root, part.masks))}"
    )


def without_class_masks(root: Path, part: Part) -> str:
    """Says why a folder of images is left out while others have class masks."""
    return (
        f"not paired: {shown(root, part)}; these do not seem to be class masks, which the other "
        "images have. If they are, write the YAML file by hand"
    )


def doubts(root: Path, parts: Sequence[Part]) -> Iterator[str]:
    """Yields notes on parts that may not belong together."""
    kinds = {frozenset(_own_words(root, part)): part for part in reversed(parts)}
    if len(kinds) > 1:
        named = [
            relative(root, part.masks) + f"/*{part.suffixes.mask}.*" * bool(part.suffixes.mask)
            for part in parts
            if part in kinds.values()
        ]
        yield (
            f"masks are in folders with different names: {', '.join(named)}. Check that they hold "
            "the same classes"
        )
    alike: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for part in parts:
        alike[only_in_each(*part.places(root))].append(part)
    for words, of_words in alike.items():
        if all(words) and len(of_words) == 1:  # In several pairs it is how the data set names them.
            yield (
                f"paired by the names of their files, although their paths differ in {words[0]!r} "
                f"and {words[1]!r}: {shown(root, of_words[0])}. Check that they belong together"
            )


def has_class_masks(root: Path, part: Part) -> bool:
    """Whether what only the masks' names have is not about instances, edges and the like."""
    return not NOT_CLASSES.search(" ".join(_own_words(root, part)))


def _own_words(root: Path, part: Part) -> list[str]:
    """The words that only the masks have in their names: their kind. Splits do not count."""
    images, masks = (
        [
            word.rstrip("s")
            for word in re.findall(r"[^\W\d_]+", NNU_NET.sub(" ", SPLIT.sub(" ", text.lower())))
        ]
        for text in (
            f"{relative(root, part.images)}/{part.suffixes.image}",
            f"{relative(root, part.masks)}/{part.suffixes.mask}",
        )
    )
    return [word for word in masks if word not in images]


def _are_disjoint(folders: Sequence[Path], names: Sequence[set[str]]) -> bool:
    """Whether folders hold the partners of different files."""
    return len(set(folders)) == len(folders) and len(set().union(*names)) == sum(map(len, names))


def _scattered(root: Path, what: str, others: str, parts: Sequence[Part]) -> DataError:
    """Builds the error for one folder whose masks, or images, are in several folders."""
    held_in = ", ".join(
        f"{relative(root, part.masks if what == 'masks' else part.images)} ({len(part.pairs)})"
        for part in parts
    )
    first = parts[0]
    pair = f"images: {relative(root, first.images)}, masks: {relative(root, first.masks)}"
    return DataError(
        f"{root}: the {what} of {others} are in several folders: {held_in}. Move them into one "
        "folder; or write the YAML file by hand, with each pair of folders and a list of its "
        f"images: `train: [{{{pair}, list: FILE.txt}}, ...]`.",
        file=root,
    )


def _distinguishing(root: Path, part: Part, others: list[Path]) -> str:
    """What only this folder of masks has in its path, such as the kind of masks."""
    taken = {name for folder in (part.images, *others) for name in folder.relative_to(root).parts}
    own = [name for name in part.masks.relative_to(root).parts if name not in taken]
    return own[0] if own else relative(root, part.masks)
