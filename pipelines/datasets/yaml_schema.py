"""The YAML file that describes your own data: its keys, and the meaning of mask values.

    train: {images: train/images, masks: train/masks}   # paths are relative to the YAML file
    val:   {images: val/images, masks: val/masks}       # or `val_share: 0.2`, taken from train
    classes:                       # in the order of their ids 0, 1, 2, ...
      - background
      - {name: road, colour: [128, 64, 128]}   # to show it, and in masks stored as colours
      - {name: car, value: 200}    # if the mask value is not the id
    ignore: [255]                  # ignored values and colours

A split may also be a list of such pairs of folders. A pair may have `list`, a text file that lists
its images (and after a tab their masks, if the names differ), and `image_suffix` and `mask_suffix`,
which the names of images and masks add to the name that they share. `follow_links` permits links
out of the folders. `offset` is the mask value of class 0; `num_classes` is only compared with the
number of classes. `tfds` names a data set of TensorFlow Datasets instead of folders. `exif: ignore`
keeps images as they are stored. `mask_threshold` and `mask_nearest` read JPEG masks.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from pipelines.datasets.yaml_faults import MAX_TEXT, ONE, SEVERAL, first_fault
from pipelines.datasets.yaml_loading import parse
from pipelines.errors import DataError
from pipelines.files.images import read_mask
from pipelines.files.lossy_masks import ByNearest, ByThreshold
from pipelines.split import IGNORE, SPLITS, distinct_palette

Key = TypeVar("Key", int, tuple[int, int, int])


def _as_class(entry: object) -> object:
    """Accepts a class given by its name alone; YAML does not read yes, no and 1 as names."""
    if isinstance(entry, bool | int | float):
        raise ValueError("must be a name; put yes, no and numbers in quotes")
    return {"name": entry} if isinstance(entry, str) else entry


def _as_colour(colour: object) -> object:
    """Accepts [red, green, blue] or "#rrggbb"; without quotes the latter is a YAML comment."""
    if isinstance(colour, str):
        try:
            colour = list(bytes.fromhex(colour.removeprefix("#")))
        except ValueError:
            colour = []
    if not isinstance(colour, list | tuple) or len(colour) != 3:
        raise ValueError('must be [red, green, blue], each 0..255, or "#rrggbb" in quotes')
    return colour


def _as_list(entry: object) -> object:
    return [entry] if isinstance(entry, int | str) else entry


Byte = Annotated[int, Field(strict=True, ge=0, le=255)]  # Strict: `yes` is not 1.
Bytes = tuple[Byte, Byte, Byte]
Colour = Annotated[Bytes, BeforeValidator(_as_colour)]
Ignored = Annotated[
    Annotated[Byte, Tag("int")] | Annotated[Colour, Tag("tuple")],
    Discriminator(lambda entry: "tuple" if isinstance(entry, list | tuple | str) else "int"),
]
Text = Annotated[str, Field(max_length=MAX_TEXT)]


class Folders(BaseModel):
    """A folder of images and a folder of their masks."""

    model_config = ConfigDict(extra="forbid")
    images: Text
    masks: Text
    list: Text | None = None
    image_suffix: Text = ""
    mask_suffix: Text = ""


Pairs = Annotated[
    Annotated[Folders, Tag(ONE)] | Annotated[list[Folders], Field(min_length=1), Tag(SEVERAL)],
    Discriminator(lambda entry: SEVERAL if isinstance(entry, list) else ONE),
]


class Class(BaseModel):
    """A class; `value` is its mask value, by default offset + id."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    colour: Annotated[Bytes | None, BeforeValidator(_as_colour)] = None
    value: Byte | None = None


