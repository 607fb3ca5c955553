"""Builds PNG files byte by byte, valid and corrupt ones."""

import struct
import zlib


def chunk(name, content):
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def png(width, height, rows, *, bits=8, colour_type=0, before=b"", after=b"", interlaced=0):
    """Returns a PNG file; each row starts with its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(rows, 9)), after]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")
