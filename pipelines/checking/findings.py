"""The results of reading every file of a split."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.errors import DataError
from pipelines.files.lossy_masks import LOSSY_READERS
from pipelines.files.opening import Source
from pipelines.split import IGNORE, Split


@dataclass
class Findings:
    """The results of reading every file of a split.

    Attributes:
        split: The `Split`.
        pixels: int64 `[256]`, pixels per class id; void is at 255.
        images: int64 `[256]`, number of masks per class id; void is at 255.
        sizes: (height, width) of each example's image, or None if it cannot be read.
        checksums: 64-bit checksum of each image's pixels, or None.
        present: Class ids in each example's mask, as an integer with these bits set.
        half_void: Positions of examples with only one class and void, where 255 is void.
        bad: Positions of examples with faults.
        faults: What makes files unusable.
        warnings: What looks wrong but does not prevent use.
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
        """Labelled pixels per class, int64 `[classes]`."""
        return self.pixels[: self.split.num_classes]

    @property
    def void_share(self) -> float:
        """Share of void among all pixels, 0..1."""
        return float(self.pixels[IGNORE] / max(self.pixels.sum(), 1))

    @property
    def void(self) -> list[int]:
        """Positions of examples whose masks are entirely void."""
        bad = set(self.bad)
        return [i for i, held in enumerate(self.present) if not held and i not in bad]

    def without_bad(self) -> Findings:
        """Returns the findings of the split without the examples that have faults.

        Raises:
            DataError: No example is left.
        """
        bad = set(self.bad)
        kept = [i for i in range(len(self.split)) if i not in bad]
        if not kept:
            raise DataError(
                f"{self.split.name}: every example has a fault, so none is left. Mend the files; "
                "`fcn-keras data check` lists the faults."
            )
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
        """Returns the faults and the warnings that concern the split as a whole."""
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
                    f"{name}: every pixel of every mask is void ({IGNORE}), so nothing can be "
                    "learned or scored. Check the masks and the ignored values.",
                    kind="all void",
                )
            ]
        if np.count_nonzero(labelled) == 1 and self.pixels[IGNORE] > 0.01 * labelled.sum():
            ignored = sorted(v for v, i in self.split.mask_values.items() if i == IGNORE)
            return [
                DataError(
                    f"{name}: all labelled pixels are {names[labelled.argmax()]!r}; the others are "
                    f"ignored (values {ignored}). Map 255 to 1? If an ignored value is a class, "
                    "declare it, as in `{name: object, value: 255}`, and remove it from `ignore`.",
                    kind="one class only",
                )
            ]
        return []

    def _warnings_of_the_split(self) -> list[DataError]:
        name, names, labelled = self.split.name, self.split.class_names, self.class_pixels
        present = np.count_nonzero(labelled)
        warnings = []
        if isinstance(self.split.read_mask, LOSSY_READERS):
            warnings.append(
                DataError(
                    f"{name}: masks are read with `{self.split.read_mask}`, so pixels near "
                    "outlines may have the wrong class. Export the masks as PNG if you can.",
                    kind="lossy masks",
                )
            )
        if present == 1:
            counts = ", ".join(f"{n} {p:,}" for n, p in zip(names, labelled, strict=True))
            warnings.append(
                DataError(
                    f"{name}: every labelled pixel is {names[labelled.argmax()]!r}, so a model "
                    f"would learn to predict only that. Pixels per class: {counts}.",
                    kind="one class only",
                )
            )
        elif present < len(names):
            absent = [n for n, count in zip(names, labelled, strict=True) if not count]
            warnings.append(
                DataError(
                    f"{name}: no mask has {', '.join(absent)}: not learned or scored here (IU n/a, "
                    "left out of the mean).",
                    kind="absent class",
                )
            )
        if self.half_void:
            first = self.split.examples[self.half_void[0]].mask
            warnings.append(
                DataError(
                    f"{name}: only one class and 255, which is void here, in "
                    f"{len(self.half_void)} of {len(self.split)} masks; the first is "
                    f"{name_of(first)}. If 255 is a class there, map it (`value: 255`), or save "
                    "these masks like the others.",
                    kind="one class and void",
                )
            )
        if void := self.void:
            first = self.split.examples[void[0]].mask
            warnings.append(
                DataError(
                    f"{name}: nothing but void in {len(void)} of {len(self.split)} masks; the "
                    f"first is {name_of(first)}. Nothing can be learned or scored there.",
                    kind="all void",
                )
            )
        return warnings


def name_of(source: Source | np.ndarray, otherwise: str = "an array") -> Source:
    """Returns the path of an image or mask for messages, or `otherwise` for an array."""
    return otherwise if isinstance(source, np.ndarray) else source
