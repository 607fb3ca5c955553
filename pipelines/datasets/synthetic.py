"""Rendered shapes with texture, for tests and the quickstart; needs no files.

Discs, squares, triangles and rings, each with its own kind of texture, lie on a grey gradient with
noise. A void line, one pixel wide, surrounds each shape, as in PASCAL VOC.
"""

from pathlib import Path

import numpy as np

from pipelines.errors import DataError
from pipelines.split import IGNORE, Example, Split, plain_values

SIZES = {"train": 160, "val": 40, "test": 40}
CLASSES = {
    "background": (64, 64, 64),
    "disc": (230, 85, 60),
    "square": (60, 130, 220),
    "triangle": (250, 200, 60),
    "ring": (80, 180, 110),
}


def read(data_dir: str | Path | None, split: str) -> Split:
    """Renders one split: always the same images, of about 128 x 160 pixels.

    Args:
        data_dir: Ignored.
        split: "train", "val" or "test".

    Raises:
        DataError: The split does not exist.
    """
    if split not in SIZES:
        raise DataError(f"synthetic: no split {split!r}; choose one of {', '.join(SIZES)}.")
    seed = list(SIZES).index(split)
    examples = [
        Example(f"{split}_{i:03d}", *render(np.random.default_rng((seed, i))))
        for i in range(SIZES[split])
    ]
    return Split(
        name=f"synthetic {split}",
        examples=tuple(examples),
        class_names=tuple(CLASSES),
        palette=np.array(list(CLASSES.values()), "uint8"),
        mask_values=plain_values(len(CLASSES)),
    )


def render(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Renders one image, RGB uint8 `[h, w, 3]`, and its mask, uint8 `[h, w]`."""
    height, width = rng.integers(112, 145), rng.integers(144, 177)
    y, x = np.mgrid[:height, :width].astype("float32")
    slope = rng.uniform(-40, 40, 2).astype("float32")
    image = 110 + slope[0] * (y / height - 0.5) + slope[1] * (x / width - 0.5)
    image = np.repeat(image[..., None], 3, axis=-1)
    mask = np.zeros((height, width), "uint8")
    for _ in range(rng.integers(2, 5)):
        class_id = int(rng.integers(1, len(CLASSES)))
        radius = rng.uniform(16, 36)
        angle = rng.uniform(0, 2 * np.pi)
        dy, dx = y - rng.uniform(0, height), x - rng.uniform(0, width)
        v = (dy * np.cos(angle) - dx * np.sin(angle)) / radius
        u = (dy * np.sin(angle) + dx * np.cos(angle)) / radius
        distance = _outside(class_id, v, u) * radius  # Pixels from the outline, negative inside.
        light = rng.uniform(150, 255, 3).astype("float32")
        dark = rng.uniform(0, 90, 3).astype("float32")
        inside = distance < 0
        pattern = _texture(class_id, v * radius, u * radius)[..., None]
        image = np.where(inside[..., None], np.where(pattern, light, dark), image)
        mask[inside] = class_id
        mask[np.abs(distance) < 0.5] = IGNORE
    image = image + 8 * rng.standard_normal(image.shape, "float32")
    return np.clip(np.round(image), 0, 255).astype("uint8"), mask


def _outside(class_id: int, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Computes each point's distance from the shape of radius 1, negative inside."""
    distance = np.hypot(v, u)
    return {
        1: distance - 1,
        2: np.maximum(np.abs(v), np.abs(u)) - 0.8,
        3: np.maximum.reduce([v - 0.5, np.abs(u) * 0.866 - v * 0.5 - 0.5]),
        4: np.abs(distance - 0.75) - 0.25,
    }[class_id]


def _texture(class_id: int, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Renders stripes, checks, dots or plain, True where light; v and u are in pixels."""
    return {
        1: np.sin(v) > 0,
        2: (np.sin(v * 0.7) > 0) ^ (np.sin(u * 0.7) > 0),
        3: np.sin(v * 0.9) + np.sin(u * 0.9) > 0.8,
        4: np.ones_like(v, bool),
    }[class_id]
