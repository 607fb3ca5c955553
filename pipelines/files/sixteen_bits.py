"""16-bit images: the full values of colours, and the grey levels that 8 bits lose."""

import cv2
import numpy as np

from pipelines.errors import DataError
from pipelines.files.opening import Source

NARROW = 2**14  # Values that span less have at most 64 of 256 levels in 8 bits.


def read_colours(png: bytes) -> np.ndarray:
    """Decodes a PNG with 16-bit channels, of which Pillow gives only the high bytes.

    Args:
        png: The file's content.

    Returns:
        RGB, uint16 `[h, w, 3]`, without alpha.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(png, "uint8"), flags)
    if pixels is None:
        raise ValueError("its 16-bit colours cannot be decoded")
    return pixels[..., ::-1]


def notes_on_levels(values: np.ndarray, pixels: np.ndarray, source: Source) -> list[DataError]:
    """Builds a warning if an image lost levels because its values span little of 16 bits.

    Cameras with 10, 12 or 14 bits often store their values without scaling.

    Args:
        values: The 16-bit values, of any shape.
        pixels: The 8-bit values made from them.
        source: The file, for the message.

    Returns:
        A list of at most one `DataError`.
    """
    low, high = int(values.min()), int(values.max())
    if high - low >= NARROW:
        return []
    stored, left = _levels(values - low), _levels(pixels)
    if stored == left:
        return []
    note = DataError(
        f"{source}: its 16-bit values are {low}..{high} of 0..65535, so in 8 bits only {left} of "
        f"{stored:,} levels are left. Stretch the values of all images alike to 0..65535, or save "
        "them with 8 bits.",
        kind="low contrast",
        file=source,
        value=left,
    )
    return [note]


def _levels(values: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(values.ravel())))
