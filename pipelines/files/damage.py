"""Damage that decoders pass over: what is missing from, or wrong in, a PNG, JPEG or WebP file.

Pillow does not compare the checksums of a PNG's pixels and leaves rows black that are not there;
libjpeg-turbo paints missing parts of a JPEG grey, and tells of it. All functions take a file's
content and raise `ValueError` with the reason.
"""

import re
import zlib
from typing import Literal

import numpy as np
import simplejpeg

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# What makes a PNG's pixels. The others may unfold to any size, and Pillow unfolds them.
NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"acTL", b"IDAT", b"IEND")
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # By a PNG's colour type.
# First column and row, and the steps from there, of the passes of an interlaced PNG.
PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
# In a JPEG's codes 0xff stands before 0 or a restart; before anything else it ends them.
MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
MAX_SCANS = 100  # Usual are 10; each costs a pass over all pixels, however few its bytes.


def check_png(data: bytes) -> bytes:
    """Checks the checksums of all chunks, and that there is an end.

    Returns:
        The file without the chunks that do not matter for the pixels.
    """
    kept: list[bytes | memoryview] = [PNG]
    view, at = memoryview(data), len(PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name, end = data[at + 4 : at + 8], at + 12 + length
        if at == len(PNG) and (name, length) != (b"IHDR", 13):
            raise ValueError("its header is not valid")
        if end > len(data):
            break
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"wrong checksum of chunk {name.decode('ascii', 'replace')}")
        if name in NEEDED:  # EXIF may come after the pixels; here right after the header.
            kept.insert(2 if name == b"eXIf" else len(kept), view[at:end])
        if name == b"IEND":
            return b"".join(kept)
        at = end
    raise ValueError("truncated: its end is missing")


def check_rows(png: bytes) -> None:
    """Checks that there is data for all rows of what `check_png` gave."""
    wanted, at = _png_bytes(png), len(PNG)
    inflate = zlib.decompressobj()
    while at < len(png) and wanted > 0:
        length = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            packed = png[at + 8 : at + 8 + length]
            while packed and wanted > 0:
                wanted -= len(inflate.decompress(packed, 2**20))
                packed = inflate.unconsumed_tail
        at += 12 + length
    if wanted > 0:
        raise ValueError("truncated: the last rows are missing")


def check_webp(data: bytes) -> bytes:
    """Checks that all of a WebP is there, and gives it without what comes behind it."""
    length = 8 + int.from_bytes(data[4:8], "little")
    if length > len(data):
        raise ValueError("truncated: its end is missing")
    return data[:length]


def is_lossy_webp(data: bytes) -> bool:
    """Whether the pixels of a WebP are stored with losses."""
    at = 12
    while at + 8 <= len(data):
        if data[at : at + 4] == b"VP8 ":
            return True
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return False


def decode_jpeg(
    data: bytes, colours: Literal["RGB", "CMYK"] = "RGB"
) -> tuple[np.ndarray, str | None]:
    """Decodes a JPEG; one without an end is refused.

    Args:
        data: the file's content.
        colours: "RGB" or "CMYK".

    Returns:
        uint8 `[h, w, channels]`, and what libjpeg-turbo passed over, or None.
    """
    _check_scans(data)
    try:
        return simplejpeg.decode_jpeg(data, colours, strict=True), None
    except ValueError as error:
        reason = str(error)
    if "Premature end of JPEG file" in reason or not _has_end(data):
        raise ValueError("truncated: its end is missing")
    return simplejpeg.decode_jpeg(data, colours, strict=False), reason


def _png_bytes(png: bytes) -> int:
    """The length of a PNG's unpacked pixels: rows of whole bytes, and one more for the filter."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    bits, colour_type, interlaced = png[24], png[25], png[28]
    total = 0
    for x, y, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits * CHANNELS[colour_type] // 8))
    return total


def _check_scans(data: bytes) -> None:
    scans = data.count(b"\xff\xda")
    if scans > MAX_SCANS:
        raise ValueError(f"{scans} scans, but at most {MAX_SCANS} are read")


def _has_end(data: bytes) -> bool:
    at = 2
    while marker := MARKER.search(data, at):
        at, code = marker.end(), data[marker.end() - 1]
        if code == 0xD9:
            return True
        if code not in (0x01, 0xD8):  # All others have a length.
            at += int.from_bytes(data[at : at + 2], "big")
    return False
