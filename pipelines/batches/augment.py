"""Random augmentation of an image and its mask: scale, crop, mirror, colour (albumentations).

Images are RGB uint8 [h, w, 3], masks uint8 [h, w]. Images are padded with the ImageNet mean colour,
masks with 255 (void).
"""

import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # Otherwise its import uses the network.

import albumentations as A  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402

from pipelines.errors import DataError  # noqa: E402
from pipelines.split import IGNORE  # noqa: E402

MEAN_COLOUR = (124, 117, 104)
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
RGB = np.linalg.inv(YIQ)
# RGB to RGB: what grey keeps, the chroma, and the chroma turned by 90 degrees.
GREY, CHROMA, TURNED = (
    RGB @ np.array(part) @ YIQ
    for part in (
        [[1, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 0], [0, 0, -1], [0, 1, 0]],
    )
)
REAL = int | float | np.number


@dataclass(frozen=True)
class Augmentation:
    """Which random changes are applied, and how strong they are.

    Attributes:
        crop: (height, width) of the output in pixels; None for whole images.
        scale: Range of the random factor by which the image is resized before cropping.
        mirror: Flip left-right with probability 0.5.
        colour: Strength of brightness, contrast, saturation, hue and gamma changes. 0 is off;
            1, the most, changes brightness, contrast and saturation by up to 40 %, hue by up to
            14 degrees, and gamma to 0.65 to 1.5.
    """

    crop: tuple[int, int] | None
    scale: tuple[float, float] = (1.0, 1.0)
    mirror: bool = True
    colour: float = 0.0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            DataError: A value has another form or is out of range.
        """
        crop = self.crop
        if crop is not None and not (_are_numbers(crop, int | np.integer) and min(crop) >= 1):
            raise DataError(
                f"crop={crop!r}: must be (height, width) in whole pixels, at least 1, or None for "
                "whole images."
            )
        scale = self.scale
        if not _are_numbers(scale, REAL) or not 0 < scale[0] <= scale[1] < math.inf:
            raise DataError(f"scale={scale!r}: must be (low, high) with 0 < low <= high.")
        if not isinstance(self.mirror, bool | np.bool_):
            raise DataError(f"mirror={self.mirror!r}: must be True or False.")
        if not isinstance(self.colour, REAL) or not 0 <= self.colour <= 1:
            raise DataError(f"colour={self.colour!r}: must be a number from 0 to 1.")


def _are_numbers(pair: Any, kind: Any) -> bool:
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    return is_pair and all(isinstance(one, kind) and not isinstance(one, bool) for one in pair)


def transform(augmentation: Augmentation) -> A.Compose:
    """Builds the albumentations pipeline, which `seed_and_apply` runs.

    A pipeline has a random state, so only one thread may run it at a time.
    """
    low, high = augmentation.scale
    steps = []
    if augmentation.crop is not None:
        steps.append(RandomScaledCrop(augmentation.crop, augmentation.scale))
    elif (low, high) != (1.0, 1.0):
        steps.append(
            A.RandomScale(
                (low - 1, high - 1),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST_EXACT,
                p=1,
            )
        )
    if augmentation.mirror:
        steps.append(A.HorizontalFlip(p=0.5))
    if augmentation.colour:
        strength = augmentation.colour
        steps += [
            RandomColour(strength),
            A.RandomGamma((int(100 - 35 * strength), int(100 + 50 * strength)), p=0.5),
        ]
    return A.Compose(steps)


def seed_and_apply(
    compose: A.Compose, image: np.ndarray, mask: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Applies `compose` with the random numbers of `seed`, whatever ran before."""
    # One state for all steps: `set_random_seed` would give each step the same numbers, so that, for
    # example, only images of small scales would be mirrored.
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    changed = compose(image=image, mask=mask)
    return changed["image"], changed["mask"]


