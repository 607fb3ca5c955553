"""Small data sets as Mapillary Vistas has them."""

import json

from exports import picture

LABELS = [
    ("animal--bird", "Bird", [165, 42, 42], True),
    ("construction--flat--road", "Road", [128, 64, 128], True),
    ("void--ground", "Ground", [1, 2, 3], False),
    ("void--unlabeled", "Unlabeled", [0, 0, 0], True),
]
SIZE = (20, 30)
SQUARE = [[4, 2], [13, 2], [13, 11], [4, 11]]


def vistas(root, objects, *, split="training", name="x1", version="v2.0"):
    picture(root / f"{split}/images/{name}.jpg", SIZE)
    keys = ("name", "readable", "color", "evaluate")
    labels = [dict(zip(keys, label, strict=True), instances=True) for label in LABELS]
    config = {"labels": labels, "mapping": "public", "version": version}
    (root / f"config_{version}.json").write_text(json.dumps(config))
    path = root / f"{split}/{version}/polygons/{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [{"label": label, "polygon": polygon} for label, polygon in objects]
    path.write_text(json.dumps({"width": SIZE[1], "height": SIZE[0], "objects": entries}))
