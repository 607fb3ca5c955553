"""What reading every file of a split has shown."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.errors import DataError
from pipelines.files.opening import Source
from pipelines.split import IGNORE, Split


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

    split: Split
    pixels: np.ndarray
    images: np.ndarray
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    checksums: list[int | None] = field(default_factory=list)
    present: list[int] = field(default_factory=list)
    half_void: list[int] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    faults: list[DataError] = field(default_factory=list)
    warnings: list[DataError] = field(default_factory=list)

    @property
    def class_pixels(self) -> np.ndarray:
        """int64 `[classes]`: the labelled pixels of each class."""
        return self.pixels[: self.split.num_classes]

    @property
    def void_share(self) -> float:
        """The share of void among all pixels, 0..1."""
        return float(self.pixels[IGNORE] / max(self.pixels.sum(), 1))

    @property
    def void(self) -> list[int]:
        """Positions of examples whose masks are all void."""
        bad = set(self.bad)
        return [i for i, held in enumerate(self.present) if not held and i not in bad]

    def without_bad(self) -> Findings:
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

    def of_the_split(self) -> tuple[list[DataError], list[DataError]]:
        """Faults and warnings of the split as a whole: two lists of `DataError`s."""
        faults = self._faults_of_the_split()
        readable = len(self.bad) < len(self.split)
        return faults, self._warnings_of_the_split() if readable and not faults else []

    def _faults_of_the_split(self) -> list[DataError]:
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

    def _warnings_of_the_split(self) -> list[DataError]:
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
                    f"and 255, which is void here, the first is {name_of(first)}. Is 255 a class "
                    "there? Then map it, `value: 255`, or save these masks as the others are.",
                    kind="one class and void",
                )
            )
        if void := self.void:
            first = self.split.examples[void[0]].mask
            warnings.append(
                DataError(
                    f"{name}: {len(void)} of {len(self.split)} masks are all void, the first "
                    f"is {name_of(first)}: nothing to learn or score there.",
                    kind="all void",
                )
            )
        return warnings


def name_of(source: Source | np.ndarray, otherwise: str = "an array") -> Source:
    """What a message calls an image or a mask: its path, if it has one."""
    return otherwise if isinstance(source, np.ndarray) else source
