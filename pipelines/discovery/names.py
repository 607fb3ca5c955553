"""Finds what the names of images and their masks have in common, and the suffixes of each.

`21_training.png` and `21_manual1.png` have the name `21`, with the suffixes `_training` and
`_manual1`. A suffix starts at one of `-_. `, or is empty.
"""

import re
from collections import Counter
from collections.abc import Collection
from functools import cached_property
from typing import NamedTuple

MOST = 16  # Suffixes to try per folder.
OF_MASKS = re.compile(r"[-_. ](.*(mask|label|annot|seg|truth|gt).*|l)", re.IGNORECASE)


class Suffixes(NamedTuple):
    """What the files' names add to the name that an image and its mask share."""

    image: str
    mask: str


class Names:
    """The file names of a folder, without extensions."""

    def __init__(self, stems: Collection[str]) -> None:
        """Takes the names."""
        self.stems = stems
        self._without: dict[str, frozenset[str]] = {}

    @cached_property
    def suffixes(self) -> list[str]:
        """The most frequent suffixes; one of a single file only if there is no other file."""
        found = Counter(stem[at.start() :] for stem in self.stems for at in _separators(stem))
        least = min(2, len(self.stems))
        return ["", *(suffix for suffix, count in found.most_common(MOST) if count >= least)]

    @cached_property
    def parts(self) -> frozenset[str]:
        """All names without any of the suffixes."""
        return frozenset().union(*map(self.without, self.suffixes))

    def without(self, suffix: str) -> frozenset[str]:
        """The names that end with a suffix, without it."""
        if suffix not in self._without:
            ending = (stem for stem in self.stems if stem.endswith(suffix))
            self._without[suffix] = frozenset(stem.removesuffix(suffix) for stem in ending)
        return self._without[suffix]


def common_suffixes(
    images: Names, masks: Names, image: str | None = None, mask: str | None = None
) -> list[Suffixes]:
    """Finds the suffixes with which names of images and masks agree.

    Args:
        images: Names of images.
        masks: Names of masks, or the same `Names` if both are in one folder.
        image: The suffix of the images, or None to find it.
        mask: The suffix of the masks, or None to find it.

    Returns:
        The best `Suffixes` first; more only if they give the same images other masks, or the same
        masks other images. Empty if the names do not agree.
    """
    if image is None and mask is None and images.parts.isdisjoint(masks.parts):
        return []
    together = images is masks
    found = []
    for of_image in images.suffixes if image is None else [image]:
        for of_mask in masks.suffixes if mask is None else [mask]:
            if together and of_image.endswith(of_mask):
                continue
            names = images.without(of_image) & masks.without(of_mask)
            # One common name shows little: `a_1` and `a_2` are no pair.
            if len(names) > 1 or (names and (not of_image or len(images.stems) == 1)):
                found.append((names, Suffixes(of_image, of_mask)))
    if not found:
        return []
    found.sort(key=lambda one: (-len(one[0]), *_doubts(one[1])))
    names, best = found[0]
    taken = {name + best.mask for name in names}, {name + best.image for name in names}
    result = [best]
    for others, one in found[1:]:
        if 2 * len(others) <= len(names):
            break
        more = {name + one.mask for name in others}, {name + one.image for name in others}
        if one.image == best.image and taken[0].isdisjoint(more[0]):
            result.append(one)
        elif one.mask == best.mask and best.image and taken[1].isdisjoint(more[1]):
            result.append(one)
    return result


def _doubts(suffixes: Suffixes) -> tuple[bool, bool, int, Suffixes]:
    """Orders suffixes that are equally frequent: simple ones first."""
    is_mask = OF_MASKS.fullmatch(suffixes.mask) is not None
    return suffixes.image != "", not is_mask, len("".join(suffixes)), suffixes


def _separators(stem: str) -> list[re.Match[str]]:
    return list(re.finditer(r"[-_. ]", stem))
