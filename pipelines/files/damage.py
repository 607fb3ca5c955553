"""Detects damage that decoders ignore: missing or wrong data in a PNG, JPEG or WebP file.

Pillow does not verify the checksums of a PNG's pixels and leaves missing rows black. libjpeg-turbo
paints missing parts of a JPEG grey, but reports it. All functions take a file's content and raise
`ValueError` with the reason.
"""

import re
import struct
import zlib

import numpy as np
import simplejpeg
import stringzilla

from pipelines.files.exif import RAW_PROFILE, from_raw_profile

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# The chunks that make a PNG's pixels. Others may unpack to any size, and Pillow unpacks them.
NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"IDAT", b"IEND")
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # By a PNG's colour type.
# The passes of an interlaced PNG: first column and row, and the steps from there.
PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
# In a JPEG's coded data, 0xff is followed by 0 or a restart marker; other markers end the data.
MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
MAX_SCANS = 100  # 10 are usual; each costs a pass over all pixels, however few its bytes.


def check_png(data: bytes) -> bytes:
    """Verifies the checksums of all chunks, and that the end is present.

    Returns:
        The file without the chunks that do not affect the pixels. EXIF data is in a chunk of its
        own, before the pixels.
    """
    kept: list[bytes | memoryview] = [PNG]
    exif: bytes | memoryview = b""
    profile: tuple[bytes, bytes] | None = None
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
        if name in NEEDED:
            kept.append(view[at:end])
        elif name == b"eXIf":
            exif = view[at:end]
        elif data.startswith(RAW_PROFILE, at + 8) and profile is None:
            profile = name, data[at + 8 : end - 4]
        if name == b"IEND":
            if profile and not exif:
                exif = _chunk(b"eXIf", from_raw_profile(*profile))
            return b"".join([*kept[:2], exif, *kept[2:]])
        at = end
    raise ValueError("truncated: its end is missing")


def _chunk(name: bytes, content: bytes) -> bytes:
    """Builds a chunk of a PNG."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def check_rows(png: bytes) -> None:
    """Checks that the output of `check_png` has data for all rows."""
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
    """Checks that a WebP is complete, and returns it without trailing data."""
    length = 8 + int.from_bytes(data[4:8], "little")
    if length > len(data):
        raise ValueError("truncated: its end is missing")
    return data[:length]


def is_lossy_webp(data: bytes) -> bool:
    """Whether a WebP is compressed lossily."""
    at = 12
    while at + 8 <= len(data):
        if data[at : at + 4] == b"VP8 ":
            return True
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return False


def decode_jpeg(data: bytes) -> tuple[np.ndarray, str | None]:
    """Decodes a JPEG; raises an error if its end is missing.

    Args:
        data: The file's content.

    Returns:
        Pixels, uint8 `[h, w, 3]`, and the damage that libjpeg-turbo ignored, or None.
    """
    _check_scans(data)
    try:
        return simplejpeg.decode_jpeg(data, "RGB", strict=True), None
    except ValueError as error:
        reason = str(error)
    if "Premature end of JPEG file" in reason or 0xD9 not in _markers(data):
        raise ValueError("truncated: its end is missing")
    return simplejpeg.decode_jpeg(data, "RGB", strict=False), reason


def _png_bytes(png: bytes) -> int:
    """Length of a PNG's decompressed pixels: rows of whole bytes, plus a filter byte per row."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    bits, colour_type, interlaced = png[24], png[25], png[28]
    total = 0
    for x, y, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits * CHANNELS[colour_type] // 8))
    return total


def _check_scans(data: bytes) -> None:
    # Fast, and 40 times as fast as `data.count`; also counts what is not a scan.
    if stringzilla.count(data, b"\xff\xda") <= MAX_SCANS:
        return
    scans = _markers(data).count(0xDA)
    if scans > MAX_SCANS:
        raise ValueError(f"{scans} scans, but at most {MAX_SCANS} are read")


def _markers(data: bytes) -> list[int]:
    """Returns the codes of a JPEG's markers up to its end (0xd9), if that is present.

    A thumbnail in the metadata, and files that follow the end, such as the video of a motion photo,
    have markers of their own.
    """
    codes, at = [], 2
    while marker := MARKER.search(data, at):
        at, code = marker.end(), data[marker.end() - 1]
        codes.append(code)
        if code == 0xD9:
            break
        if code not in (0x01, 0xD8):  # All others have a length.
            at += int.from_bytes(data[at : at + 2], "big")
    return codes
