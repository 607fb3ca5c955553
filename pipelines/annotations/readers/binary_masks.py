"""Black-and-white masks, one for each class (or observer) of an image.

The class is named by the mask's folder (`masks/road/a.png`), or by what its name has besides the
image's (`a_road.png`, `road_a.png`). Several observers of one class are told by names such as
`a_1stHO.png` and `a_manual2.png`.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from pipelines.annotations.annotated import Annotated, Bitmap, ClassName, Picture, Shape
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.mask_files import (
    Images,
    check_size,
    is_in_mask_folder,
    names_beside,
    read_values,
)
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.datasets.lists import read_lines
from pipelines.errors import DataError
from pipelines.files.opening import Encoded
from pipelines.split_names import split_of

SEPARATORS = "_-. "
LOOKED_AT = 6  # Masks whose pixels tell whether they are black and white.
MOST = 100  # Classes.
OBSERVER = re.compile(
    r"(\d(st|nd|rd|th))?[-_. ]*(ho|obs|observer|manual|expert|annotator|rater|reader|grader)"
    r"[-_. ]*\d*|ah|vk",  # STARE's observers.
    re.IGNORECASE,
)


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for several black-and-white masks of an image, or None."""
    masks = _masks(listing)
    kinds = list(dict.fromkeys(mask.kind for mask in masks))
    per_image = Counter(mask.stem for mask in masks)
    if not 2 <= len(kinds) <= MOST or max(per_image.values()) < 2:
        return None
    if any(kind.isdecimal() for kind in kinds):  # Numbers of objects.
        return None
    shown = [next(mask.name for mask in masks if mask.kind == kind) for kind in kinds]
    if not all(_is_binary(listing.root / name) for name in shown[:LOOKED_AT]):
        return None
    return f"{' and '.join(shown[:2])} are black-and-white masks of one image"


def read(listing: Listing, options: Options) -> Annotated:
    """Finds the masks of each image and class."""
    masks = _masks(listing)
    kinds = sorted({mask.kind for mask in masks})
    notes: list[str] = []
    if len(kinds) > 1 and all(_is_observer(kind) for kind in kinds):
        chosen = _annotator(listing, kinds, options)
        notes.append(f"the masks are those of {chosen}; there are also {_others(kinds, chosen)}")
        masks = [mask for mask in masks if mask.kind == chosen]
        masks = [_Mask(mask.name, mask.image, mask.stem, "object") for mask in masks]
        kinds = ["object"]
    elif options.keep and set(options.keep) <= set(kinds):
        kinds = [*options.keep, *(kind for kind in kinds if kind not in options.keep)]
    elif table := names_beside(listing):
        names = read_lines(listing.root / table)
        if set(kinds) <= set(names):
            kinds = [name for name in names if name in kinds]
            notes.append(f"the order of the classes is that of {table}")
    if not kinds:
        raise DataError(
            f"{listing.root}: has no masks called like images, such as a_road.png or road/a.png "
            "of the image a.jpg.",
            kind="no masks",
            file=listing.root,
        )
    images = Images(listing, lambda name: False)
    by_image: dict[str, list[_Mask]] = defaultdict(list)
    for mask in masks:
        by_image[mask.image].append(mask)
    pictures = []
    for name, of_image in sorted(by_image.items()):
        # The first class is painted last, so that it wins.
        of_image.sort(key=lambda mask: -kinds.index(mask.kind))
        _, image = images.found(PurePosixPath(name).stem, name)
        picture = Picture(
            name=name,
            image=image,
            shapes=partial(_shapes, listing.root, image, of_image, kinds),
            where=str(listing.root / of_image[0].name),
            split=split_of(str(PurePosixPath(name).parent)),
        )
        pictures.append(picture)
    every = {mask.image for mask in masks} | {mask.name for mask in _masks(listing)}
    if without := sum(name not in every and not is_in_mask_folder(name) for name in images.names):
        notes.append(f"{without:,} images without a mask are left out")
    if len(kinds) > 1:
        notes.append(f"where classes overlap, the first of {', '.join(kinds)} counts")
    return Annotated(
        classes=tuple(map(ClassName, kinds)), pictures=tuple(pictures), notes=tuple(notes)
    )


