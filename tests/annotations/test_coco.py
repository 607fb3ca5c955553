"""COCO's files: instances, panoptic and their variants."""

import json

import numpy as np
import pytest
from exports import SQUARE, coco, mask_of, picture
from PIL import Image

from pipelines import DataError
from pipelines.annotations import drawing, listing

POLYGON = {"segmentation": [SQUARE]}


def ids(made, *names):
    return [made.class_names.index(name) for name in names]


def test_polygons_have_their_class(source, out, converted):
    coco(source, [POLYGON, {"segmentation": [[20, 2, 24, 2, 24, 6, 20, 6]], "category_id": 9}])
    made = converted()
    assert made.class_names == ("background", "cat", "dog") and made.format == "coco"
    mask = mask_of(out)
    assert mask[2:12, 4:14].min() == mask[2:12, 4:14].max() == 1
    assert np.bincount(mask.ravel()).tolist() == [600 - 116, 100, 16]


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        SQUARE,  # A single polygon without its list.
        [[[4, 2], [14, 2], [14, 12], [4, 12]]],
        {"size": [20, 30], "counts": [82, *[10, 10] * 9, 10, 600 - 82 - 190]},
    ],
)
@pytest.mark.parametrize("is_crowd", [0, 1])
def test_forms_of_a_segmentation(source, out, converted, segmentation, is_crowd):
    coco(source, [{"segmentation": segmentation, "iscrowd": is_crowd}])
    converted()
    want = np.zeros((20, 30), int)
    want[2:12, 4:14] = 1
    np.testing.assert_array_equal(mask_of(out), want)


def test_large_areas_are_painted_first_unless_told(source, out, converted):
    large = {"segmentation": [[0, 0, 20, 0, 20, 20, 0, 20]], "category_id": 9}
    coco(source, [POLYGON, large])
    assert converted().painted_over == 100 and mask_of(out)[5, 5] == 1
    assert converted(overlap="file").painted_over == 100 and mask_of(out)[5, 5] == 2


@pytest.mark.parametrize("ids", [(1, 2), (0, 90), (-1, 0), (7, 3), ("b", "a")])
def test_any_category_ids(source, out, converted, ids):
    categories = [{"id": ids[0], "name": "cat"}, {"id": ids[1], "name": "dog"}]
    coco(source, [{**POLYGON, "category_id": ids[1]}], categories=categories)
    made = converted()
    names = [category["name"] for category in sorted(categories, key=lambda one: one["id"])]
    assert made.class_names == ("background", *names)
    assert mask_of(out)[5, 5] == made.class_names.index("dog")


@pytest.mark.parametrize(
    ("categories", "names"),
    [
        # Roboflow's root, also with a real class's name.
        ([(0, "root", "none"), (1, "cat", "root"), (2, "dog", "root")], ["cat", "dog"]),
        ([(0, "cat", "none"), (1, "cat", "cat"), (2, "dog", "cat")], ["cat", "dog"]),
        ([(1, "cat", "animal"), (2, "dog", "animal"), (3, "cow", "animal")], ["cat", "dog", "cow"]),
        # COCO's person is its own supercategory; a used root is a class.
        ([(1, "cat", ""), (2, "person", "person")], ["cat", "person"]),
        ([(1, "cat", "none"), (2, "dog", "cat")], ["cat", "dog"]),
    ],
)
def test_unused_supercategories_are_dropped(source, converted, categories, names):
    keys = ("id", "name", "supercategory")
    coco(
        source,
        [{**POLYGON, "category_id": 1}],
        categories=[dict(zip(keys, values, strict=True)) for values in categories],
    )
    made = converted()
    assert made.class_names == ("background", *names)
    assert len(made.notes) == 1 + (len(categories) > len(names))  # One on the single image.


