"""Checks a .keras file, which is a zip archive, before Keras reads it.

Keras trusts the sizes that an archive declares up to 4 GiB, and reads weights whose checksum is
wrong without a word. Here each part is unpacked in small pieces, so memory and time stay in
proportion to the file.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import tensorflow as tf

from fcn_keras.errors import ModelError
from fcn_keras.text import first_line

LARGEST_CONFIG = 10_000_000  # Bytes; the largest network of keras.applications has 1.5 MB.
MOST_PARTS = 1000
MOST_EXPANSION = 100  # Of a compressed part. Keras itself does not compress.
MOST_UNUSED = 2  # Times the stored weights: float16 ones may be created as float32.
CHUNK = 1 << 20
LOCAL_HEADER = 30  # Bytes, before the part's name; the lengths of name and extra field end it.
ENCRYPTED = 0x1 | 0x40


def check(file: Path) -> None:
    """Checks that a file is an intact archive whose parts have a plausible size.

    Raises:
        ModelError: It is not.
    """
    if not zipfile.is_zipfile(file):
        raise ModelError(
            f"{file}: incomplete, corrupt or not a .keras file (a .keras file is a zip archive). "
            "Copy it again, or train again."
        )
    try:
        with zipfile.ZipFile(file) as archive, file.open("rb") as content:
            parts = archive.infolist()
            _check_directory(parts, os.path.getsize(file))
            for part in parts:
                _check_part(content, part)
            _check_config(archive)
    except _Refused as error:
        raise ModelError(f"{file}: {error} Use a model saved by fcn-keras.") from None
    except Exception as error:  # zipfile lets through what struct, zlib and the codecs raise.
        raise ModelError(
            f"{file}: corrupt ({first_line(error)}). Copy it again, or train again."
        ) from None


@contextmanager
def limited(file: Path) -> Iterator[None]:
    """Limits the weights that are created to the size of those in a checked file, and some more.

    Keras creates all weights that the configuration asks for before it reads any.

    Raises:
        ModelError: The configuration asks for more.
    """
    with zipfile.ZipFile(file) as archive:
        stored = sum(one.file_size for one in archive.infolist() if one.filename.endswith(".h5"))
    left = MOST_UNUSED * stored + LARGEST_CONFIG

    def create(next_creator: Callable[..., tf.Variable], **options: Any) -> tf.Variable:
        nonlocal left
        value = options["initial_value"]
        with tf.Graph().as_default():  # Gives the shape without the values.
            tensor = tf.convert_to_tensor(value() if callable(value) else value)
        left -= (tensor.shape.num_elements() or 0) * tensor.dtype.size
        if left < 0:
            raise ModelError(
                f"{file}: its configuration asks for more weights than the {stored:,} bytes that "
                f"it holds; {options.get('name')} has the shape {tuple(tensor.shape)}. Use a model "
                "saved by fcn-keras."
            )
        return next_creator(**options)

    with tf.variable_creator_scope(create):
        yield


class _Refused(Exception):
    """What an intact .keras file does not have."""


def _check_directory(parts: list[zipfile.ZipInfo], size: int) -> None:
    if len(parts) > MOST_PARTS:
        raise _Refused(f"has {len(parts):,} parts, but a .keras file has at most {MOST_PARTS:,}.")
    for part in parts:
        if part.flag_bits & ENCRYPTED:
            raise _Refused(f"its part {part.filename!r} is encrypted.")
        if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _Refused(
                f"its part {part.filename!r} is compressed with method {part.compress_type}, which "
                "Keras does not use."
            )
        if part.filename.endswith(".json") and part.file_size > LARGEST_CONFIG:
            raise _Refused(
                f"its part {part.filename!r} has {part.file_size:,} bytes, more than "
                f"{LARGEST_CONFIG:,}."
            )
        if part.file_size > max(LARGEST_CONFIG, MOST_EXPANSION * part.compress_size):
            raise _Refused(
                f"its part {part.filename!r} has {part.file_size:,} bytes in "
                f"{part.compress_size:,}, which no weights have."
            )
    if sum(part.compress_size for part in parts) > size:
        raise zipfile.BadZipFile("its parts overlap or are cut")


def _check_config(archive: zipfile.ZipFile) -> None:
    """Checks that the configuration is a JSON object."""
    config = json.loads(archive.read("config.json"))
    if not isinstance(config, dict):
        raise _Refused(
            f"its config.json must hold an object that describes a model, found "
            f"{json.dumps(config)[:20]}."
        )


def _check_part(content: BinaryIO, part: zipfile.ZipInfo) -> None:
    """Unpacks a part and compares its length and checksum with those in the directory."""
    content.seek(part.header_offset)
    name, extra = struct.unpack("<HH", content.read(LOCAL_HEADER)[-4:])
    content.seek(name + extra, os.SEEK_CUR)
    length, checksum = 0, 0
    for piece in _unpacked(content, part):
        length, checksum = length + len(piece), zlib.crc32(piece, checksum)
        if length > part.file_size:
            break
    if (length, checksum) != (part.file_size, part.CRC):
        raise zipfile.BadZipFile(f"the checksum of {part.filename!r} is wrong")


def _unpacked(content: BinaryIO, part: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yields a part in pieces of at most `CHUNK` bytes."""
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    for start in range(0, part.compress_size, CHUNK):
        piece = content.read(min(CHUNK, part.compress_size - start))
        if part.compress_type == zipfile.ZIP_STORED:
            yield piece
            continue
        while piece:
            yield unpack.decompress(piece, CHUNK)
            piece = unpack.unconsumed_tail
    yield unpack.flush()
