"""Datumaro's files."""

import json
import math

import numpy as np
import pytest
from exports import SQUARE, mask_of, picture
from tool_exports import datumaro

import pipelines
from pipelines import DataError
from pipelines.annotations import drawing

AREA = {"type": "polygon", "points": SQUARE}
BOX = {"type": "bbox", "bbox": [4, 2, 10, 10]}


def change(source, edit, subset="train"):
    """Edits the content of a file."""
    file = source / f"annotations/{subset}.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "annotation",
    [
        AREA,
        {"type": "mask", "rle": {"size": [20, 30], "counts": [82, *[10, 10] * 9, 10, 328]}},
    ],
)
def test_areas(source, out, converted, annotation):
    datumaro(source, {"a": [annotation]})
    made = converted()
    assert (made.format, made.class_names) == ("datumaro", ("background", "cat", "dog"))
    want = np.zeros((20, 30), int)
    want[2:12, 4:14] = 1
    np.testing.assert_array_equal(mask_of(out), want)
    assert "[10, 20, 30]" in (out / "data.yaml").read_text()  # The colour of dog.


def test_compressed_runs(source, out, converted):
    # "06" are the counts 0 and 6, as in Datumaro's own test data: all of 2 x 3 pixels.
    datumaro(
        source, {"a": [{"type": "mask", "rle": {"counts": "06", "size": [2, 3]}}]}, size=(2, 3)
    )
    converted()
    assert (mask_of(out) == 1).all()


def test_z_order_comes_before_file_order(source, out, converted):
    datumaro(source, {"a": [{**AREA, "label_id": 1, "z_order": 10}, {**AREA, "z_order": 9}]})
    converted()
    assert mask_of(out)[5, 5] == 2
    datumaro(source, {"a": [{**AREA, "label_id": 1}, AREA]})
    converted()
    assert mask_of(out)[5, 5] == 1


def test_ellipses_and_turned_boxes(source, out, converted):
    ellipse = {"type": "ellipse", "points": [20, 10, 80, 40]}
    datumaro(source, {"a": [ellipse]}, size=(80, 100))
    assert converted().pixels["cat"] == pytest.approx(math.pi * 30 * 15, rel=0.01)
    box = {"type": "bbox", "bbox": [20, 38, 60, 4], "attributes": {"rotation": 30.0}}
    datumaro(source, {"a": [box]}, size=(80, 100))
    with pytest.raises(DataError, match="only boxes"):
        converted()
    assert converted(boxes="mask").pixels["cat"] == pytest.approx(240, rel=0.05)
    assert mask_of(out)[40 + 12, 50 + 21] and not mask_of(out)[40 - 12, 50 + 21]


def test_what_has_no_area_is_left_out_and_counted(source, converted):
    others = [
        AREA,
        BOX,
        {"type": "polyline", "points": [1, 2, 3, 4]},
        {"type": "points", "points": [1, 2]},
        {"type": "caption", "caption": "hello"},
        {"type": "label"},
        {"type": "cuboid_3d"},
        {**AREA, "label_id": None},
    ]
    datumaro(source, {"a": others})
    assert converted().left_out == {
        "box without an outline (see --boxes)": 1,
        drawing.NO_WIDTH: 1,
        "points": 1,
        "caption": 1,
        "label": 1,
        "cuboid_3d": 1,
        "annotation without a label": 1,
    }
    assert converted(lines=2).left_out[drawing.NO_WIDTH] == 0


def test_files_are_splits_and_may_number_labels_differently(source, out, converted):
    datumaro(source, {"a": [AREA]}, subset="train")
    datumaro(source, {"a": [AREA]}, subset="val", labels=("dog", "cat"))
    datumaro(source, {"b": []}, subset="default")
    datumaro(source, {}, subset="test")
    made = converted()
    assert made.images == {"train": 2, "val": 1}
    assert mask_of(out)[5, 5] == 1 and mask_of(out, split="val")[5, 5] == 2
    (example,) = pipelines.read(out / "data.yaml", "val").examples
    assert example.image == source / "images/val/a.png"


