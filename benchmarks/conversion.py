"""Measures `pipelines.annotations.convert` beside pycocotools doing the same with the same files.

Both read a COCO file of polygons and every image, paint large areas first, and write a palette PNG
for each image. pycocotools runs on one thread, and so does ours.

Run `python benchmarks/conversion.py [--images 300] [--polygons 40]`, after `pip install
pycocotools`. Images of 640 x 480 are created in a temporary folder.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine
from PIL import Image

import pipelines

SIZE = 480, 640
CLASSES = 20


def main():
    """Prints images a second, CPU time, and how many pixels differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300, help="images [300]")
    parser.add_argument("--polygons", type=int, default=40, help="polygons per image [40]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, ours, theirs = (Path(folder) / name for name in ("source", "ours", "theirs"))
        make(source, arguments.images, arguments.polygons)
        theirs.mkdir()
        print(f"{machine()}\n{arguments.images} images, {arguments.polygons} polygons in each")
        for name, run in (
            ("pipelines.annotations.convert", lambda: pipelines.annotations.convert(source, ours)),
            ("pycocotools", lambda: with_pycocotools(source, theirs)),
        ):
            started, busy = time.perf_counter(), time.process_time()
            run()
            seconds, cpu = time.perf_counter() - started, time.process_time() - busy
            rate = arguments.images / seconds
            print(
                f"  {name:30s}{rate:7.1f} images/s{1000 * cpu / arguments.images:8.1f} CPU ms each"
            )
        print(f"  pixels that differ: {difference(ours, theirs):,}")


def make(folder, images, polygons):
    """Writes a COCO file of random outlines of 20 to 60 points, and its images."""
    rng = np.random.default_rng(0)
    (folder / "train").mkdir(parents=True)
    noise = rng.integers(0, 256, (*SIZE, 3), "uint8")
    listed, annotations = [], []
    for number in range(images):
        name = f"{number:06d}.jpg"
        Image.fromarray(np.roll(noise, number, 0)).save(folder / "train" / name, quality=70)
        listed.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        for _ in range(polygons):
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(20, 60)))
            radii = rng.uniform(5, 80) * rng.uniform(0.7, 1.3, len(angles))
            x = rng.uniform(0, SIZE[1]) + radii * np.cos(angles)
            y = rng.uniform(0, SIZE[0]) + radii * np.sin(angles)
            ring = np.stack([x.clip(0, SIZE[1]), y.clip(0, SIZE[0])], 1).round(2)
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": int(rng.integers(1, CLASSES + 1)),
                    "segmentation": [ring.ravel().tolist()],
                    "area": area(ring),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": n, "name": f"class {n}"} for n in range(1, CLASSES + 1)]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    (folder / "train" / "_annotations.coco.json").write_text(json.dumps(content))


def area(ring):
    """The area of an outline."""
    x, y = ring.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def with_pycocotools(source, out):
    """Does what `convert` does, with pycocotools and Pillow."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(source / "train" / "_annotations.coco.json")
    palette = pipelines.distinct_palette(256).tobytes()
    for number, entry in coco.imgs.items():
        with Image.open(source / "train" / entry["file_name"]) as image:
            image.load()  # `convert` finds damaged images; so must this.
        mask = np.zeros((entry["height"], entry["width"]), "uint8")
        for one in sorted(coco.imgToAnns[number], key=lambda one: -one["area"]):
            mask[coco.annToMask(one) > 0] = one["category_id"]
        picture = Image.fromarray(mask)
        picture.putpalette(palette)
        picture.save(out / f"{entry['file_name'][:-4]}.png")


def difference(ours, theirs):
    """Counts the pixels that differ."""
    return sum(
        int((np.asarray(Image.open(path)) != np.asarray(Image.open(theirs / path.name))).sum())
        for path in (ours / "masks").rglob("*.png")
    )


if __name__ == "__main__":
    main()
