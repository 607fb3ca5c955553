"""Small projects of Supervisely."""

import base64
import json
import zlib

from exports import picture, png_text

SIZE = (20, 30)
SQUARE = [[4, 2], [13, 2], [13, 11], [4, 11]]


def ring(points, *holes):
    return {"points": {"exterior": points, "interior": list(holes)}}


def bitmap(pixels, origin, png=None):
    data = base64.b64decode(png or png_text(pixels))
    return {"bitmap": {"data": base64.b64encode(zlib.compress(data)).decode(), "origin": origin}}


def of(kind, title="cat", **entry):
    return {"classTitle": title, "geometryType": kind, "bitmap": None, "tags": [], **entry}


def project(root, objects, *, name="ds/ann/a.png.json", image="ds/img/a.png", size=SIZE, tags=()):
    """A project with one annotation file and the classes cat and dog."""
    if image:
        picture(root / image, size)
    classes = [
        {"title": "cat", "shape": "any", "color": "#FF0000", "id": 1},
        {"title": "dog", "shape": "any", "color": "#FF0000", "id": 2},
    ]
    (root / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    content = {
        "description": "",
        "tags": [{"name": tag, "value": None} for tag in tags],
        "size": {"height": size[0], "width": size[1]},
        "objects": objects,
    }
    (root / name).write_text(json.dumps(content))
    return root
