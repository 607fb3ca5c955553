"""The data doctor: reads everything before the first training step, and finds all faults at once.

What cannot be used is a fault, what is odd is a warning; both are `DataError`s, grouped by `kind`.
Damage inside a JPEG that leaves a valid stream of codes cannot be told from a picture: no reader
notices it. Two images are the same where the checksums of their pixels are.
"""

import zlib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from pipelines.errors import DataError, raise_all
from pipelines.examples import check_sizes, class_counts
from pipelines.files.images import read_image
from pipelines.split import IGNORE


@dataclass
class Findings:
    """What reading every file of a split has shown.

    Attributes:
        split: the `Split`.
        pixels: int64 `[256]`, the pixels of each class id, and of void at 255.
        images: int64 `[256]`, in how many masks each of them occurs.
        sizes: (height, width) of each example's image, None where it cannot be read.
        checksums: of each image's pixels, 64 bits, or None.
        present: the class ids of each example's mask, as a number with these bits set.
        half_void: positions of examples with one class and void alone, where 255 is void.
        bad: positions of examples with faults.
        faults: what cannot be used.
        warnings: what is odd.
    """

    split: object
    pixels: np.ndarray
    images: np.ndarray
    sizes: list = field(default_factory=list)
    checksums: list = field(default_factory=list)
    present: list = field(default_factory=list)
    half_void: list = field(default_factory=list)
    bad: list = field(default_factory=list)
    faults: list = field(default_factory=list)
    warnings: list = field(default_factory=list)

    @property
    def class_pixels(self):
        """int64 `[classes]`: the labelled pixels of each class."""
        return self.pixels[: self.split.num_classes]

    @property
    def void_share(self):
        """The share of void among all pixels, 0..1."""
        return float(self.pixels[IGNORE] / max(self.pixels.sum(), 1))

    @property
    def void(self):
        """Positions of examples whose masks are all void."""
        bad = set(self.bad)
        return [i for i, held in enumerate(self.present) if not held and i not in bad]

    def without_bad(self):
        """The findings of the split without the examples that have faults.

        Raises:
            DataError: nothing is left.
        """
        bad = set(self.bad)
        kept = [i for i in range(len(self.split)) if i not in bad]
        if not kept:
            raise DataError(f"{self.split.name}: every example has a fault; nothing is left.")
        examples = tuple(self.split.examples[i] for i in kept)
        place = {i: n for n, i in enumerate(kept)}
        return replace(
            self,
            split=replace(self.split, examples=examples, faults=()),
            sizes=[self.sizes[i] for i in kept],
            checksums=[self.checksums[i] for i in kept],
            present=[self.present[i] for i in kept],
            half_void=[place[i] for i in self.half_void],
            bad=[],
            faults=[],
        )

    def of_the_split(self):
        """Faults and warnings of the split as a whole: two lists of `DataError`s."""
        faults = self._faults_of_the_split()
        readable = len(self.bad) < len(self.split)
        return faults, self._warnings_of_the_split() if readable and not faults else []

    def _faults_of_the_split(self):
        name, names, labelled = self.split.name, self.split.class_names, self.class_pixels
        if not len(self.split) and not self.faults:
            return [DataError(f"{name}: the split is empty.", kind="empty split")]
        if len(self.bad) == len(self.split):
            return []  # Nothing could be read; the files' faults say why.
        if not labelled.sum():
            return [
                DataError(
                    f"{name}: every pixel of every mask is void ({IGNORE}): there is nothing to "
                    "learn or to score.",
                    kind="all void",
                )
            ]
        if np.count_nonzero(labelled) == 1 and self.pixels[IGNORE] > 0.01 * labelled.sum():
            ignored = sorted(v for v, i in self.split.mask_values.items() if i == IGNORE)
            return [
                DataError(
                    f"{name}: all labelled pixels are {names[labelled.argmax()]!r}; the others are "
                    f"ignored (values {ignored}). If one of these values is a class, say so: "
                    "`{name: object, value: 255}`, without it in `ignore`. Map 255 to 1?",
                    kind="one class only",
                )
            ]
        return []

    def _warnings_of_the_split(self):
        name, names, labelled = self.split.name, self.split.class_names, self.class_pixels
        present = np.count_nonzero(labelled)
        warnings = []
        if present == 1:
            counts = ", ".join(f"{n} {p:,}" for n, p in zip(names, labelled, strict=True))
            warnings.append(
                DataError(
                    f"{name}: every labelled pixel is {names[labelled.argmax()]!r}; a model would "
                    f"learn to give just that. Pixels by class: {counts}.",
                    kind="one class only",
                )
            )
        elif present < len(names):
            absent = [n for n, count in zip(names, labelled, strict=True) if not count]
            warnings.append(
                DataError(
                    f"{name}: no mask has {', '.join(absent)}: never learned or scored here (IU "
                    "n/a, left out of the mean).",
                    kind="absent class",
                )
            )
        if self.half_void:
            first = self.split.examples[self.half_void[0]].mask
            warnings.append(
                DataError(
                    f"{name}: {len(self.half_void)} of {len(self.split)} masks hold but one class "
                    f"and 255, which is void here, the first is {_name_of(first)}. Is 255 a class "
                    "there? Then map it, `value: 255`, or save these masks as the others are.",
                    kind="one class and void",
                )
            )
        if void := self.void:
            first = self.split.examples[void[0]].mask
            warnings.append(
                DataError(
                    f"{name}: {len(void)} of {len(self.split)} masks are all void, the first "
                    f"is {_name_of(first)}: nothing to learn or score there.",
                    kind="all void",
                )
            )
        return warnings


