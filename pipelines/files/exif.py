"""EXIF orientation: how viewers turn an image before they show it."""

import struct

import numpy as np

HEADER = b"Exif\0\0"  # Precedes EXIF data in a JPEG.
BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}  # By the start of EXIF data: Intel, Motorola.
ORIENTATION, SHORT = 0x0112, 3  # The tag, and the type of its value.
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
    exif = exif.removeprefix(HEADER)
    order = BYTE_ORDERS.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if tag == ORIENTATION:
                return value if kind == SHORT and 1 <= value <= 8 else 1
    except struct.error:  # It ends too early.
        pass
    return 1


def turned_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns and mirrors the stored pixels `[h, w, ...]` of an image to what viewers show."""
    if orientation in TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in MIRRORED_ROWS:
        pixels = pixels[::-1]
    if orientation in MIRRORED_COLUMNS:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