def test_items_without_an_image_are_told(source, converted):
    datumaro(source, {"a": [AREA], "b": [AREA], "c": [], "d": [], "e": []})

    def edit(content):
        for item, media in zip(
            content["items"][1:],
            ({}, {"video_frame": {"frame_index": 1}}, {"point_cloud": {}}, {"image": {"path": ""}}),
            strict=True,
        ):
            del item["image"]
            item.update(media)

    change(source, edit)
    (source / "images/train/d.png").unlink()
    made = converted()
    assert made.images == {"train": 3}  # b.png and e.png are called like their items.
    assert "left out of annotations/train.json: 1 items about a video frame" in made.notes
    assert "left out of annotations/train.json: 1 items without an image" in made.notes


def test_joints_of_skeletons_are_no_classes(source, converted):
    datumaro(source, {"a": [AREA]}, labels=("cat", "man", "knee"))

    def edit(content):
        content["categories"]["label"]["labels"][2]["parent"] = "man"
        content["categories"]["points"] = {"items": [{"label_id": 1, "labels": ["knee"]}]}

    change(source, edit)
    assert converted().class_names == ("background", "cat", "man")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({**AREA, "label_id": 2}, "its label_id 2 is not in `categories`"),
        ({**AREA, "label_id": -1}, "its label_id -1 is not"),
        ({**AREA, "label_id": [0]}, r"its label_id \[0\] is not"),
        ({**AREA, "points": [1, 2, 3]}, "x and y must alternate"),
        ({**AREA, "points": None}, "its points is None"),
        ({**AREA, "points": [1, 2, "3", 4]}, "must be a list of numbers"),
        ({"type": "mask", "rle": {"size": [20, 30], "counts": [5]}}, "add up to 5"),
        ({"type": "mask", "rle": {"size": [30, 20], "counts": [600]}}, r"the size \[30, 20\]"),
        ({"type": "mask", "rle": None}, "its rle is None"),
        ({"type": "bbox", "bbox": [1, 2]}, r"\[x, y, width, height\]"),
        ({"type": "ellipse", "points": [1, 2]}, "left, top, right, bottom"),
    ],
)
def test_wrong_annotations_name_item_and_number(source, converted, annotation, message):
    datumaro(source, {"a": [AREA, annotation]})
    match = rf"train.json: item 'a': annotation 1 \({annotation['type']}\): .*{message}"
    with pytest.raises(DataError, match=match):
        converted(boxes="mask")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"name": "cat"', '"title": "cat"', "labels with a name"),
        ('"r": 10', '"r": 1000', "colours with r, g, b"),
        ('"size": [20, 30]', '"size": [20]', "not .height, width."),
        ('"size": [20, 30]', '"size": [30, 20]', "for 30 x 20"),
        ('"items": [', '"items": [3, ', "an entry of `items` is 3"),
        ('"path": "a.png"', '"path": "c.png"', "names the image 'train/c.png'"),
        ("[4, 2,", "[NaN, 2,", "NaN is not a number"),
        ('"infos"', '"categories"', "'categories' appears twice"),
    ],
)
def test_wrong_files(source, converted, old, new, message):
    datumaro(source, {"a": [AREA]})
    file = source / "annotations/train.json"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(DataError, match=f"train.json: .*{message}"):
        converted()


def test_an_item_that_appears_twice_is_a_fault(source, converted):
    datumaro(source, {"a": [AREA]})
    change(source, lambda content: content["items"].append(content["items"][0]))
    with pytest.raises(DataError, match="annotates too"):
        converted()


def test_paths_outside_the_folder_are_not_followed(source, out, converted):
    datumaro(source, {"a": [AREA]})
    picture(source.parent / "b.png")
    change(source, lambda c: c["items"][0]["image"].update(path="../../../b.png"))
    with pytest.raises(DataError, match="has no such file"):
        converted()