def examine(split, progress=None):
    """Reads every image and mask of a split, on all cores.

    Args:
        split: a `Split`.
        progress: called with no argument after each example, or None.

    Returns:
        `Findings`.
    """
    found = Findings(split, np.zeros(256, "int64"), np.zeros(256, "int64"))
    found.faults += split.faults
    with ThreadPoolExecutor() as pool:
        for index, seen in enumerate(pool.map(lambda e: _examine(split, e), split.examples)):
            found.sizes.append(seen.size)
            found.checksums.append(seen.checksum)
            found.faults += seen.faults
            found.warnings += seen.warnings
            found.present.append(0)
            if seen.faults:
                found.bad.append(index)
            else:
                found.present[-1] = sum(1 << int(c) for c in np.flatnonzero(seen.counts[:IGNORE]))
                found.pixels += seen.counts
                found.images += seen.counts > 0
                if _is_half_void(split, seen.counts):
                    found.half_void.append(index)
            if progress:
                progress()
    return found


def check(split, progress=None):
    """Reads every image and mask of a split, and stops if any of them cannot be used.

    Args:
        split: a `Split`.
        progress: called with no argument after each example, or None.

    Returns:
        int64 `[classes]`: the labelled pixels of each class.

    Raises:
        DataError: the split is empty, every pixel of it is void, or there is but one class and
            void (as if a class were ignored), or files have faults; all of them are in the
            message, a line each.
    """
    found = examine(split, progress)
    raise_all([*found.faults, *found.of_the_split()[0]])
    return found.class_pixels


def overlaps(findings):
    """Images that occur more than once, in one split or in two.

    Args:
        findings: a list of `Findings`.

    Returns:
        A list of `DataError`s, one for each pair of splits that share images, and one for each
        split that holds an image twice.
    """
    shared = defaultdict(list)
    places = [_places(one) for one in findings]
    for one, found in zip(findings, places, strict=True):
        for first, *others in found.values():
            shared[one.split.name, one.split.name] += [(first, other) for other in others]
    for (one, found), (other, again) in combinations(zip(findings, places, strict=True), 2):
        for key in found.keys() & again.keys():
            shared[one.split.name, other.split.name].append((found[key][0], again[key][0]))
    return [_overlap(*names, pairs) for names, pairs in shared.items() if pairs]


def grouped(errors):
    """Errors by kind, the most frequent kind first: a dict of lists."""
    order = Counter(error.kind for error in errors)
    return {kind: [e for e in errors if e.kind == kind] for kind, _ in order.most_common()}


@dataclass
class _Seen:
    """What reading one example has shown."""

    size: tuple | None = None
    checksum: int | None = None
    counts: np.ndarray | None = None
    faults: list = field(default_factory=list)
    warnings: list = field(default_factory=list)


def _examine(split, example):
    seen = _Seen()
    image = None
    try:
        image = read_image(example.image, seen.warnings)
        seen.size, seen.checksum = image.shape[:2], _checksum(image)
    except DataError as error:
        seen.faults.append(error)
    try:
        values = split.read_mask(example.mask)
        seen.counts = class_counts(split, example, values)
        if image is not None:
            check_sizes(example, image, values)
    except DataError as error:
        seen.faults.append(error)
    return seen


def _is_half_void(split, counts):
    """More than borders are void; a mask of 0 and 255 among others of ids is so by mistake."""
    one_class = np.count_nonzero(counts[:IGNORE]) == 1
    return (
        one_class and split.mask_values.get(255) == IGNORE and counts[IGNORE] > 0.01 * counts.sum()
    )


def _checksum(image):
    """Two CRC-32, of the upper and the lower half: few enough images have both in common."""
    pixels = memoryview(np.ascontiguousarray(image)).cast("B")
    half = len(pixels) // 2
    return zlib.crc32(pixels[:half]) << 32 | zlib.crc32(pixels[half:])


def _places(findings):
    """The examples of each size and checksum."""
    places = defaultdict(list)
    for example, size, checksum in zip(
        findings.split.examples, findings.sizes, findings.checksums, strict=True
    ):
        if checksum is not None:
            places[size, checksum].append(example)
    return places


def _overlap(one, other, pairs):
    first, again = (_name_of(e.image, e.id) for e in pairs[0])
    where = f"{one}: holds" if one == other else f"{one} and {other}: share"
    return DataError(
        f"{where} {len(pairs)} {'images more than once' if one == other else 'images'}, such as "
        f"{first} and {again}."
        + ("" if one == other else " Figures on images that were trained on mean little."),
        kind="duplicates" if one == other else "overlap of splits",
        value=[(a.id, b.id) for a, b in pairs],
    )


def _name_of(source, otherwise="an array"):
    return otherwise if isinstance(source, np.ndarray) else source
