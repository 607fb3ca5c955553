"""Readers for masks whose values lossy compression (JPEG) has changed, as the user declares.

Each reader is a `Split.read_mask`: source -> declared values `[h, w]` or colours `[h, w, 3]`. Near
outlines they may be wrong, because the compression has mixed the values there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.errors import DataError
from pipelines.files.images import read_mask_and_palette
from pipelines.files.opening import Source, damaged

GREY_SPREAD = 48  # Largest difference of a grey pixel's channels; JPEG gives grey some colour.
Key = int | tuple[int, int, int]  # A declared value or colour.
APART = 48  # Declared values or colours must differ by more than compression changes.
VOID = 255  # Void by default in a YAML file; as a grey level it is bright.
# Compression mixes colours near outlines, but in areas that are smaller or less even than this:
AREA, EVEN = 9, 16  # pixels across, and the largest difference of their levels.


@dataclass(frozen=True)
class ByThreshold:
    """Reads black-and-white masks: values up to `limit` are `dark`, others are `bright`."""

    limit: int
    dark: int
    bright: int

    @classmethod
    def between(
        cls,
        limit: int,
        values: Sequence[int],
        colours: Sequence[Sequence[int] | None],
        ignored: Sequence[Key] = (),
    ) -> ByThreshold:
        """Builds the reader for two classes.

        Args:
            limit: The highest value of the dark class.
            values: The value of each class in the masks.
            colours: The declared colour of each class, or None.
            ignored: The values and colours that are declared to be void.

        Raises:
            ValueError: There are not two classes, their colours contradict their values, or a
                third grey level is void.
        """
        if len(values) != 2:
            raise ValueError(
                f"`mask_threshold` needs 2 classes, a dark and a bright one, found {len(values)}. "
                "For more classes there is `mask_nearest: true`."
            )
        dark, bright = np.argsort(values)
        of_dark, of_bright = colours[dark], colours[bright]
        if of_dark and of_bright and sum(of_dark) > sum(of_bright):
            raise ValueError(
                f"`mask_threshold`: pixels above {limit} are the class of value "
                f"{values[bright]}, but the other class has the brighter colour. Exchange the two "
                "in `classes`, or their colours."
            )
        are_levels = values[bright] > limit  # Otherwise ids, and 255 is the bright class.
        void = [key for key in ignored if key != VOID or are_levels]
        if void:
            raise ValueError(
                f"`mask_threshold` gives every pixel to one of the two classes, but `ignore` has "
                f"{void[0]}. Remove it from `ignore`, or set `mask_nearest: true` in place of "
                "`mask_threshold`."
            )
        return cls(limit, values[dark], values[bright])

    def __str__(self) -> str:
        """The option in the YAML file."""
        return f"mask_threshold: {self.limit}"

    def __call__(self, source: Source | np.ndarray) -> np.ndarray:
        """Reads a mask by its brightness: uint8 `[h, w]`.

        Palette files have the brightness of their colours; 16 bits are scaled to 8.

        Raises:
            DataError: The mask has colours, or values that look like class ids.
        """
        mask, palette = read_mask_and_palette(source, lossy=True)
        is_rgb = mask.ndim == 3
        if palette is not None and not isinstance(source, np.ndarray):
            if mask.max(initial=0) >= len(palette):
                raise damaged(source, f"its palette has no colour {mask.max()}")
            mask = palette[mask]
        if mask.ndim == 3:
            mask = _grey(mask, source, self)
        elif mask.dtype == bool:
            mask = mask * np.uint8(255)
        elif mask.dtype != np.uint8:
            mask = np.round(mask / 257)
        if not is_rgb and 0 < mask.max(initial=0) <= self.limit:
            raise DataError(
                f"{source}: its values {np.unique(mask)[:5].astype(int).tolist()} are all up to "
                f"the threshold in `{self}`. If they are class ids or palette indices, remove that "
                "key, or save this mask in black and white, with 8 bits.",
                kind="nothing above the threshold",
                file=source,
                value=int(mask.max()),
            )
        return np.where(mask > self.limit, np.uint8(self.bright), np.uint8(self.dark))


@dataclass(frozen=True)
class ByNearest:
    """Reads masks in colours: each pixel becomes the nearest of the declared colours.

    Attributes:
        keys: The declared colours (r, g, b); or values, if no class has a colour.
    """

    keys: tuple[Key, ...]

    @classmethod
    def among(cls, keys: tuple[Key, ...]) -> ByNearest:
        """Builds the reader.

        Raises:
            ValueError: Two colours or values are so similar that compression mixes them.
        """
        points = np.array(keys, "int64").reshape(len(keys), -1)
        differ = abs(points[:, None] - points).max(axis=-1)
        for one, other in np.argwhere(np.triu(differ < APART, 1)):
            raise ValueError(
                f"`mask_nearest`: {keys[one]} and {keys[other]} are too similar, JPEG mixes them. "
                f"They must differ by {APART} in a channel. Export the masks as PNG."
            )
        return cls(keys)

    def __str__(self) -> str:
        """The option in the YAML file."""
        return "mask_nearest: true"

    def __call__(self, source: Source | np.ndarray) -> np.ndarray:
        """Reads a mask: uint8 `[h, w]` or colours `[h, w, 3]`; without colours as it is stored.

        Raises:
            DataError: The mask has colours, but only values are declared; or it has an area whose
                colour is not near a declared one.
        """
        return self.with_palette(source)[0]

    def with_palette(self, source: Source | np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads a mask as a call does, and its palette, uint8 `[n, 3]`; None if it has none.

        Colours of the palette that are near a declared colour become that colour.
        """
        mask, palette = read_mask_and_palette(source, lossy=True)
        keys = np.array(self.keys, "uint8").reshape(len(self.keys), -1)
        in_colours = keys.shape[1] == 3
        if mask.ndim != 3:
            if palette is not None and in_colours:
                nearest = _nearest(palette[None], keys)[0]
                palette = np.where(_is_far(palette, nearest)[:, None], palette, nearest)
            return mask, palette
        pixels = mask if in_colours else _grey(mask, source, self)[..., None]
        nearest = _nearest(pixels, keys)
        _check_areas(pixels, nearest, source)
        return nearest if in_colours else nearest[..., 0], None


