"""Masks as pictures: palette PNGs, overlays and pictures of the errors.

Images are RGB, uint8 `[h, w, 3]`; masks are class ids `[h, w]`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID

VOID_COLOUR = (255, 255, 255)
WRONG_COLOUR = (213, 45, 30)


class Look(NamedTuple):
    """How masks are stored and shown.

    Attributes:
        palette: uint8 `[classes, 3]`.
        background: The class that overlays leave as it is, or None.
        values: uint8 `[classes]`, stored in masks in place of class ids; None for class ids.
    """

    palette: np.ndarray
    background: int | None = None
    values: np.ndarray | None = None


def colour_mask(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colours a mask; void (255) is white.

    Args:
        mask: Class ids `[h, w]`.
        palette: uint8 `[classes, 3]`.

    Returns:
        uint8 `[h, w, 3]`.
    """
    colours = np.full((max(256, len(palette)), 3), VOID_COLOUR, "uint8")
    colours[: len(palette)] = palette
    return colours[mask]


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    palette: np.ndarray,
    opacity: float = 0.55,
    *,
    background: int | None = None,
) -> np.ndarray:
    """Lays the coloured mask over the image.

    Args:
        image: RGB, uint8 `[h, w, 3]`.
        mask: Class ids `[h, w]`; void (255) is white.
        palette: uint8 `[classes, 3]`.
        opacity: Of the mask, 0..1.
        background: A class whose pixels show the image as it is.

    Returns:
        uint8 `[h, w, 3]`.

    Raises:
        ConfigError: An argument has another form, or the mask has classes without a colour.
    """
    _check_overlay(image, mask, palette, opacity)
    colours = colour_mask(mask, palette)
    pixels = np.ascontiguousarray(image, "uint8")
    picture = cv2.addWeighted(pixels, 1 - opacity, colours, opacity, 0)
    if background is None:
        return picture
    return np.where(mask[..., None] == background, pixels, picture)


def _check_overlay(image: Any, mask: Any, palette: Any, opacity: Any) -> None:
    shapes = {
        "image": (image, "[h, w, 3]", 3),
        "mask": (mask, "[h, w]", 2),
        "palette": (palette, "[classes, 3]", 2),
    }
    for name, (array, rule, axes) in shapes.items():
        fits = isinstance(array, np.ndarray) and array.ndim == axes and array.dtype.kind in "iu"
        if not fits or (name != "mask" and array.shape[-1] != 3):
            raise ConfigError(
                f"{name}: must be an array of integers {rule}, found "
                f"{getattr(array, 'dtype', type(array).__name__)} "
                f"{getattr(array, 'shape', '')}".rstrip()
                + "."
            )
    if image.shape[:2] != mask.shape:
        raise ConfigError(
            f"mask: must have the size of the image, {image.shape[:2]}, found {mask.shape}."
        )
    ids = mask[mask != VOID] if len(palette) <= VOID else mask
    if ids.size and not 0 <= ids.min() <= ids.max() < len(palette):
        raise ConfigError(
            f"palette: has {len(palette)} colours, but the mask has classes from {ids.min()} to "
            f"{ids.max()}. Give a colour for each class."
        )
    if not isinstance(opacity, int | float | np.number) or not 0 <= opacity <= 1:
        raise ConfigError(f"opacity={opacity!r}: must be a number from 0 to 1.")


def error_picture(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Shows where a prediction is wrong: uint8 `[h, w, 3]`.

    Wrong pixels are red. The image is pale grey where the prediction is right, and nearly black
    where the ground truth is void and pixels are ignored.
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
    """Combines image, ground truth, prediction and errors in one picture, with white gaps.

    Args:
        image: uint8 `[h, w, 3]`.
        truth: Ground truth as class ids `[h, w]`, 255 where void.
        prediction: Class ids `[h, w]`.
        palette: uint8 `[classes, 3]`.
        gap: Pixels between the parts.
        columns: 4 for all in a row; 2 for prediction and errors below.

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


def palette_png(
    mask: np.ndarray, palette: np.ndarray, values: np.ndarray | None = None
) -> Image.Image:
    """Makes a Pillow image whose pixels are class ids and whose palette shows them in colour.

    Args:
        mask: Class ids `[h, w]`.
        palette: uint8 `[classes, 3]`.
        values: uint8 `[classes]`, to store in place of the class ids.
    """
    if values is not None:
        shown, palette = palette, np.full((256, 3), VOID_COLOUR, "uint8")
        mask, palette[values] = values[mask], shown
    if mask.dtype != np.uint8:
        return Image.fromarray(mask)  # 16-bit grey: a palette has only 256 entries.
    picture = Image.fromarray(mask, "P")
    colours = np.full((256, 3), VOID_COLOUR, "uint8")
    colours[: len(palette)] = palette
    picture.putpalette(colours.tobytes())
    return picture
