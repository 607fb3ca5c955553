"""One's own folders of images and masks, described by a YAML file.

    train: {images: train/images, masks: train/masks}   # paths are relative to the YAML file
    val:   {images: val/images, masks: val/masks}
    classes:                       # in the order of their ids 0, 1, 2, ...
      - background
      - {name: road, colour: [128, 64, 128]}
      - {name: car, value: 200}    # where a mask's value is not the id
    ignore: [255]                  # mask values that count nowhere; 255 unless a class has it

An image and its mask have the same name but for the ending.
"""

import difflib
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipelines.errors import DataError
from pipelines.split import IGNORE, Example, Split, distinct_palette

ENDINGS = {".bmp", ".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".heic"}
SPLITS = ("train", "val", "test")
Byte = Annotated[int, Field(ge=0, le=255)]


def _as_class(entry):
    """A class given by its name alone; YAML reads yes, no and 1 as something else than names."""
    if isinstance(entry, bool | int | float):
        raise ValueError("must be a name; put yes, no and numbers in quotes")
    return {"name": entry} if isinstance(entry, str) else entry


def _as_colour(colour):
    """A colour as [red, green, blue], or as "#rrggbb"."""
    if isinstance(colour, str):
        try:
            colour = list(bytes.fromhex(colour.removeprefix("#")))
        except ValueError:
            colour = []
    if not isinstance(colour, list | tuple) or len(colour) != 3:
        raise ValueError('must be [red, green, blue], each 0..255, or "#rrggbb"')
    return colour


class Folders(BaseModel):
    """Where a split's files are."""

    model_config = ConfigDict(extra="forbid")
    images: str
    masks: str


class Class(BaseModel):
    """A class; `value` is what masks hold for it, its id where it is not given."""

    model_config = ConfigDict(extra="forbid")
    name: str
    colour: Annotated[tuple[Byte, Byte, Byte], BeforeValidator(_as_colour)] | None = None
    value: Byte | None = None


class Description(BaseModel):
    """The YAML file."""

    model_config = ConfigDict(extra="forbid")
    train: Folders | None = None
    val: Folders | None = None
    test: Folders | None = None
    classes: list[Annotated[Class, BeforeValidator(_as_class)]] = Field(
        min_length=2, max_length=255
    )
    ignore: Annotated[list[Byte], BeforeValidator(lambda v: [v] if isinstance(v, int) else v)] = [
        IGNORE
    ]


def read(path, split):
    """The examples of one split.

    Args:
        path: the YAML file.
        split: "train", "val" or "test".

    Raises:
        DataError: the YAML is wrong, a folder is missing, or images and masks do not pair up.
    """
    path = Path(path)
    description = _parsed(path)
    if split not in SPLITS:
        raise DataError(f"split={split!r}: must be one of {', '.join(SPLITS)}.")
    folders = getattr(description, split)
    if folders is None:
        given = [name for name in SPLITS if getattr(description, name)]
        raise DataError(
            f"{path}: no split {split!r}; it has {', '.join(given) or 'none'}. Add "
            f"`{split}: {{images: FOLDER, masks: FOLDER}}`."
        )
    images = _by_stem(path, path.parent / folders.images)
    masks = _by_stem(path, path.parent / folders.masks)
    _paired(path, images, masks)
    names = tuple(c.name for c in description.classes)
    palette = distinct_palette(len(names))
    for class_id, c in enumerate(description.classes):
        if c.colour is not None:
            palette[class_id] = c.colour
    return Split(
        name=f"{path.name} {split}",
        examples=tuple(Example(stem, images[stem], masks[stem]) for stem in sorted(images)),
        class_names=names,
        palette=palette,
        mask_values=_values(path, description),
    )


def _parsed(path):
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold the keys train, val and classes.")
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {_first_fault(error)}") from None


def _first_fault(error):
    # A misspelt key explains the missing one.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in fault["loc"] if part != "tuple")
    if fault["type"] == "extra_forbidden":
        known = [*Description.model_fields, *Class.model_fields, *Folders.model_fields]
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        return f"unknown key `{where}`" + (f"; did you mean `{close[0]}`?" if close else ".")
    if fault["type"] == "missing":
        return f"the key `{where}` is missing."
    if fault["type"] == "too_short":
        return f"`{where}`: must list at least 2 classes, found {fault['input']!r}."
    return f"`{where}`: {fault['msg'].removeprefix('Value error, ')}, found {fault['input']!r}."


def _by_stem(path, folder):
    if not folder.is_dir():
        raise DataError(f"{path}: no such folder: {folder}")
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}).") from None
    files = {}
    for file in found:
        if file.suffix.lower() not in ENDINGS:
            continue
        if file.stem in files:
            raise DataError(f"{files[file.stem]} and {file}: two files of one name. Remove one.")
        files[file.stem] = file
    if not files:
        raise DataError(f"{folder}: holds no images.")
    return files


def _paired(path, images, masks):
    lonely = sorted(images.keys() ^ masks.keys())
    if lonely:
        listed = ", ".join(
            f"{(images.get(stem) or masks[stem])} has no {'mask' if stem in images else 'image'}"
            for stem in lonely[:5]
        )
        more = f", and {len(lonely) - 5} more" if len(lonely) > 5 else ""
        raise DataError(
            f"{path}: {listed}{more}. An image and its mask have the same name but for the ending."
        )


def _values(path, description):
    ignored = set(description.ignore)
    if "ignore" not in description.model_fields_set:  # 255 is void only if it is no class's.
        ignored -= {c.value for c in description.classes}
    values = dict.fromkeys(ignored, IGNORE)
    for class_id, c in enumerate(description.classes):
        value = class_id if c.value is None else c.value
        if value in values:
            raise DataError(
                f"{path}: the mask value {value} of class {c.name!r} is ignored, or another "
                "class's. Each value has one meaning."
            )
        values[value] = class_id
    names = [c.name for c in description.classes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: two classes are called {twice[0]!r}.")
    return values
