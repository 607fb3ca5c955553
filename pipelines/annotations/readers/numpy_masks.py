"""Masks as NumPy arrays, `.npy` or `.npz`: class ids, bool, or one channel for each class.

Arrays of Python objects are refused, because reading them would run code.
"""

import io
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pipelines.annotations.annotated import VOID, Annotated, Bitmap, ClassName, Picture, Shape
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.mask_files import (
    MAX_PIXELS,
    Images,
    check_size,
    is_in_mask_folder,
    names_beside,
    shapes_of,
)
from pipelines.datasets.lists import read_lines
from pipelines.errors import DataError
from pipelines.files.opening import Encoded, read_content
from pipelines.split_names import split_of

SUFFIXES = (".npy", ".npz")
MAX_BYTES = 2_000_000_000  # Of one array.
KEYS = ("mask", "masks", "label", "labels", "segmentation", "arr_0")  # In a .npz, in this order.
IGNORE = "__ignore__"
PICKLED = (
    "holds Python objects (pickle), which could run code when they are read. Save the mask as an "
    "array of whole numbers: np.save(path, mask.astype('uint8'), allow_pickle=False)"
)


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for NumPy's files that have images, or None."""
    images = Images(listing, lambda name: False)
    for name in listing.ending(*SUFFIXES):
        if images.of(PurePosixPath(name).stem, name) or listing.images:
            return f"{name} is an array of NumPy, called like an image"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads the headers of all arrays; the arrays when they are drawn."""
    faults: list[DataError] = []
    found: list[tuple[str, int, bool]] = []  # File, number of channels (0: none), is bool.
    for name in listing.ending(*SUFFIXES):
        try:
            shape, dtype = _header(listing.root / name)
            found.append((name, shape[2] if len(shape) == 3 else 0, dtype.kind == "b"))
        except DataError as error:
            faults.append(error)
    channels = {count for _, count, _ in found}
    if len(channels) > 1:
        raise DataError(
            f"{listing.root}: some arrays are [h, w] and some [h, w, classes], or have other "
            f"numbers of classes ({', '.join(map(str, sorted(channels)))}). Convert each kind by "
            "itself.",
            kind="several formats",
            file=listing.root,
        )
    table = names_beside(listing)
    if table is not None:
        names = [n for n in read_lines(listing.root / table) if n != IGNORE]
        notes = [f"the class names are those of {table}"]
    else:
        count = _count(listing, found, faults)
        is_bool = all(is_bool for *_, is_bool in found) and not any(channels)
        named = "object" if is_bool else None
        names = ["background", *(named or f"class_{n}" for n in range(1, count))]
        notes = [] if is_bool else ["no classes.txt names the classes: they are called class_1 ..."]
    images = Images(listing, is_in_mask_folder)
    pictures = []
    for name, _, _ in found:
        path = listing.root / name
        image_name, image = images.found(PurePosixPath(name).stem, name)
        picture = Picture(
            name=image_name,
            image=image,
            shapes=partial(_shapes, path, image, len(names)),
            where=str(path),
            split=split_of(str(PurePosixPath(name).parent)),
        )
        pictures.append(picture)
    return Annotated(
        classes=tuple(map(ClassName, names)),
        pictures=tuple(pictures),
        has_background=names[0].strip("_").lower() == "background",
        notes=tuple(notes),
        faults=tuple(faults),
    )


def _count(listing: Listing, found: list[tuple[str, int, bool]], faults: list[DataError]) -> int:
    """Returns the number of classes that the arrays hold, at least 2."""
    count = 2
    for name, channels, _ in list(found):
        try:
            values = None if channels else _ids(listing.root / name)
        except DataError as error:
            faults.append(error)
            found.remove(next(one for one in found if one[0] == name))
            continue
        known = values[values != VOID] if values is not None else np.zeros(0)
        count = max(count, channels, int(known.max(initial=0)) + 1)
    return min(count, VOID)


def _ids(path: Path) -> np.ndarray:
    """Reads class ids, int64 `[h, w]`; void is 255."""
    array = _read(path)
    values = array.astype("int64")
    values[values == -1] = VOID
    wrong = (values < 0) | (values > VOID)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise _wrong(
            path,
            f"pixel ({row}, {column}) (row, column) has the value {values[row, column]}; class ids "
            "are 0 to 254, and -1 or 255 is void. If the values are numbers of objects, save them "
            "as 16-bit PNG and use --format instance-masks",
        )
    return values


def _shapes(path: Path, image: Path | Encoded | DataError, count: int) -> list[Shape]:
    array = _read(path)
    check_size(array, path, image)
    if array.ndim == 3:
        if array.shape[2] > count:
            raise _wrong(path, f"has {array.shape[2]} channels, but there are {count} classes")
        return [
            Shape(n, Bitmap(partial(np.asarray, array[..., n] > 0)), label=f"channel {n}")
            for n in range(array.shape[2])
        ]
    values = _ids(path)
    if (above := values[(values >= count) & (values != VOID)]).size:
        row, column = np.argwhere(values == above[0])[0].tolist()
        raise _wrong(
            path,
            f"pixel ({row}, {column}) (row, column) has the value {above[0]}, but there are only "
            f"{count} class names, 0 to {count - 1}",
        )
    return shapes_of(values, [*range(count), VOID])


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Reads the shape and type of an array; refuses all that is no mask."""
    return _opened(path)[:2]