class Description(BaseModel):
    """The content of the YAML file, and what a `Split` needs from it."""

    model_config = ConfigDict(extra="forbid")
    train: Pairs | None = None
    val: Pairs | None = None
    test: Pairs | None = None
    val_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    follow_links: Annotated[bool, Field(strict=True)] = False
    tfds: Text | None = None
    data_dir: Text | None = None
    classes: list[Annotated[Class, BeforeValidator(_as_class)]] = Field(
        min_length=2, max_length=255
    )
    num_classes: int | None = None
    offset: Byte = 0
    ignore: Annotated[list[Ignored], BeforeValidator(_as_list)] = [IGNORE]
    exif: Literal["apply", "ignore"] = "apply"
    mask_threshold: Annotated[int, Field(strict=True, ge=0, le=254)] | None = None
    mask_nearest: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        given = [key for key in (*SPLITS, "val_share") if getattr(self, key) is not None]
        if self.tfds and given:
            raise ValueError(f"`tfds` and `{given[0]}`: give one of the two.")
        if self.data_dir and not self.tfds:
            raise ValueError("`data_dir` belongs to `tfds`; folders have their own paths.")
        if self.val_share and (self.val or not self.train):
            raise ValueError("`val_share` needs `train` and replaces `val`: give only these two.")
        names = self.class_names
        if self.num_classes not in (None, len(names)):
            raise ValueError(
                f"`num_classes` is {self.num_classes}, but `classes` lists {len(names)}: "
                f"{', '.join(names)}. Make them agree."
            )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two classes are called {twice[0]!r}. Rename one.")
        self.mask_values, self.mask_colours  # noqa: B018 (each value and colour has one meaning)
        self.read_mask  # noqa: B018 (lossy masks can be told apart)
        return self

    def pairs(self, split: str) -> list[Folders]:
        """The pairs of folders of a split; empty if it has none."""
        given: Folders | list[Folders] | None = getattr(self, split)
        return [given] if isinstance(given, Folders) else given or []

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of their ids."""
        return tuple(c.name for c in self.classes)

    @property
    def palette(self) -> np.ndarray:
        """uint8 `[classes, 3]`; classes without a colour get one from PASCAL VOC's palette."""
        palette = distinct_palette(len(self.classes))
        for class_id, c in enumerate(self.classes):
            if c.colour is not None:
                palette[class_id] = c.colour
        return palette

    @cached_property
    def mask_values(self) -> dict[int, int]:
        """Maps each mask value to its class id or 255."""
        values = [
            self.offset + i if c.value is None else c.value for i, c in enumerate(self.classes)
        ]
        if max(values) > 255:
            raise ValueError(
                f"the mask value of class {self.class_names[values.index(max(values))]!r} is "
                f"{max(values)}, but values are 0..255. Lower `offset` or give the class a `value`."
            )
        ignored = {entry for entry in self.ignore if isinstance(entry, int)}
        if "ignore" not in self.model_fields_set:  # 255 is void unless a class has it.
            ignored -= set(values)
        return _meanings("value", ignored, values, self.class_names)

    @cached_property
    def mask_colours(self) -> dict[tuple[int, int, int], int]:
        """Maps each mask colour to its class id or 255; empty if no class has a colour."""
        colours = [c.colour for c in self.classes]
        if not any(colours):
            return {}
        ignored = {entry for entry in self.ignore if isinstance(entry, tuple)}
        return _meanings("colour", ignored, colours, self.class_names)

    @cached_property
    def read_mask(self) -> Callable[[Any], np.ndarray]:
        """The reader of mask files."""
        if self.mask_threshold is not None and self.mask_nearest:
            raise ValueError("`mask_threshold` and `mask_nearest`: give one of the two.")
        if self.mask_threshold is not None:
            values = [value for value, i in self.mask_values.items() if i != IGNORE]
            colours = [c.colour for c in self.classes]
            ignored = self.ignore if "ignore" in self.model_fields_set else []
            return ByThreshold.between(self.mask_threshold, values, colours, ignored)
        if self.mask_nearest:
            return ByNearest.among(tuple(self.mask_colours or self.mask_values))
        return read_mask


def load(path: Path) -> Description:
    """Reads and validates the YAML file.

    Args:
        path: A `Path`.

    Returns:
        A `Description`.

    Raises:
        DataError: The file is missing, not YAML, or breaks a rule.
    """
    content = parse(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: must have the keys train, val and classes.")
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        known = [*Description.model_fields, *Class.model_fields, *Folders.model_fields]
        raise DataError(f"{path}: {first_fault(error, known)}") from None


def _meanings(
    what: str, ignored: Iterable[Key], of_classes: Sequence[Key | None], names: Sequence[str]
) -> dict[Key, int]:
    meanings = dict.fromkeys(ignored, IGNORE)
    for class_id, (key, name) in enumerate(zip(of_classes, names, strict=True)):
        if key is None:
            continue
        if key in meanings:
            raise ValueError(
                f"the mask {what} {key} of class {name!r} is ignored or used by another class. "
                f"Each {what} must have one meaning."
            )
        meanings[key] = class_id
    return meanings