LOSSY_READERS = (ByThreshold, ByNearest)


def _nearest(pixels: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Returns the nearest of `keys` `[n, c]` for each of `pixels` `[..., c]`."""
    points = keys.astype("float32")
    # The order of |p - k|^2 is that of |k|^2 - 2 p k. Whole numbers, exact in float32.
    squares = (points**2).sum(axis=1)
    rows = [np.argmin(squares - row @ (2 * points.T), axis=-1) for row in pixels]  # Bounds memory.
    return keys[np.stack(rows)]


def _is_far(pixels: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Whether compression cannot have made the pixels `[..., c]` from their nearest keys."""
    return cv2.absdiff(pixels, nearest).reshape(pixels.shape).max(axis=-1) > APART // 2


def _check_areas(pixels: np.ndarray, nearest: np.ndarray, source: Source | np.ndarray) -> None:
    """Raises an error if `pixels` `[h, w, c]` have an even area that is far from `nearest`."""
    far = _is_far(pixels, nearest)
    if not far.any():
        return
    area = np.ones((AREA, AREA), "uint8")
    is_far = cv2.erode(far.astype("uint8"), area, borderValue=0) > 0
    spread = cv2.dilate(pixels, area) - cv2.erode(pixels, area)
    found = np.argwhere(is_far & (np.atleast_3d(spread).max(axis=-1) <= EVEN))
    if not len(found):
        return
    row, column = found[0].tolist()
    colour, other = (
        tuple(p[row, column].tolist()) if p.shape[-1] == 3 else int(p[row, column, 0])
        for p in (pixels, nearest)
    )
    raise DataError(
        f"{source}: the mask has an area of {colour} around row {row}, column {column}, which is "
        f"not near any declared class; the nearest is {other}. Declare a class for it in the YAML "
        "file, or add it to `ignore`.",
        kind="unknown colour",
        file=None if isinstance(source, np.ndarray) else source,
        value=[colour],
        position=(row, column),
    )


def _grey(colours: np.ndarray, source: Source | np.ndarray, option: object) -> np.ndarray:
    """Returns the green channel `[h, w]` of a grey mask, or raises an error if it has colours."""
    spread = colours.max(axis=-1) - colours.min(axis=-1)
    if spread.max() > GREY_SPREAD:
        row, column = (int(n) for n in np.argwhere(spread > GREY_SPREAD)[0])
        raise DataError(
            f"{source}: the mask has colours, such as {tuple(colours[row, column].tolist())} at "
            f"row {row}, column {column}, but `{option}` is for grey masks. Give each class its "
            "`colour: [red, green, blue]`, and set `mask_nearest: true`.",
            kind="colours in a mask",
            file=None if isinstance(source, np.ndarray) else source,
            position=(row, column),
        )
    return colours[..., 1]
