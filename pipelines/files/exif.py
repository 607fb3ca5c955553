"""EXIF orientation: how viewers turn an image before they show it."""

import struct
import zlib

import numpy as np

HEADER = b"Exif\0\0"  # Precedes EXIF data in a JPEG.
BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}  # By the start of EXIF data: Intel, Motorola.
ORIENTATION, SHORT = 0x0112, 3  # The tag, and the type of its value in the standard.
WHOLE_NUMBERS = {SHORT: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}  # Other types found.
RAW_PROFILE = b"Raw profile type exif\0"  # A text in a PNG: EXIF data as old ImageMagick stores it.
MAX_RAW_PROFILE = 2**20  # Bytes of that text; it may be compressed.
MIRRORED_ROWS, MIRRORED_COLUMNS = (3, 4, 7, 8), (2, 3, 6, 7)  # After `TRANSPOSED`.
TRANSPOSED = (5, 6, 7, 8)


def orientation(exif: bytes) -> int:
    """Reads the orientation, 1..8, from EXIF data.

    `fcn_keras.serving.encoded` does the same inside a TensorFlow graph.

    Args:
        exif: EXIF data, with or without `HEADER`.

    Returns:
        The orientation; 1, upright, if there is none or it cannot be read.
    """
    exif = exif.removeprefix(HEADER).removeprefix(HEADER)  # In a PNG, Pillow adds another.
    order = BYTE_ORDERS.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, entry)
            if tag == ORIENTATION:
                number = WHOLE_NUMBERS.get(kind, "")
                value = struct.unpack_from(f"{order}{number}", exif, entry + 8)
                return value[0] if value and 1 <= value[0] <= 8 else 1
    except struct.error:  # It ends too early.
        pass
    return 1


def from_raw_profile(kind: bytes, text: bytes) -> bytes:
    """Reads the EXIF data that a PNG has as a text.

    Args:
        kind: The kind of the chunk, b"tEXt" or b"zTXt".
        text: Its content: `RAW_PROFILE`, then lines: empty, a name, a length, hexadecimal numbers.

    Returns:
        EXIF data; empty if it is not readable.
    """
    text = text.removeprefix(RAW_PROFILE)
    try:
        if kind == b"zTXt":  # A byte for the method precedes the data.
            text = zlib.decompressobj().decompress(text[1:], MAX_RAW_PROFILE)
        return bytes.fromhex(b"".join(text[:MAX_RAW_PROFILE].split(b"\n")[3:]).decode("ascii"))
    except (ValueError, zlib.error):
        return b""


def turned_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns and mirrors the stored pixels `[h, w, ...]` of an image to what viewers show."""
    if orientation in TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in MIRRORED_ROWS:
        pixels = pixels[::-1]
    if orientation in MIRRORED_COLUMNS:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
