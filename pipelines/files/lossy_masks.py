"""Readers for masks whose values lossy compression (JPEG) has changed, as the user declares.

Each reader is a `Split.read_mask`: source -> declared values `[h, w]` or colours `[h, w, 3]`. Near
outlines they may be wrong, because the compression has mixed the values there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.errors import DataError
from pipelines.files.images import read_mask
from pipelines.files.opening import Source

GREY_SPREAD = 48  # Largest difference of a grey pixel's channels; JPEG gives grey some colour.
Key = int | tuple[int, int, int]  # A declared value or colour.
APART = 48  # Declared values or colours must differ by more than compression changes.


@dataclass(frozen=True)
class ByThreshold:
    """Reads black-and-white masks: values up to `limit` are `dark`, others are `bright`."""

    limit: int
    dark: int
    bright: int

    @classmethod
    def between(
        cls, limit: int, values: Sequence[int], colours: Sequence[Sequence[int] | None]
    ) -> ByThreshold:
        """Builds the reader for two classes.

        Args:
            limit: The highest value of the dark class.
            values: The value of each class in the masks.
            colours: The declared colour of each class, or None.

        Raises:
            ValueError: There are not two classes, or their colours contradict their values.
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
        return cls(limit, values[dark], values[bright])

    def __str__(self) -> str:
        """The option in the YAML file."""
        return f"mask_threshold: {self.limit}"

    def __call__(self, source: Source | np.ndarray) -> np.ndarray:
        """Reads a mask: uint8 `[h, w]`.

        Raises:
            DataError: The mask has colours, or values that look like class ids.
        """
        mask = read_mask(source, lossy=True)
        if mask.ndim == 3:
            mask = _grey(mask, source, self)
        elif mask.dtype == bool:
            mask = mask * np.uint8(255)
        elif 0 < mask.max() <= self.limit:
            raise DataError(
                f"{source}: its values {np.unique(mask)[:5].tolist()} are all up to the threshold "
                f"in `{self}`. If they are class ids or palette indices, remove that key, or save "
                "this mask in black and white.",
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
            DataError: The mask has colours, but only values are declared.
        """
        mask = read_mask(source, lossy=True)
        if mask.ndim != 3:
            return mask
        keys = np.array(self.keys, "uint8")
        if keys.ndim == 1:
            return keys[_nearest(_grey(mask, source, self)[..., None], keys[:, None])]
        return keys[_nearest(mask, keys)]


LOSSY_READERS = (ByThreshold, ByNearest)


def _nearest(pixels: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Positions in `keys` `[n, c]` of the nearest to each pixel `[h, w, c]`; rows bound memory."""
    points = keys.astype("float32")
    # The order of |p - k|^2 is that of |k|^2 - 2 p k. Whole numbers, exact in float32.
    squares = (points**2).sum(axis=1)
    return np.stack([np.argmin(squares - row @ (2 * points.T), axis=-1) for row in pixels])


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
