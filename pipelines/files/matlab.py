"""Reads integer arrays from MATLAB files, which some data sets use for masks.

The content shows whether a file has version 5 (which MATLAB's `save` wrote by default) or 7.3
(HDF5). HDF5 has MATLAB's axes in reverse order, so such arrays are transposed here.
"""

import io
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import DataError
from pipelines.files.opening import MAX_PIXELS, Source, damaged, read_content

HDF5 = b"\x89HDF\r\n\x1a\n"
LARGEST = 2**53  # A double holds every integer up to this.


def read_mat(source: Source | np.ndarray, *keys: str) -> np.ndarray:
    """Reads an array of integers from a MATLAB file.

    Args:
        source: The path of a .mat file, an array (returned as it is), or an object with
            `read_bytes()`.
        *keys: The variable's name; if it is a struct, then the field's name, and so on:
            `"GTcls", "Segmentation"` for `GTcls.Segmentation`.

    Returns:
        Integers `[h, w]` of the file's own type; int64 if the file has floats.

    Raises:
        DataError: The file is missing, damaged or not a MATLAB file, has no such variable, or the
            variable is not a matrix of integers.
    """
    if isinstance(source, np.ndarray):
        return source
    data, name = read_content(source), ".".join(keys)
    if HDF5 in (data[:8], data[512:520]):
        read = _from_hdf5
    elif data[126:128] in (b"IM", b"MI"):
        read = _from_version_5
    else:
        raise _not_matlab(data, source)
    try:
        array = read(data, source, keys)
    except DataError:
        raise
    except Exception as error:  # SciPy alone raises seven types for damaged files.
        raise damaged(source, error) from None
    return _integers(array, source, name)


def _from_version_5(data: bytes, source: Source, keys: tuple[str, ...]) -> Any:
    """Returns what `keys` name in a file of version 5."""
    from scipy.io import loadmat, whosmat  # Takes half a second, which PNG masks do not need.

    shapes = {name: shape for name, shape, _ in whosmat(io.BytesIO(data))}
    _check_name(keys[0], shapes, source)
    _check_size(shapes[keys[0]], source)
    value = _only(loadmat(io.BytesIO(data), variable_names=[keys[0]])[keys[0]])
    for key in keys[1:]:
        fields = value.dtype.names if isinstance(value, np.ndarray) else None
        _check_name(key, fields or (), source)
        value = _only(value[key])
    return value


def _from_hdf5(data: bytes, source: Source, keys: tuple[str, ...]) -> Any:
    """Returns what `keys` name in a file of version 7.3."""
    import h5py

    with h5py.File(io.BytesIO(data), "r") as file:
        value = file
        for key in keys:
            names = [name for name in value if not name.startswith("#")] if _is_group(value) else ()
            _check_name(key, names, source)
            if not isinstance(value.get(key, getlink=True), h5py.HardLink):
                raise _external(source)
            value = value[key]
            if not _is_group(value) and value.dtype == h5py.ref_dtype and value.size == 1:
                value = file[value[()].item()]
        if _is_group(value):
            return None
        if value.external or value.is_virtual:
            raise _external(source)
        _check_size(value.shape, source)
        return value[()].T


def _is_group(value: object) -> bool:
    return hasattr(value, "keys")


def _only(value: Any) -> Any:
    """Unwraps cells and structs of one element; MATLAB's scalars are matrices."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.item()
    return value


def _integers(array: Any, source: Source, name: str) -> np.ndarray:
    """Checks that an array is a matrix of integers; MATLAB stores them as floats by default."""
    kind = array.dtype.kind if isinstance(array, np.ndarray) else None
    if kind not in ("b", "i", "u", "f"):
        found = f"data of type {array.dtype}" if kind else "a struct, a cell or a sparse matrix"
        raise _not_a_mask(source, name, "be a matrix of numbers", found)
    if array.ndim != 2 or not array.size:
        found = f"an array of shape {array.shape}"
        raise _not_a_mask(source, name, "have rows and columns", found)
    if kind == "f":
        fits = (np.abs(array) <= LARGEST) & (np.trunc(array) == array)
        if not fits.all():
            raise _not_a_mask(source, name, "hold integers", f"{array[~fits][0]}")
        return array.astype("int64")
    return array.astype("uint8") if kind == "b" else array


def _check_name(name: str, names: Collection[str], source: Source) -> None:
    if name not in names:
        raise DataError(
            f"{source}: has no {name!r}; it has {', '.join(sorted(names)) or 'no variables'}. "
            "Is it from another data set?",
            kind="wrong content",
            file=source,
            value=sorted(names),
        )


def _check_size(shape: tuple[int, ...], source: Source) -> None:
    if math.prod(shape) > MAX_PIXELS:
        raise DataError(
            f"{source}: too large: {' x '.join(map(str, shape))} is over {MAX_PIXELS:,} pixels. "
            "Replace the file.",
            kind="too large",
            file=source,
            value=tuple(shape),
        )


def _not_a_mask(source: Source, name: str, rule: str, found: str) -> DataError:
    return DataError(
        f"{source}: {name!r} must {rule}, found {found}. Replace the file.",
        kind="wrong content",
        file=source,
        value=found,
    )


def _external(source: Source) -> DataError:
    return DataError(
        f"{source}: its data is in another file, which is not read. Save the array itself.",
        kind="outside the folder",
        file=source,
    )


def _not_matlab(data: bytes, source: Source) -> DataError:
    """Builds the error for a file that is not a MATLAB file."""
    if not data:
        reason, kind = "the file is empty. Replace it", "empty file"
    elif data.startswith(b"version https://git-lfs"):
        reason, kind = "it is a Git LFS pointer. Fetch the files: git lfs pull", "not a .mat"
    else:
        start = data[:12].decode("ascii", "replace")
        shown = repr(start) if start.isprintable() else f"the bytes {data[:8].hex(' ')}"
        name = Path(str(source)).name
        reason = (
            f"it starts with {shown}. Replace {name}, or save it again with MATLAB's "
            "`save -v7` or SciPy's `savemat`"
        )
        kind = "not a .mat"
    return DataError(
        f"{source}: not a MATLAB file of version 5 or 7.3; {reason}.", kind=kind, file=source
    )