def _read(path: Path) -> np.ndarray:
    """Reads an array `[h, w]` or `[h, w, c]` of whole numbers or bool."""
    *_, data = _opened(path)
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _wrong(path, f"is damaged ({error!s:.100})") from None
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.rint(array)).any():
            raise _wrong(path, "has fractions; a mask must hold class ids, or 0 and 1 (no scores)")
        array = array.astype("int64")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3 and not set(np.unique(array).tolist()) <= {0, 1, 255}:
        raise _wrong(path, "has several channels with other values than 0 and 1")
    return array


def _opened(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], bytes]:
    """Reads a file's bytes and header; of a `.npz`, those of its mask."""
    data = read_content(path, MAX_BYTES)
    if data.startswith(b"PK"):
        data = _member(path, data)
    if data.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise _wrong(path, PICKLED)
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    except (ValueError, EOFError, TypeError, SyntaxError, RecursionError) as error:
        raise _wrong(path, f"is no array of NumPy ({error!s:.100})") from None
    if dtype.hasobject:
        raise _wrong(path, PICKLED)
    if dtype.kind not in "buif" or len(shape) not in (2, 3) or min(shape) < 1:
        raise _wrong(
            path,
            f"has the shape {shape} and the type {dtype}; a mask is [h, w] or [h, w, classes] of "
            "whole numbers or bool",
        )
    if len(shape) == 3 and shape[2] > VOID:
        raise _wrong(path, f"has the shape {shape}; a mask is [h, w] or [h, w, classes]")
    if shape[0] * shape[1] > MAX_PIXELS or len(data) - file.tell() < np.prod(shape, dtype=object):
        raise _wrong(path, f"says that its shape is {shape}, which is too large or not all there")
    return shape, dtype, data


def _member(path: Path, data: bytes) -> bytes:
    """Returns the only array of a `.npz`, or that called like a mask."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            key = next((key for key in KEYS if key in members), None)
            if len(members) == 1:
                key = next(iter(members))
            if key is None:
                raise _wrong(
                    path,
                    f"holds the arrays {', '.join(map(repr, list(members)[:5]))}, of which none is "
                    f"called {', '.join(KEYS)}",
                )
            if members[key].file_size > MAX_BYTES:
                raise _wrong(path, f"unpacks to {members[key].file_size:,} bytes")
            with archive.open(members[key]) as file:
                return file.read(MAX_BYTES)
    except DataError:
        raise
    except Exception as error:  # zipfile raises many kinds for damaged files.
        raise _wrong(path, f"is a damaged .npz ({error!s:.100})") from None


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: {reason}. Correct it.", kind="wrong array", file=path)
