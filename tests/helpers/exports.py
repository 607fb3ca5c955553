"""Small exports of labelling tools: an image and what a tool writes about it."""

import base64
import io
import json

import numpy as np
from PIL import Image

SQUARE = [4, 2, 14, 2, 14, 12, 4, 12]  # Columns 4..13 and rows 2..11: 100 pixels.


def picture(path, size=(20, 30), exif=None):
    """An image of random pixels, (height, width) as it is stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), "uint8")
    options = {}
    if exif:
        tags = Image.Exif()
        tags[0x0112] = exif
        options["exif"] = tags.tobytes()
    Image.fromarray(pixels).save(path, **options)


def coco(root, annotations, *, name="instances.json", images=None, categories=None, **top):
    """A COCO file with images of 20 x 30 pixels; an annotation needs only what differs."""
    images = images or [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}]
    categories = categories or [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}]
    for image in images:
        file = (root / name).parent / image["file_name"]
        if ".." not in image["file_name"] and not file.exists():
            picture(file, (image.get("height", 20), image.get("width", 30)))
    entries = [
        {"id": n, "image_id": 1, "category_id": 5, "iscrowd": 0, **annotation}
        for n, annotation in enumerate(annotations, 1)
    ]
    content = {"images": images, "annotations": entries, "categories": categories, **top}
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(content))
    return root


def labelme(root, shapes, *, name="a.json", image="a.png", size=(20, 30), **top):
    """A LabelMe file; a shape is (label, type, points) and further keys."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    if image and not (root / image).exists():
        picture(root / image, size)
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            {"label": label, "shape_type": kind, "points": points, "group_id": None, **more}
            for label, kind, points, more in ((*shape, {})[:4] for shape in shapes)
        ],
        "imagePath": image,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
        **top,
    }
    (root / name).write_text(json.dumps(content))
    return root


def png_text(pixels):
    """A PNG as base64."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def mask_of(out, name="a", split="train"):
    """The pixels of a mask."""
    with Image.open(out / "masks" / split / f"{name}.png") as mask:
        assert mask.mode == "P"
        return np.array(mask)


def record_of(out):
    """The content of `conversion.json`."""
    return json.loads((out / "conversion.json").read_text())
