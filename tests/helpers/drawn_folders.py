"""Folders of images and masks on disk, and the YAML file that `data init` writes for them."""

import numpy as np
from PIL import Image

from pipelines.discovery import folders, write_yaml

RNG = np.random.default_rng(0)
SIZE = (40, 56)


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*SIZE, 3), "uint8")).save(path)


def mask(path, values=(0, 1, 2), palette=None):
    """A mask with stripes of values or colours; the first is the most frequent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.minimum(np.arange(SIZE[0]) // 2, 2 * len(values)) % len(values)
    stripes[-20:] = 0
    pixels = np.asarray(values)[np.repeat(stripes[:, None], SIZE[1], 1)]
    if pixels.dtype != "uint16":
        pixels = pixels.astype("uint8")
    picture = Image.fromarray(pixels)
    if palette is not None:
        picture = Image.fromarray(pixels, "P")
        picture.putpalette(palette)
    picture.save(path)


def fill(root, images="images/{}.jpg", masks="masks/{}.png", names=range(8), **kind):
    for name in names:
        image(root / images.format(name))
        mask(root / masks.format(name), **kind)


def made(root, name="out.yaml", **choice):
    """Writes the YAML file of a folder, next to it."""
    out = root.parent / name
    found = folders.find(root, **choice)
    description = write_yaml.describe(found, write_yaml.destination(root, out))
    out.write_text(description.text, "utf-8")
    return out, description