@dataclass(frozen=True)
class _Mask:
    """A mask: its file, its image and that one's stem, and the class or observer."""

    name: str
    image: str
    stem: str
    kind: str


def _masks(listing: Listing) -> list[_Mask]:
    """Finds the files that are named after another file, or lie in a folder of masks."""
    pictures = listing.ending(*EXTENSIONS)
    images = Images(listing, is_in_mask_folder)
    masks = []
    for name in pictures:
        stem = PurePosixPath(name).stem
        for part, rest in _splittings(stem):
            image = images.of(part, name)
            if image is None or image == name:
                continue
            kind = rest or PurePosixPath(name).parent.name
            if rest or is_in_mask_folder(name):
                masks.append(_Mask(name, image, part, kind))
                break
    return _by_folder(masks)


def _splittings(stem: str) -> list[tuple[str, str]]:
    """Returns the ways to cut a stem into an image's and the rest, the longest images first."""
    cuts = [n for n, character in enumerate(stem) if character in SEPARATORS]
    before = [(stem[:n], stem[n + 1 :]) for n in reversed(cuts)]
    after = [(stem[n + 1 :], stem[:n]) for n in cuts]
    found = [(stem, ""), *before, *after]
    return sorted(found, key=lambda one: -len(one[0]))


def _by_folder(masks: list[_Mask]) -> list[_Mask]:
    """Names the classes by folders where all masks of a folder have the same suffix, or none."""
    folders = defaultdict(set)
    for mask in masks:
        folders[PurePosixPath(mask.name).parent.name].add(mask.kind)
    kinds = {kind for found in folders.values() for kind in found}
    if len(folders) < 2 or any(len(found) > 1 for found in folders.values()):
        return masks
    if len(kinds) < len(folders):  # One suffix in several folders, such as train and val.
        return masks
    return [
        _Mask(mask.name, mask.image, mask.stem, PurePosixPath(mask.name).parent.name)
        for mask in masks
    ]


def _is_observer(kind: str) -> bool:
    return OBSERVER.fullmatch(kind) is not None


def _annotator(listing: Listing, kinds: list[str], options: Options) -> str:
    """Returns whose masks count."""
    if options.annotator in kinds:
        return str(options.annotator)
    rule = (
        f"has masks of several people: {', '.join(kinds)}. Choose one"
        if options.annotator is None
        else f"has no masks of {options.annotator!r}, only of {', '.join(kinds)}. Choose one"
    )
    raise DataError(
        f"{listing.root}: {rule} with --annotator {kinds[0]}.",
        kind="several annotators",
        file=listing.root,
        value=kinds,
    )


def _others(kinds: list[str], chosen: str) -> str:
    return ", ".join(kind for kind in kinds if kind != chosen)


def _is_binary(path: Path) -> bool:
    try:
        foreground(path)
    except DataError:
        return False
    return True


def _shapes(
    root: Path, image: Path | Encoded | DataError, masks: list[_Mask], kinds: list[str]
) -> list[Shape]:
    shapes = []
    for mask in masks:
        path = root / mask.name
        pixels = foreground(path)
        check_size(pixels, path, image)
        shape = Shape(
            kinds.index(mask.kind), Bitmap(partial(np.asarray, pixels)), label=f"mask {mask.name}"
        )
        shapes.append(shape)
    return shapes


def foreground(path: Path) -> np.ndarray:
    """Reads a black-and-white mask as bool `[h, w]`: all that is not black.

    Raises:
        DataError: It cannot be read, or has several values or colours besides black.
    """
    values, _ = read_values(path)
    if values.ndim == 3:
        values = values[..., :3].astype("int64") @ np.array([65536, 256, 1])
    found = np.unique(values)
    if len(found) > 2 or (len(found) == 2 and found[0] != 0):
        raise DataError(
            f"{path}: has {len(found):,} values or colours, but a black-and-white mask has black "
            "and one other. Export it without smoothing; for masks of class ids, run `fcn-keras "
            "data init`.",
            kind="not black and white",
            file=path,
        )
    return np.asarray(values != 0)