class RandomScaledCrop(A.DualTransform):
    """Resizes the image by a random factor and crops it.

    Only the cropped part is resized, which is three times as fast as resizing first. If the resized
    image is smaller than the crop, it is placed at random inside the crop.
    """

    def __init__(self, crop: tuple[int, int], scale: tuple[float, float]) -> None:
        """Takes the crop's (height, width) and the range of the factor."""
        super().__init__(p=1)
        self.crop, self.scale = crop, scale

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, list[slice]]:
        """Draws the factor, the part of the image to take, and its place in the crop."""
        factor = self.py_random.uniform(*self.scale)
        spans = [
            self._span(size, crop, factor)
            for size, crop in zip(params["shape"][:2], self.crop, strict=True)
        ]
        return {"source": [s[0] for s in spans], "target": [s[1] for s in spans]}

    def _span(self, size: int, crop: int, factor: float) -> tuple[slice, slice]:
        """Draws, along one axis, a slice of the image and the slice of the crop that it fills."""
        window = max(1, round(crop / factor))
        if window <= size:
            start = self.py_random.randint(0, size - window)
            return slice(start, start + window), slice(0, crop)
        length = min(crop, max(1, round(size * factor)))
        start = self.py_random.randint(0, crop - length)
        return slice(0, size), slice(start, start + length)

    def apply(
        self, img: np.ndarray, source: list[slice], target: list[slice], **params: Any
    ) -> np.ndarray:
        """Crops the image, and pads it with the mean colour."""
        return self._cut(img, source, target, cv2.INTER_LINEAR, MEAN_COLOUR)

    def apply_to_mask(
        self, mask: np.ndarray, source: list[slice], target: list[slice], **params: Any
    ) -> np.ndarray:
        """Crops the mask, and pads it with void."""
        return self._cut(mask, source, target, cv2.INTER_NEAREST_EXACT, IGNORE)

    def _cut(
        self,
        pixels: np.ndarray,
        source: list[slice],
        target: list[slice],
        interpolation: int,
        outside: int | Sequence[int],
    ) -> np.ndarray:
        part = pixels[source[0], source[1]]
        height, width = (t.stop - t.start for t in target)
        if part.shape[:2] != (height, width):
            part = cv2.resize(part, (width, height), interpolation=interpolation)
        if (height, width) == tuple(self.crop):
            return part
        return cv2.copyMakeBorder(
            part,
            target[0].start,
            self.crop[0] - target[0].stop,
            target[1].start,
            self.crop[1] - target[1].stop,
            cv2.BORDER_CONSTANT,
            value=outside,
        )


class RandomColour(A.ImageOnlyTransform):
    """Changes brightness, contrast, saturation and hue with one linear map of the colours.

    Hue rotates the chroma of YIQ about the grey axis. One pass over the pixels, instead of four and
    a conversion to HSV, takes a fifth of the time.
    """

    def __init__(self, strength: float) -> None:
        """At strength 1, factors are 0.6 to 1.4 and hue rotates by up to 14 degrees."""
        super().__init__(p=0.8)
        self.strength = strength

    def get_params(self) -> dict[str, float]:
        """Draws three factors, and an angle in radians."""
        low, high = 1 - 0.4 * self.strength, 1 + 0.4 * self.strength
        return {
            "brightness": self.py_random.uniform(low, high),
            "contrast": self.py_random.uniform(low, high),
            "saturation": self.py_random.uniform(low, high),
            "hue": 2 * np.pi * self.py_random.uniform(-0.04, 0.04) * self.strength,
        }

    def apply(
        self,
        img: np.ndarray,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        **params: Any,
    ) -> np.ndarray:
        """Changes the colours of the image."""
        along, across = saturation * math.cos(hue), saturation * math.sin(hue)
        gain = brightness * contrast
        matrix = np.empty((3, 4))
        matrix[:, :3] = gain * (GREY + along * CHROMA + across * TURNED)
        # Contrast scales about the mean grey.
        matrix[:, 3] = (brightness - gain) * (YIQ[0] @ cv2.mean(img)[:3])
        return cv2.transform(img, matrix)
