"""The common form of all data sets: the examples of one split and the meaning of their masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pipelines.errors import DataError
from pipelines.files.images import read_image, read_mask
from pipelines.files.opening import Source

IGNORE = 255  # The ignored label, the same in every data set.
SPLITS = ("train", "val", "test")  # The usual splits.


@dataclass(frozen=True)
class Example:
    """One image and its mask.

    Each is a path, an array (RGB uint8 [h, w, 3]; values [h, w]), or any object with a method
    `read_bytes()` that returns an encoded file and a `str()` that names it in messages.
    """

    id: str
    image: Source | np.ndarray
    mask: Source | np.ndarray


@dataclass(frozen=True)
class Split:
    """The examples of one split, in a fixed order.

    Attributes:
        name: Data set and split, such as "camvid val".
        examples: The examples to read.
        class_names: One name per class id 0, 1, ...
        palette: uint8 `[classes, 3]`, one RGB colour per class.
        mask_values: Maps each value in a mask file to its class id, or to 255 for void. Other
            values are errors.
        mask_colours: The same for RGB colours, if masks are stored as colours. Empty if they never
            are; grey RGB masks are then read as values.
        read_image: Reads an example's image: uint8 `[h, w, 3]`, or float32 with more channels,
            which only `pipelines.joint_dataset` supports.
        read_mask: Reads an example's mask: integers or bool `[h, w]`, or uint8 `[h, w, 3]` colours.
        upright: Whether `pipelines.read_image` turns images as their EXIF orientation says; False
            if the masks fit the stored pixels.
        skip_absent: Whether the mean IU on this data set leaves out classes that the ground truth
            lacks, even if a model predicts them (SIFT Flow); if not, they count as 0.
        faults: `DataError`s in the data set's lists and folders, such as images without a mask.
            `pipelines.read` raises them.
    """

    name: str
    examples: tuple[Example, ...]
    class_names: tuple[str, ...]
    palette: np.ndarray
    mask_values: Mapping[int, int]
    mask_colours: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    # Any: a data set's own readers take the source types of its own examples.
    read_image: Callable[[Any], np.ndarray] = read_image
    read_mask: Callable[[Any], np.ndarray] = read_mask
    upright: bool = True
    skip_absent: bool = False
    faults: tuple[DataError, ...] = ()

    def __post_init__(self) -> None:
        """Checks that names, colours and values describe the same classes, at most 255."""
        if self.num_classes > IGNORE:
            raise DataError(
                f"{self.name}: {self.num_classes} classes, but at most {IGNORE} are supported: "
                f"masks have 8 bits, and {IGNORE} is void. Merge classes, or ignore the rarest."
            )
        if len(self.palette) != self.num_classes:
            raise DataError(
                f"{self.name}: {self.num_classes} class names, but {len(self.palette)} colours in "
                "the palette. Give one colour per class."
            )
        ids = {*self.mask_values.values(), *self.mask_colours.values()} - {IGNORE}
        if ids and max(ids) >= self.num_classes:
            raise DataError(
                f"{self.name}: masks have class id {max(ids)}, but there are {self.num_classes} "
                f"class names (ids 0..{self.num_classes - 1}). Name every class."
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def class_values(self) -> tuple[int | None, ...]:
        """The mask value of each class; None if masks have none or several for it.

        Classes with colours have values too, because their masks may be either.
        """
        values: dict[int, list[int]] = {}
        for value, class_id in self.mask_values.items():
            values.setdefault(class_id, []).append(value)
        each = [values.get(class_id, []) for class_id in range(self.num_classes)]
        return tuple(found[0] if len(found) == 1 else None for found in each)

    @cached_property
    def value_table(self) -> tuple[np.ndarray, np.ndarray]:
        """Tables for 8-bit values, uint8 `[256]`: 1 if the value is known, and its class id."""
        known, table = np.zeros(256, "uint8"), np.zeros(256, "uint8")
        for value, class_id in self.mask_values.items():
            if 0 <= value <= 255:
                known[value], table[value] = 1, class_id
        return known, table

    @cached_property
    def colour_table(self) -> np.ndarray:
        """Class id or 255 of each colour code, int16 `[2**24]`; -1 for unknown colours."""
        table = np.full(2**24, -1, "int16")
        for (red, green, blue), class_id in self.mask_colours.items():
            table[colour_codes(np.array([red, green, blue]))] = class_id
        return table

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.examples)


def colour_codes(colours: np.ndarray) -> np.ndarray:
    """Encodes RGB colours `[..., 3]` as 65536 r + 256 g + b, uint32 `[...]`."""
    red, green, blue = np.moveaxis(colours, -1, 0).astype("uint32")
    return red * 65536 + green * 256 + blue


def colour_of(code: int | np.integer) -> tuple[int, int, int]:
    """Decodes a number from `colour_codes` to its colour (r, g, b)."""
    return int(code) >> 16, int(code) >> 8 & 255, int(code) & 255


def plain_values(num_classes: int) -> dict[int, int]:
    """Returns the `mask_values` of masks that hold class ids, and 255 for void."""
    return {**{i: i for i in range(num_classes)}, IGNORE: IGNORE}


def distinct_palette(count: int) -> np.ndarray:
    """The PASCAL VOC palette: `count` distinct colours, uint8 `[count, 3]`; class 0 is black."""
    ids = np.arange(count)
    colours = np.zeros((count, 3), "uint8")
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype("uint8")
    return colours
