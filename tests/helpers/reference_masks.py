"""Compares conversions with the reference masks of the samples."""

import json
import shutil

import numpy as np
from exports import record_of
from PIL import Image


def expected(sample):
    return json.loads((sample / "expected/expected.json").read_text())


def with_blank_images(sample, folder, copy, images):
    """Copies a sample and adds black images, which it lacks; returns {reference mask: image}."""
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)
    found = {}
    for name, about in expected(sample).items():
        path = copy / images.format(name.rpartition("__")[2])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", about["size_hw"][::-1]).save(path)
        found[name] = path
    return found


def differences(sample, out, images):
    """Returns the number of pixels of each mask that differ from the reference."""
    made = {one["image"].rpartition("/")[2]: one["mask"] for one in record_of(out)["images"]}
    found = {}
    for name, image in images.items():
        with Image.open(out / made[image.name]) as got:
            with Image.open(sample / f"expected/{name}.png") as want:
                found[name] = int(np.count_nonzero(np.array(got) != np.array(want)))
    return found
