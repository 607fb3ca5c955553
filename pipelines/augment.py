"""Random changes to an image and its mask together: scale, crop, mirror, colour (albumentations).

Images are RGB uint8 [h, w, 3], masks uint8 [h, w]. What lies outside the image is the ImageNet mean
colour there and 255 (void) in the mask.
"""

import os
from dataclasses import dataclass

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # Its import asks the network otherwise.

import albumentations as A  # noqa: E402
import cv2  # noqa: E402

from pipelines.split import IGNORE  # noqa: E402

MEAN_COLOUR = (124, 117, 104)


@dataclass(frozen=True)
class Augmentation:
    """What is changed at random, and by how much.

    Attributes:
        crop: (height, width) of what comes out, in pixels; None for whole images.
        scale: the image is resized by a factor drawn from this range before it is cropped.
        mirror: flip left and right in half of the cases.
        colour: strength of brightness, contrast, saturation, hue and gamma changes; 0 is off,
            1 changes brightness and contrast by up to 40 %.
    """

    crop: tuple[int, int] | None
    scale: tuple[float, float] = (1.0, 1.0)
    mirror: bool = True
    colour: float = 0.0


def transform(augmentation):
    """The albumentations pipeline; `seed_and_apply` runs it.

    A pipeline keeps a random state: each thread needs one of its own.
    """
    low, high = augmentation.scale
    steps = []
    if (low, high) != (1.0, 1.0):
        steps.append(
            A.RandomScale(
                (low - 1, high - 1),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                p=1,
            )
        )
    if augmentation.crop is not None:
        height, width = augmentation.crop
        steps += [
            A.PadIfNeeded(
                height,
                width,
                position="random",
                border_mode=cv2.BORDER_CONSTANT,
                fill=MEAN_COLOUR,
                fill_mask=IGNORE,
            ),
            A.RandomCrop(height, width),
        ]
    if augmentation.mirror:
        steps.append(A.HorizontalFlip(p=0.5))
    if augmentation.colour:
        strength = augmentation.colour
        steps += [
            A.ColorJitter(
                brightness=(1 - 0.4 * strength, 1 + 0.4 * strength),
                contrast=(1 - 0.4 * strength, 1 + 0.4 * strength),
                saturation=(1 - 0.4 * strength, 1 + 0.4 * strength),
                hue=(-0.04 * strength, 0.04 * strength),
                p=0.8,
            ),
            A.RandomGamma((int(100 - 35 * strength), int(100 + 50 * strength)), p=0.5),
        ]
    return A.Compose(steps)


def seed_and_apply(compose, image, mask, seed):
    """Applies `compose` with the random numbers that `seed` gives, whatever ran before."""
    compose.set_random_seed(seed)
    changed = compose(image=image, mask=mask)
    return changed["image"], changed["mask"]
