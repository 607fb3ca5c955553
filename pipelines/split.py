"""What every data set gives: the examples of one split, and what their masks mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pipelines.errors import DataError
from pipelines.files.images import read_image, read_mask
from pipelines.files.opening import Source

IGNORE = 255  # The label that is ignored, in every data set.
SPLITS = ("train", "val", "test")  # Those that data sets usually have.


@dataclass(frozen=True)
class Example:
    """One image and its mask.

    Each is a path, an array (RGB uint8 [h, w, 3]; values [h, w]), or anything else with a method
    `read_bytes()` for an encoded file's content and a `str()` that names it.
    """

    id: str
    image: Source | np.ndarray
    mask: Source | np.ndarray


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
        mask_colours: the same for each RGB colour, where masks are pictures in colours; an empty
            dict if they never are, so that grey pictures hold values.
        read_image: reads an example's image, uint8 `[h, w, 3]`, or for `pipelines.joint_dataset`
            alone float32 with further channels.
        read_mask: reads an example's mask: integers or bool `[h, w]`, or uint8 `[h, w, 3]` colours.
        faults: `DataError`s of the data set's lists and folders, such as images without a mask;
            `pipelines.read` raises them.
    """

    name: str
    examples: tuple[Example, ...]
    class_names: tuple[str, ...]
    palette: np.ndarray
    mask_values: Mapping[int, int]
    mask_colours: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    # Any: a data set's own readers take what its own examples hold.
    read_image: Callable[[Any], np.ndarray] = read_image
    read_mask: Callable[[Any], np.ndarray] = read_mask
    faults: tuple[DataError, ...] = ()

    def __post_init__(self) -> None:
        """Checks that names, colours and values speak of the same classes."""
        if len(self.palette) != self.num_classes:
            raise DataError(
                f"{self.name}: {self.num_classes} class names, but {len(self.palette)} colours in "
                "the palette. Give one colour for each class."
            )
        ids = {*self.mask_values.values(), *self.mask_colours.values()} - {IGNORE}
        if ids and max(ids) >= self.num_classes:
            raise DataError(
                f"{self.name}: masks have class id {max(ids)}, but there are {self.num_classes} "
                f"class names, for the ids 0..{self.num_classes - 1}. Name every class."
            )

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @cached_property
    def value_table(self) -> tuple[np.ndarray, np.ndarray]:
        """For 8-bit values: which have a meaning, uint8 `[256]`, and the class ids, the same."""
        known, table = np.zeros(256, "uint8"), np.zeros(256, "uint8")
        for value, class_id in self.mask_values.items():
            if 0 <= value <= 255:
                known[value], table[value] = 1, class_id
        return known, table

    @cached_property
    def colour_table(self) -> np.ndarray:
        """Class id or 255 of each colour, int16 `[2**24]`, by `colour_codes`; otherwise -1."""
        table = np.full(2**24, -1, "int16")
        for (red, green, blue), class_id in self.mask_colours.items():
            table[colour_codes(np.array([red, green, blue]))] = class_id
        return table

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.examples)


def colour_codes(colours: np.ndarray) -> np.ndarray:
    """RGB colours `[..., 3]` as numbers 65536 r + 256 g + b, uint32 `[...]`."""
    red, green, blue = np.moveaxis(colours, -1, 0).astype("uint32")
    return red * 65536 + green * 256 + blue


def colour_of(code: int | np.integer) -> tuple[int, int, int]:
    """The colour (r, g, b) that `colour_codes` gives a number."""
    return int(code) >> 16, int(code) >> 8 & 255, int(code) & 255


def plain_values(num_classes: int) -> dict[int, int]:
    """`mask_values` of masks that hold class ids, and 255 for void."""
    return {**{i: i for i in range(num_classes)}, IGNORE: IGNORE}


def distinct_palette(count: int) -> np.ndarray:
    """The PASCAL VOC palette: `count` colours, uint8 `[count, 3]`, no two alike, class 0 black."""
    ids = np.arange(count)
    colours = np.zeros((count, 3), "uint8")
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype("uint8")
    return colours
