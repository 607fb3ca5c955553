"""What every data set gives: the examples of one split, and what their masks mean."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

IGNORE = 255  # The label that counts nowhere, in every data set.


@dataclass(frozen=True)
class Example:
    """One image and its mask, as paths or as arrays (RGB uint8 [h, w, 3] and uint8 [h, w])."""

    id: str
    image: Path | np.ndarray
    mask: Path | np.ndarray


@dataclass(frozen=True)
class Split:
    """The examples of one split, in a fixed order.

    Attributes:
        name: data set and split, such as "camvid val".
        examples: what there is to read.
        class_names: a name for each class id 0, 1, ...
        palette: uint8 `[classes, 3]`, an RGB colour for each class.
        mask_values: the class id, or 255 for void, that each value in a mask file stands for;
            other values are errors.
    """

    name: str
    examples: tuple[Example, ...]
    class_names: tuple[str, ...]
    palette: np.ndarray
    mask_values: dict[int, int]

    @property
    def num_classes(self):
        """How many classes there are."""
        return len(self.class_names)

    @cached_property
    def lookup(self):
        """Class id or 255 of each value in a mask file, int16 `[256]`; -1 where there is none."""
        table = np.full(256, -1, "int16")
        table[list(self.mask_values)] = list(self.mask_values.values())
        return table

    def __len__(self):
        """How many examples there are."""
        return len(self.examples)


def plain_values(num_classes):
    """`mask_values` of masks that hold class ids, and 255 for void."""
    return {**{i: i for i in range(num_classes)}, IGNORE: IGNORE}


def distinct_palette(count):
    """The PASCAL VOC palette: `count` colours, uint8 `[count, 3]`, no two alike, class 0 black."""
    ids = np.arange(count)
    colours = np.zeros((count, 3), "uint8")
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype("uint8")
    return colours
