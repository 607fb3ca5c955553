"""Decodes the PNGs that some tools put into their JSON files as the pixels of a shape."""

import base64
import binascii
import zlib
from dataclasses import dataclass

import numpy as np

from pipelines.files.opening import damaged, open_image

MAX_BYTES = 16_000_000  # Of a PNG, which holds one bit for each pixel, compressed.
PNG = b"\x89PNG"


def decode(text: str) -> np.ndarray:
    """Decodes a PNG in base64, which may be compressed by zlib once more.

    Args:
        text: The text.

    Returns:
        bool `[h, w]`: the pixels that are not transparent; without transparency, those that are not
        black.

    Raises:
        ValueError: The text is damaged, or its pixels do not fit into memory.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"its bitmap is not base64: {error}") from None
    return _pixels(data if data.startswith(PNG) else _inflated(data))


@dataclass(frozen=True)
class _Png:
    data: bytes

    def read_bytes(self) -> bytes:
        return self.data

    def __str__(self) -> str:
        return "its bitmap"


def _inflated(data: bytes) -> bytes:
    """Inflates data, but no more than the limit."""
    stream = zlib.decompressobj()
    try:
        png = stream.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(
            f"its bitmap is neither a PNG nor one compressed by zlib: {error}"
        ) from None
    if stream.unconsumed_tail:
        raise ValueError(f"its bitmap has more than {MAX_BYTES:,} bytes")
    if not stream.eof:
        raise ValueError("its bitmap ends too early")
    return png


def _pixels(png: bytes) -> np.ndarray:
    source = _Png(png)
    image, _ = open_image(source, "mask")
    try:
        if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA"):
            return np.asarray(image.convert("RGBA").getchannel("A")) > 0
        if image.mode == "P":
            image = image.convert("RGB")
        pixels = np.asarray(image)
    except Exception as error:  # Pillow raises many kinds.
        raise damaged(source, error) from None
    return (pixels if pixels.ndim == 2 else pixels.max(2)) > 0
