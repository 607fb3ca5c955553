"""YOLO segmentation."""

import numpy as np
import pytest
from exports import mask_of, picture

from pipelines import DataError

SQUARE = "0 0.2 0.1 0.5 0.1 0.5 0.6 0.2 0.6\n"  # Of 20 x 30 pixels: columns 6..15, rows 2..12.


@pytest.fixture
def yolo(source):
    """Writes a data set: {image below `images`: label text}, and the YAML file."""

    def write(labels, yaml="names: [cat, dog]\ntrain: images/train\nval: images/val\n"):
        (source / "data.yaml").write_text(yaml)
        for name, text in labels.items():
            picture(source / f"images/{name}.png")
            if text is not None:
                path = source / f"labels/{name}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return source

    return write


def test_polygons_of_fractions(yolo, out, converted):
    yolo({"train/a": SQUARE, "val/b": "1" + SQUARE[1:]})
    made = converted()
    assert made.format == "yolo"
    assert made.class_names == ("background", "cat", "dog")
    assert made.images == {"train": 1, "val": 1}
    want = np.zeros((20, 30), int)
    want[2:13, 6:16] = 1
    np.testing.assert_array_equal(mask_of(out, "images/train/a"), want)
    np.testing.assert_array_equal(mask_of(out, "images/val/b", "val"), 2 * want)


@pytest.mark.parametrize(
    "yaml",
    [
        "names: {0: cat, 1: dog}\ntrain: images/train\nval: images/val\n",
        "names: {1: dog, 0: cat}\nnc: 2\ntrain: ./images/train/\nval: [images/val]\n",
        "path: C:\\Users\\me\\set\nnames: [cat, dog]\ntrain: images\\train\nval: images\\val\n",
        "names: [cat, dog]\ntrain: /home/me/set/images/train\nval: /home/me/set/images/val\n",
        "names: [cat, dog]\ntrain: ../images/train\nval: ../images/val\n",  # Roboflow's.
        "path: ../datasets/set\nnames: [cat, dog]\ntrain: images/train\nval: images/val\n",
        "names: [cat, dog]\ntrain: train.txt\nval: images/val\n",
        "names: [cat, dog]\ntrain: images/train\nvalidation: images/val\ntest:\n",
    ],
)
def test_forms_of_the_yaml_file(yolo, source, converted, yaml):
    yolo({"train/a": SQUARE, "val/b": SQUARE}, yaml)
    (source / "train.txt").write_text("./images/train/a.png\n")
    made = converted()
    assert made.images == {"train": 1, "val": 1}
    assert made.class_names == ("background", "cat", "dog")


def test_roboflows_folders(source, converted):
    (source / "data.yaml").write_text(
        "names: [cat]\nnc: 1\ntrain: ../train/images\nval: ../valid/images\n"
    )
    for split in ("train", "valid"):
        picture(source / split / "images/a.png")
        (source / split / "labels").mkdir()
        (source / split / "labels/a.txt").write_text(SQUARE)
    assert converted().images == {"train": 1, "val": 1}


def test_empty_and_absent_label_files_are_background(yolo, out, converted):
    yolo({"train/a": "", "train/b": None, "train/c": SQUARE, "val/d": SQUARE})
    made = converted()
    assert not mask_of(out, "images/train/a").any() and not mask_of(out, "images/train/b").any()
    assert made.notes == ["1 images have no label file and so are all background"]


def test_small_objects_are_painted_over_large_ones(yolo, out, converted):
    yolo({"train/a": "1 0.3 0.2 0.4 0.2 0.4 0.4 0.3 0.4\n" + SQUARE, "val/b": SQUARE})
    assert converted().painted_over > 0
    assert np.unique(mask_of(out, "images/train/a")).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "2 0.1 0.1 0.5 0.1 0.5 0.5",
            "a.txt: line 2: has the class id 2, but the names have the ids 0 to 1",
        ),
        ("0 10 10 50 10 50 50", "line 2: has the coordinate 50; coordinates must be fractions"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5 0.9", "line 2: has 8 numbers"),
        ("0 0.1 0.1 0.5", "line 2: has 4 numbers"),
        ("cat 0.1 0.1 0.5 0.1 0.5 0.5", "line 2: must hold numbers"),
        ("0 nan 0.1 0.5 0.1 0.5 0.5", "line 2: must begin with"),
        ("-1 0.1 0.1 0.5 0.1 0.5 0.5", "line 2: must begin with"),
    ],
)
def test_wrong_lines(yolo, converted, line, message):
    yolo({"train/a": SQUARE + line + "\n", "val/b": SQUARE})
    with pytest.raises(DataError, match=message):
        converted()


def test_ids_that_count_from_1(yolo, converted):
    yolo({"train/a": "1" + SQUARE[1:], "val/b": "2" + SQUARE[1:]})
    with pytest.raises(DataError, match="seem to count from 1, and YOLO counts from 0"):
        converted()


def test_boxes_are_refused_or_filled(yolo, out, converted):
    yolo({"train/a": "0 0.5 0.5 0.2 0.2\n", "val/b": "1 0.5 0.5 0.2 0.2\n"})
    with pytest.raises(DataError, match=r"only boxes \(2 lines of 5 numbers.*--boxes mask"):
        converted()
    converted(boxes="mask")
    assert mask_of(out, "images/train/a")[10, 15] == 1
    assert mask_of(out, "images/train/a")[2, 2] == 0


def test_boxes_beside_outlines_are_left_out(yolo, converted):
    yolo({"train/a": SQUARE + "1 0.5 0.5 0.2 0.2\n", "val/b": SQUARE})
    assert converted().left_out == {"box without an outline (see --boxes)": 1}


def test_points_outside_are_clipped_and_told(yolo, converted):
    yolo({"train/a": "0 -0.1 0.1 0.5 0.1 0.5 1.2\n", "val/b": SQUARE})
    assert converted().notes == ["1 lines have fractions outside 0..1, which are clipped"]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [cat]\nnc: 2\ntrain: images/train\n", "`nc` is 2, but there are 1 names"),
        ("names: [no, yes]\ntrain: images/train\n", "must be text in quotes, found False"),
        ("names: cat\ntrain: images/train\n", "`names` must list the classes"),
        ("names: [cat]\ntrain: images/other\n", "`train: images/other` is not there"),
        ("names: [cat]\ntrain: 3\n", "`train` must be a path"),
    ],
)
def test_wrong_yaml_files(yolo, converted, yaml, message):
    yolo({"train/a": SQUARE, "val/b": SQUARE}, yaml)
    with pytest.raises(DataError, match=message):
        converted()


def test_a_label_without_an_image_is_told(yolo, source, converted):
    yolo({"train/a": SQUARE, "val/b": SQUARE})
    (source / "labels/train/gone.txt").write_text(SQUARE)
    with pytest.raises(DataError, match=r"names the image 'gone.jpg'"):
        converted()


def test_without_a_yaml_file_classes_txt_names_the_classes(yolo, source, converted):
    yolo({"train/a": SQUARE, "val/b": SQUARE})
    (source / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"no data.yaml"):
        converted()
    (source / "classes.txt").write_text("cat\ndog\n")
    assert converted().class_names == ("background", "cat", "dog")
