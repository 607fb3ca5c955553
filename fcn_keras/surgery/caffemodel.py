"""Reads the weights of .caffemodel files, without the protobuf library.

A .caffemodel file is a protocol buffer: the message `NetParameter` of Caffe's caffe.proto. Weights
are in the field `layers` in the V1 layout, with the shape num, channels, height, width; and in
`layer` in the V2 layout, with shapes of any length.

In the wire format a field is a varint, number << 3 | type, followed by a value: type 0 is a varint,
types 1 and 5 are eight and four bytes, type 2 is a length and that many bytes. Repeated numbers are
stored one by one, or packed in one field of type 2.
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fcn_keras.errors import WeightsError
from fcn_keras.outputs import path_argument

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5


def read_caffemodel(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Reads the weights of a .caffemodel file.

    Args:
        path: A binary .caffemodel file in the V1 or V2 layout.

    Returns:
        Layer name -> list of float32 arrays (kernel, then bias), for layers with weights. The axis
        order is Caffe's: `[out, in, h, w]` for a convolution, `[in, out, h, w]` for a transposed
        one, `[out, in]` for a fully connected layer. Shapes are as stored: in V1 all are 4-D with
        leading ones, for example `[1, 1, 1, out]` for a bias.

    Raises:
        ConfigError: The argument is not a path.
        WeightsError: The file is missing, corrupt or not a .caffemodel file.
    """
    path = path_argument("path", path)
    head = b""
    blobs: dict[str, list[np.ndarray]] = {}
    try:
        with open(path, "rb") as file:
            head = file.read(200)
            # Memory-mapped, so only the weights are copied.
            content = memoryview(
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if head else b""
            )
        for name, arrays in _layers(content):
            if name in blobs:
                raise _Malformed(f"two layers with weights have the name {name!r}")
            blobs[name] = arrays
        if not blobs:
            raise _Malformed("no layer has weights")
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error.strerror or error}). Use the path of a .caffemodel "
            "file."
        ) from None
    except _Malformed as error:
        raise WeightsError(f"{path}: {_diagnosis(head, error)}") from None
    return blobs


class _Malformed(Exception):
    """The bytes are not a NetParameter; the message says why."""


def _layers(net: memoryview) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yields name and arrays of each layer with weights."""
    for number, kind, value in _fields(net):
        if number in (2, 100):  # V1LayerParameter, LayerParameter
            name_field, blobs_field = (4, 6) if number == 2 else (1, 7)
            name, blobs = "", []
            for field, sort, part in _fields(_message(kind, value)):
                if field == name_field:
                    name = bytes(_message(sort, part)).decode("utf-8", "backslashreplace")
                elif field == blobs_field:
                    blobs.append(_message(sort, part))
            if blobs:
                yield name, [_array(blob, name) for blob in blobs]


def _array(blob: memoryview, layer: str) -> np.ndarray:
    """Reads a BlobProto as a float32 array."""
    legacy: dict[int, int] = {}
    dims: list[int] = []
    singles: list[memoryview] = []
    doubles: list[memoryview] = []
    for number, kind, value in _fields(blob):
        if number <= 4 and isinstance(value, int):  # num, channels, height, width
            legacy[number] = value
        elif number == 7:  # shape
            for field, sort, dim in _fields(_message(kind, value)):
                if field == 1:
                    dims += [dim] if isinstance(dim, int) else _varints(_message(sort, dim))
        elif number == 5 and isinstance(value, memoryview) and kind != EIGHT_BYTES:  # data
            singles.append(value)
        elif number == 8 and isinstance(value, memoryview) and kind != FOUR_BYTES:  # double_data
            doubles.append(value)
        elif number in (1, 2, 3, 4, 5, 8):
            raise _Malformed(f"layer {layer!r}: field {number} of its weights has type {kind}")
    shape = tuple(legacy.get(axis, 0) for axis in (1, 2, 3, 4)) if legacy else tuple(dims)
    chunks, width = (doubles, 8) if doubles else (singles, 4)
    joined = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if not joined or math.prod(shape) * width != len(joined):
        raise _Malformed(
            f"layer {layer!r}: {len(joined)} bytes for {list(shape)} numbers of {width} bytes"
        )
    return np.frombuffer(joined, f"<f{width}").astype(np.float32).reshape(shape)


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yields number, type and value of each field: an integer for type 0, else the bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise _Malformed("a field has number 0")
        if kind == VARINT:
            value, at = _varint(data, at)
            yield number, kind, value
            continue
        if kind == LENGTH:
            size, at = _varint(data, at)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            size = 8 if kind == EIGHT_BYTES else 4
        else:
            raise _Malformed(f"field {number} has type {kind}, which Caffe does not use")
        if at + size > len(data):
            raise _Malformed(f"{at + size - len(data)} bytes of field {number} are missing")
        yield number, kind, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Reads a varint (groups of seven bits, lowest first); returns it and the next position."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _Malformed("the file ends within a number")
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _Malformed("a number is longer than ten bytes")


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _message(kind: int, value: int | memoryview) -> memoryview:
    if kind != LENGTH or not isinstance(value, memoryview):
        raise _Malformed(f"type {kind} where a message is expected")
    return value


def _diagnosis(head: bytes, error: _Malformed) -> str:
    """Says what the file is instead, judging by its first bytes, and what to do."""
    if not head:
        return "empty. Download it again."
    if head.startswith(b"\x89HDF"):
        return "an HDF5 snapshot. Use Caffe's binary format (snapshot_format: BINARYPROTO)."
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return (
            f"a text file that starts with {head[:30].decode().strip()!r}. A .caffemodel file is "
            "binary. If this is a web page, download the file again; a prototxt has no weights."
        )
    return f"incomplete, or not a .caffemodel file ({error}). Download it again."