def test_images_without_annotations_stay(source, out, converted):
    images = [{"id": n, "file_name": f"{n}.png", "height": 20, "width": 30} for n in (1, 2)]
    coco(source, [POLYGON], images=images)
    made = converted()
    assert made.images == {"train": 2} and not mask_of(out, "2").any()
    converted(unlabelled="skip")
    assert not (out / "masks/train/2.png").exists()
    converted(unlabelled="void")
    assert (mask_of(out, "2") == 255).all() and np.unique(mask_of(out, "1")).tolist() == [0, 255]


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_splits_are_those_of_folders_or_names(source, out, converted, name):
    for split in ("train", name):
        coco(source, [POLYGON], name=f"{split}/_annotations.coco.json")
    assert set(converted().images) == {"train", name.removesuffix("id")}


def test_the_official_layout(source, out, converted):
    for split in ("train2017", "val2017"):
        coco(source, [POLYGON], name=f"annotations/instances_{split}.json")
        coco(source, [POLYGON], name=f"annotations/person_keypoints_{split}.json")
        (source / split).mkdir()
        (source / "annotations/a.png").rename(source / split / "a.png")
    (source / "annotations/captions_val2017.json").write_text('{"images": [], "annotations": []}')
    made = converted()
    assert made.images == {"train": 1, "val": 1}
    assert any("for keypoints" in note for note in made.notes)


def test_files_that_number_classes_differently(source, out, converted):
    for split, (cat, dog) in {"train": (1, 2), "val": (2, 1)}.items():
        categories = [{"id": cat, "name": "cat"}, {"id": dog, "name": "dog"}]
        annotation = {**POLYGON, "category_id": dog}
        coco(source, [annotation], name=f"{split}/a.json", categories=categories)
    made = converted()
    for split in ("train", "val"):
        assert made.class_names[mask_of(out, split=split)[5, 5]] == "dog"


def test_sa_1b(source, out, converted):
    for name, size in (("a", (20, 30)), ("b", (30, 20))):
        picture(source / f"{name}.jpg", size)
        counts = {"size": list(size), "counts": [0, 50, 550]}
        content = {
            "image": {
                "image_id": 1,
                "height": size[0],
                "width": size[1],
                "file_name": f"{name}.jpg",
            },
            "annotations": [{"id": 1, "segmentation": counts}],
        }
        (source / f"{name}.json").write_text(json.dumps(content))
    made = converted()
    assert made.class_names == ("background", "object") and made.pixels["object"] == 100


