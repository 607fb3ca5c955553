"""Exports with one wrong value anywhere: an error of the data or a conversion, nothing else."""

import copy
import json
import random

import numpy as np
import pytest
from cityscapes_exports import city
from exports import png_text
from label_studio_exports import SIZE, TRIANGLE, annotation, encoded, export, result, task
from mapillary_exports import vistas
from supervisely_exports import SQUARE, bitmap, of, project, ring

from pipelines import DataError
from pipelines.annotations.conversion import convert

BRUSH = np.ones(SIZE, bool)
JUNK = [None, True, -1, 0, 3, 1e308, 10**400, "", "x", "../../x.png", "\0", "\ud800", [], [[]], {}]
JUNK += [[1, 2], {"a": 1}, "a" * 5000]


def of_supervisely(root):
    objects = [
        of("polygon", **ring(SQUARE, SQUARE)),
        of("rectangle", **ring(SQUARE[:2])),
        of("line", **ring(SQUARE[:2])),
        of("point", **ring(SQUARE[:1])),
        of("bitmap", **bitmap(BRUSH[:5, :5].astype("uint8") * 255, [2, 3])),
        of("multipolygon", parts=[ring(SQUARE)["points"]]),
        of("oriented_bbox", points=SQUARE[:2], angle=1.5),
    ]
    project(root, objects, tags=["train"])
    return "ds/ann/a.png.json", "meta.json"


def of_label_studio(root):
    url = "data:image/png;base64," + png_text(BRUSH.astype("uint8") * 255)
    ellipse = {"x": 50, "y": 50, "radiusX": 30, "radiusY": 25, "rotation": 10}
    box = {"x": 50, "y": 50, "width": 30, "height": 25, "rotation": 10}
    results = [
        result("polygonlabels", {"points": TRIANGLE}),
        result("brushlabels", {"format": "rle", "rle": encoded(BRUSH)}),
        result("bitmasklabels", {"imageDataURL": url}),
        result("ellipselabels", ellipse),
        result("rectanglelabels", box),
        result("keypointlabels", {"x": 1, "y": 2, "width": 3}),
    ]
    export(root, task(annotation(*results)), task(annotation(by={"id": 1, "email": "x"}), id=2))
    return ("export.json",)


def of_cityscapes(root):
    path = city(root, [("road", SQUARE), ("cargroup", SQUARE, {"deleted": 0})])
    return (path.relative_to(root).as_posix(),)


def of_mapillary(root):
    vistas(root, [("animal--bird", SQUARE), ("void--ground", SQUARE)])
    return "training/v2.0/polygons/x1.json", "config_v2.0.json"


def places(value, path=()):
    """The places of all values in a JSON document."""
    yield path
    pairs = value.items() if isinstance(value, dict) else ()
    pairs = enumerate(value) if isinstance(value, list) else pairs
    for key, entry in pairs:
        yield from places(entry, (*path, key))


def changed(document, place, junk):
    document = copy.deepcopy(document)
    if not place:
        return junk
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = junk
    return document


@pytest.mark.parametrize("write", [of_supervisely, of_label_studio, of_cityscapes, of_mapillary])
def test_one_wrong_value(source, tmp_path, write):
    rng = random.Random(0)
    kind = {"of_label_studio": "label-studio"}.get(write.__name__, write.__name__[3:])
    for name in write(source):
        path = source / name
        text = path.read_text()
        document = json.loads(text)
        every = list(places(document))
        for number, place in enumerate(rng.sample(every, min(len(every), 120))):
            for junk in rng.sample(JUNK, 3):
                path.write_text(json.dumps(changed(document, place, junk)), errors="surrogatepass")
                try:
                    convert(source, tmp_path / "out", format=kind, boxes="mask", lines=2)
                except DataError as error:
                    assert "\n" not in str(error) or len(str(error).splitlines()) < 9, number
        path.write_text(text)
