"""Mapillary Vistas."""

import json

import numpy as np
import pytest
from exports import mask_of, picture

from pipelines import DataError

SIZE = (20, 30)
SQUARE = [[4, 2], [13, 2], [13, 11], [4, 11]]
LABELS = [
    ("animal--bird", "Bird", [165, 42, 42], True),
    ("construction--flat--road", "Road", [128, 64, 128], True),
    ("void--ground", "Ground", [1, 2, 3], False),
    ("void--unlabeled", "Unlabeled", [0, 0, 0], True),
]


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


def test_the_first_label_is_a_class(source, out, converted):
    whole = [[0, 0], [30, 0], [30, 20], [0, 20]]
    objects = [("construction--flat--road", whole), ("animal--bird", SQUARE)]
    vistas(source, [*objects, ("void--ground", [[20, 10], [25, 10], [25, 15]])])
    vistas(source, objects, split="validation", name="x2")
    made = converted()
    assert made.class_names == ("animal--bird", "construction--flat--road")
    assert made.images == {"train": 1, "val": 1}
    assert any("void--ground, void--unlabeled" in note for note in made.notes)
    want = np.ones(SIZE, int)
    want[2:12, 4:14] = 0
    mask = mask_of(out, "training/images/x1")
    assert mask[11, 24] == 255
    np.testing.assert_array_equal(np.where(mask == 255, 1, mask), want)


def test_pixels_without_a_polygon_are_void(source, out, converted):
    vistas(source, [("animal--bird", SQUARE)])
    converted()
    assert mask_of(out, "training/images/x1")[0, 0] == 255


def test_a_label_that_the_config_lacks(source, converted):
    vistas(source, [("animal--cat", SQUARE)])
    with pytest.raises(DataError, match=r"x1.json: object 0 has the label 'animal--cat'"):
        converted()
    (source / "config_v2.0.json").unlink()
    with pytest.raises(DataError, match="no config file of Mapillary Vistas"):
        converted(format="mapillary")