def test_panoptic(source, out, converted):
    segments = np.zeros((20, 30, 3), "uint8")
    segments[:10], segments[10:15] = (1, 2, 0), (7, 0, 0)  # Ids 513 and 7.
    (source / "panoptic_train").mkdir()
    Image.fromarray(segments).save(source / "panoptic_train/a.png")
    picture(source / "images/a.jpg")
    info = [{"id": 513, "category_id": 5}, {"id": 7, "category_id": 9}]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": info}],
        "categories": [
            {"id": 5, "name": "sky", "isthing": 0, "color": [1, 2, 3]},
            {"id": 9, "name": "road", "isthing": 0, "color": [4, 5, 6]},
        ],
    }
    (source / "panoptic_train.json").write_text(json.dumps(content))
    made = converted()
    assert made.class_names == ("sky", "road")  # What has no segment is void.
    assert np.unique(mask_of(out), return_counts=True)[1].tolist() == [300, 150, 150]
    assert mask_of(out)[0, 0] == 0 and mask_of(out)[19, 0] == 255
    assert "colour: [4, 5, 6]" in (out / "data.yaml").read_text()
    content["annotations"][0]["segments_info"] = info[:1]
    (source / "panoptic_train.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="has the segment 7, which .* does not list"):
        converted()


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "a polygon has 5 numbers"),
        ({"segmentation": [[1, 2, "x", 4, 5, 6]]}, "must be a list of numbers"),
        (
            {"segmentation": [["1", "2"], 3]},
            "a polygon must be a list of numbers|a list of numbers",
        ),
        ({"segmentation": "text"}, "must be polygons or an RLE"),
        ({"segmentation": {"size": [20, 30], "counts": [5]}}, "add up to 5"),
        ({"segmentation": {"size": [30, 20], "counts": [600]}}, r"size \[30, 20\]"),
        ({"segmentation": {"size": [20, 30], "counts": "é"}}, "a list or a text"),
        ({"segmentation": {"size": "20", "counts": []}}, "must be .height, width"),
        ({"segmentation": {"size": [20, 30]}}, "a list or a text"),
        ({"segmentation": [], "bbox": [1, 2, 3]}, "must be .x, y, width, height"),
    ],
)
def test_wrong_annotations_name_file_image_and_id(source, converted, annotation, message):
    coco(source, [{"id": 42, **annotation}])
    with pytest.raises(
        DataError, match=rf"instances.json: image 'a.png': annotation 42: .*{message}"
    ):
        converted()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [{"image_id": 7, "category_id": 5, **POLYGON}]}, "`image_id` 7"),
        ({"annotations": [{"image_id": 1, "category_id": 6, **POLYGON}]}, "`category_id` 6"),
        ({"annotations": [{"image_id": 1, "bbox": []}, 3]}, "an entry of `annotations` is 3"),
        ({"images": [{"id": 1}]}, "has no `file_name`"),
        ({"images": [{"id": 1, "file_name": "a.png"}] * 2}, "2 images have the id 1"),
        ({"images": [{"id": 1, "file_name": "a.png", "height": 0, "width": 3}]}, "whole numbers"),
        ({"images": [{"id": 1, "file_name": "a.png", "height": 30, "width": 20}]}, "30 x 20"),
        ({"categories": [{"id": 5}]}, "needs an `id` and a `name`"),
        ({"categories": [{"id": 5, "name": "a"}, {"id": 5, "name": "b"}]}, "two categories"),
    ],
)
def test_files_that_contradict_themselves(source, converted, change, message):
    coco(source, [POLYGON])
    content = json.loads((source / "instances.json").read_text())
    (source / "instances.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=rf"instances.json: .*{message}"):
        converted()


def test_boxes_are_no_masks_unless_told(source, out, converted):
    box = {"segmentation": [], "bbox": [4, 2, 10, 10]}
    coco(source, [box])
    with pytest.raises(DataError, match="only boxes .1., no outlines.*--boxes mask"):
        converted()
    converted(boxes="mask")
    assert mask_of(out)[2:12, 4:14].all() and np.count_nonzero(mask_of(out)) == 100
    coco(source, [box, {"segmentation": [[20, 2, 24, 2, 24, 6, 20, 6]]}])
    assert converted().left_out["box without an outline (see --boxes)"] == 1


def test_what_is_left_out_is_counted(source, converted):
    coco(source, [POLYGON, {"segmentation": [[1, 2, 3, 4]]}, {"segmentation": []}])
    made = converted()
    assert made.left_out == {drawing.TOO_FEW: 1, "annotation without a segmentation or box": 1}


@pytest.mark.parametrize(
    "order", ["images annotations categories", "annotations images categories"]
)
def test_large_files_are_recognised(source, converted, order, monkeypatch):
    monkeypatch.setattr(listing, "PEEK", 200)  # So that the middle is not looked at.
    coco(source, [POLYGON] * 30)
    content = json.loads((source / "instances.json").read_text())
    content["images"][0]["comment"] = "x" * 1000
    content = {"info": {}, **{key: content[key] for key in order.split()}}
    (source / "instances.json").write_text(json.dumps(content))
    assert converted().format == "coco"


def test_images_of_a_split_without_annotations_stay(source, converted):
    coco(source, [{"segmentation": [[2, 2, 20, 2, 20, 12]]}], name="train/_annotations.coco.json")
    coco(source, [], name="test/_annotations.coco.json")
    made = converted()
    assert made.images == {"train": 1, "test": 1}


def test_a_file_without_annotations_is_recognised(source, converted):
    coco(source, [])
    made = converted()
    assert made.format == "coco" and made.pixels == {"background": 600}
