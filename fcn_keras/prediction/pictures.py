"""Masks as pictures: palette PNGs, overlays, and panels of what is wrong.

Images are RGB uint8 [h, w, 3], masks [h, w] of class ids.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from fcn_keras.labels import VOID

BAND_PIXELS = 1 << 20
VOID_COLOUR = (255, 255, 255)
WRONG_COLOUR = (213, 45, 30)


def colour_mask(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """A mask as an RGB picture; void (255) is white.

    Args:
        mask: class ids `[h, w]`.
        palette: uint8 `[classes, 3]`.

    Returns:
        uint8 `[h, w, 3]`.
    """
    colours = np.full((max(256, len(palette)), 3), VOID_COLOUR, "uint8")
    colours[: len(palette)] = palette
    return colours[mask]


def overlay(
    image: np.ndarray, mask: np.ndarray, palette: np.ndarray, opacity: float = 0.55
) -> np.ndarray:
    """The image under its coloured mask: uint8 `[h, w, 3]`."""
    picture = np.empty((*mask.shape, 3), "uint8")
    rows = max(1, BAND_PIXELS // max(1, mask.shape[1]))  # Its float64 is 8 times an image's size.
    for top in range(0, len(mask), rows):
        band = slice(top, top + rows)
        mixed = (1 - opacity) * image[band] + opacity * colour_mask(mask[band], palette)
        picture[band] = np.round(mixed)
    return picture


def error_picture(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Where a prediction is wrong: uint8 `[h, w, 3]`.

    Wrong pixels are red; under them the image is pale grey where the prediction is right, and
    nearly black where the truth is void, so that nothing counts.
    """
    grey = image.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    picture = 128 + 0.5 * grey
    void = truth == VOID
    picture[void] = 0.25 * grey[void]
    wrong = (prediction != truth) & ~void
    picture[wrong] = 0.15 * grey[wrong] + 0.85 * np.array(WRONG_COLOUR)
    return np.round(picture).astype("uint8")


def side_by_side(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    palette: np.ndarray,
    gap: int = 4,
    columns: int = 4,
) -> np.ndarray:
    """Image, truth, prediction and error in one picture, with white between them.

    Args:
        image: uint8 `[h, w, 3]`.
        truth: class ids `[h, w]`, 255 where void.
        prediction: class ids `[h, w]`.
        palette: uint8 `[classes, 3]`.
        gap: between the parts, in pixels.
        columns: 4 for all in a row; 2 for prediction and error below.

    Returns:
        uint8 `[h, 4 w + 3 gap, 3]`, or `[2 h + gap, 2 w + gap, 3]` in two columns.
    """
    error = error_picture(image, truth, prediction)
    parts = [image, colour_mask(truth, palette), colour_mask(prediction, palette), error]
    height, width = truth.shape
    rows = 4 // columns
    size = rows * (height + gap) - gap, columns * (width + gap) - gap, 3
    picture = np.full(size, 255, "uint8")
    for number, part in enumerate(parts):
        row, column = divmod(number, columns)
        top, left = row * (height + gap), column * (width + gap)
        picture[top : top + height, left : left + width] = part
    return picture


def palette_png(mask: np.ndarray, palette: np.ndarray) -> Image.Image:
    """A Pillow image whose pixels are the class ids and whose palette shows them in colour."""
    if mask.dtype != np.uint8:
        return Image.fromarray(mask)  # More classes than a palette has entries: 16-bit grey.
    picture = Image.fromarray(mask, "P")
    colours = np.full((256, 3), VOID_COLOUR, "uint8")
    colours[: len(palette)] = palette
    picture.putpalette(colours.tobytes())
    return picture
