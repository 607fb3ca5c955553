"""Mapillary Vistas."""

import numpy as np
import pytest
from exports import mask_of
from mapillary_exports import SIZE, SQUARE, vistas

from pipelines import DataError


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
