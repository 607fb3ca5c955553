"""Cityscapes' polygons."""

import numpy as np
import pytest
from cityscapes_exports import SQUARE, WHOLE, city
from exports import mask_of, record_of
from PIL import Image

from pipelines import DataError
from pipelines.annotations.conversion import convert
from pipelines.annotations.readers.cityscapes_json import LABELS
from pipelines.datasets.cityscapes import CLASSES

SAMPLE = "cityscapes_json/derived_official_labels"


def mask(out, name="a_000000_000001", split="train"):
    return mask_of(out, f"leftImg8bit/{split}/a/{name}_leftImg8bit", split)


def test_labels_are_those_of_the_official_script():
    labels = pytest.importorskip(
        "cityscapesscripts.helpers.labels", reason="cityscapesscripts is not installed"
    ).labels
    want = {label.name: (label.id, label.color) for label in labels if label.id >= 0}
    assert LABELS == want
    scored = [label.name for label in labels if label.trainId in range(19)]
    assert list(CLASSES) == scored


@pytest.mark.parametrize("encoding", ["ids", "trainIds"])
def test_masks_are_those_of_the_official_script(source, out, converted, encoding):
    script = pytest.importorskip(
        "cityscapesscripts.preparation.json2labelImg", reason="cityscapesscripts is not installed"
    )
    from cityscapesscripts.helpers.annotation import Annotation

    rng = np.random.default_rng(0)
    labels = ["road", "car", "cargroup", "polegroup", "license plate", "ego vehicle", "parking"]
    objects = [
        (label, rng.integers(-10, 45, (n, 2)).tolist(), {"deleted": int(n == 9)})
        for label in labels
        for n in (3, 5, 9)
    ]
    path = city(source, objects)
    annotation = Annotation()
    annotation.fromJsonFile(str(path))
    want = np.array(script.createLabelImage(annotation, encoding))
    made = converted(keep=list(LABELS) if encoding == "ids" else ())
    got = mask(out)
    if encoding == "ids":
        ids = np.zeros(256, int)
        ids[: len(made.class_names)] = [LABELS[name][0] for name in made.class_names]
        got = ids[got]
    # Pillow rounds an edge that runs exactly between two pixels by its place in the image.
    assert np.count_nonzero(got != want) <= 12


@pytest.mark.parametrize("encoding", ["ids", "trainIds"])
def test_masks_of_the_sample(samples, out, encoding):
    made = convert(samples / SAMPLE, out, keep=list(LABELS) if encoding == "ids" else ())
    (image,) = record_of(out)["images"]
    with Image.open(out / image["mask"]) as file:
        got = np.array(file)
    with Image.open(samples / SAMPLE / f"expected/derived_000000_000001_{encoding}.png") as file:
        want = np.array(file)
    if encoding == "ids":
        ids = np.zeros(256, int)
        ids[: len(made.class_names)] = [LABELS[name][0] for name in made.class_names]
        got = ids[got]
    np.testing.assert_array_equal(got, want)
    assert image["left_out"] == {
        "license plate (not drawn by Cityscapes)": 1,
        "deleted object": 1,
    }


def test_other_labels_are_void_unless_they_are_named(source, out, converted):
    city(source, [("road", WHOLE), ("parking", SQUARE)])
    made = converted()
    assert made.class_names == tuple(CLASSES) and mask(out)[5, 5] == 255
    made = converted(merge="parking=road")
    assert made.class_names == tuple(CLASSES) and mask(out)[5, 5] == 0
    made = converted(keep=["road", "parking"])
    assert made.class_names == ("road", "parking") and mask(out)[5, 5] == 1


def test_pixels_without_a_polygon_are_void(source, out, converted):
    city(source, [("sky", SQUARE)])
    converted()
    assert mask(out)[0, 0] == 255 and mask(out)[5, 5] == list(CLASSES).index("sky")


def test_splits_images_and_coarse_polygons(source, converted):
    city(source, [("sky", SQUARE)])
    city(source, [("sky", SQUARE)], split="val", name="b_000000_000001", image=".jpg")
    city(source, [("road", SQUARE)], kind="gtCoarse", image=None)
    city(source, [("road", SQUARE)], kind="gtCoarse", split="train_extra", name="c_000000_000001")
    made = converted()
    assert made.images == {"train": 2, "val": 1}
    assert "left out 1 files of coarse polygons" in made.notes[0]


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([("tree", SQUARE)], "does not know: 'tree'"),
        ([("treegroup", SQUARE)], "does not know: 'treegroup'"),
        ([("road", [[1]])], r"object 0 \('road'\): its points must be"),
        ([(3, SQUARE)], "has no `label`"),
    ],
)
def test_wrong_objects(source, converted, objects, message):
    city(source, objects)
    with pytest.raises(DataError, match=rf"a_000000_000001_gtFine_polygons.json: .*{message}"):
        converted()


def test_a_missing_image_is_named(source, converted):
    city(source, [("road", SQUARE)], image=None)
    with pytest.raises(DataError, match=r"names the image 'train/a/a_000000_000001_leftImg8bit"):
        converted()
