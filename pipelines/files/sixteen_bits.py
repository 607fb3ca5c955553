"""16-bit images: the full values of colours, and the grey levels that 8 bits lose."""

import cv2
import numpy as np

from pipelines.errors import DataError
from pipelines.files.opening import Source

NARROW = 2**14  # Values that span less have at most 64 of 256 levels in 8 bits.
OUTLIERS = 0.005  # The share of pixels at each end that may be hot or dead pixels.


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

    Cameras with 10, 12 or 14 bits often store their values without scaling. Outliers, such as hot
    pixels, do not count.

    Args:
        values: The 16-bit values, of any shape.
        pixels: The 8-bit values made from them.
        source: The file, for the message.

    Returns:
        A list of at most one `DataError`.
    """
    levels = _histogram(values, 2**16)
    low, high = _usual_range(levels)
    if high - low >= NARROW:
        return []
    usual = (values >= low) & (values <= high)
    stored = int(np.count_nonzero(levels[low : high + 1]))
    left = int(np.count_nonzero(_histogram(pixels[usual], 256)))
    if stored == left:
        return []
    most = "" if usual.all() else f"{1 - 2 * OUTLIERS:.0%} of "
    note = DataError(
        f"{source}: {most}its 16-bit values are {low}..{high} of 0..65535, so in 8 bits only "
        f"{left} of {stored:,} levels are left. Stretch the values of all images alike to "
        "0..65535, or save them with 8 bits.",
        kind="low contrast",
        file=source,
        value=left,
    )
    return [note]


def _usual_range(levels: np.ndarray) -> tuple[int, int]:
    """The lowest and highest level of a histogram, without outliers if these make it wide."""
    used, up_to = np.flatnonzero(levels), np.cumsum(levels)
    whole = int(used[0]), int(used[-1])
    few = min(max(1, int(OUTLIERS * up_to[-1])), (up_to[-1] - 1) // 2)
    low, high = np.searchsorted(up_to, [few, up_to[-1] - 1 - few], side="right")
    is_hidden = whole[1] - whole[0] >= NARROW > (high - low) / (1 - 2 * OUTLIERS)
    return (int(low), int(high)) if is_hidden else whole


def _histogram(values: np.ndarray, count: int) -> np.ndarray:
    """The number of pixels of each level."""
    kind = "uint8" if count == 256 else "uint16"
    pixels = np.ascontiguousarray(values, kind).reshape(-1, 1)
    return cv2.calcHist([pixels], [0], None, [count], [0, count]).ravel().astype("int64")
