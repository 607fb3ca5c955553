"""The YAML file that describes your own data: its keys, and the meaning of mask values.

    train: {images: train/images, masks: train/masks}   # paths are relative to the YAML file
    val:   {images: val/images, masks: val/masks}       # or `val_share: 0.2`, taken from train
    classes:                       # in the order of their ids 0, 1, 2, ...
      - background
      - {name: road, colour: [128, 64, 128]}   # to show it, and in masks stored as colours
      - {name: car, value: 200}    # if the mask value is not the id
    ignore: [255]                  # ignored values and colours

A split may also have `list`, a text file that lists its images, and `mask_suffix`, which mask names
add to image names. `offset` is the mask value of class 0; `num_classes` is only compared with the
number of classes. `tfds` names a data set of TensorFlow Datasets instead of folders.
"""

import difflib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import numpy as np
import yaml
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

from pipelines.errors import DataError
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


class Folders(BaseModel):
    """The folders of a split."""

    model_config = ConfigDict(extra="forbid")
    images: str
    masks: str
    list: str | None = None
    mask_suffix: str = ""


class Class(BaseModel):
    """A class; `value` is its mask value, by default offset + id."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1)]
    colour: Annotated[Bytes | None, BeforeValidator(_as_colour)] = None
    value: Byte | None = None


class Description(BaseModel):
    """The content of the YAML file, and what a `Split` needs from it."""

    model_config = ConfigDict(extra="forbid")
    train: Folders | None = None
    val: Folders | None = None
    test: Folders | None = None
    val_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    tfds: str | None = None
    data_dir: str | None = None
    classes: list[Annotated[Class, BeforeValidator(_as_class)]] = Field(
        min_length=2, max_length=255
    )
    num_classes: int | None = None
    offset: Byte = 0
    ignore: Annotated[list[Ignored], BeforeValidator(_as_list)] = [IGNORE]

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
        return self

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


def load(path: Path) -> Description:
    """Reads and validates the YAML file.

    Args:
        path: A `Path`.

    Returns:
        A `Description`.

    Raises:
        DataError: The file is missing, not YAML, or breaks a rule.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: must have the keys train, val and classes.")
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {_first_fault(error)}") from None


class _Loader(yaml.SafeLoader):
    """Rejects a key that appears twice, where YAML would use the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key, (mark, _) in zip(keys, node.value, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key}` appears twice", mark.start_mark
                )
        return super().construct_mapping(node, deep)


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


def _first_fault(error: ValidationError) -> str:
    # A misspelt key explains the missing one.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in fault["loc"] if part not in ("int", "tuple"))
    message = fault["msg"].removeprefix("Value error, ")
    if not where:
        return message
    if fault["type"] == "extra_forbidden":
        known = [*Description.model_fields, *Class.model_fields, *Folders.model_fields]
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        return f"unknown key `{where}`" + (f"; did you mean `{close[0]}`?" if close else ".")
    if fault["type"] == "missing":
        return f"the key `{where}` is missing."
    if fault["type"] == "too_short":
        return f"`{where}`: must list at least 2 classes, found {fault['input']!r}."
    if fault["type"] == "model_type":
        message = {
            "Class": "must be a name, or {name: NAME, ...}",
            "Folders": "must be {images: FOLDER, masks: FOLDER}",
        }[fault["ctx"]["class_name"]]
    return f"`{where}`: {message}, found {fault['input']!r}."
