"""LabelMe's files."""

import base64
import json

import numpy as np
import pytest
from exports import labelme, mask_of, picture, png_text

import pipelines
from pipelines import DataError
from pipelines.annotations import drawing
from pipelines.examples import read_example

SQUARE = [[4, 2], [13, 2], [13, 11], [4, 11]]  # With its outline: columns 4..13, rows 2..11.


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("polygon", SQUARE),
        (None, SQUARE),  # Version 3 has no types.
        ("rectangle", [[4, 2], [13, 11]]),
        ("rectangle", [[13, 11], [4, 2]]),
        ("rectangle", [[13.9, 2.1], [4.2, 11.7]]),
        ("rectangle", SQUARE),
    ],
)
def test_areas(source, out, converted, kind, points):
    labelme(source, [("cat", kind, points)])
    converted()
    want = np.zeros((20, 30), int)
    want[2:12, 4:14] = 1
    np.testing.assert_array_equal(mask_of(out), want)


def test_masks(source, out, converted):
    pixels = np.zeros((3, 4), "uint8")
    pixels[1] = 1
    labelme(source, [("cat", "mask", [[10, 5], [13, 7]], {"mask": png_text(pixels)})])
    converted()
    assert np.argwhere(mask_of(out)).tolist() == [[6, 10], [6, 11], [6, 12], [6, 13]]


def test_circles_lines_and_points(source, out, converted):
    shapes = [
        ("circle", "circle", [[40, 40], [40, 60]]),
        ("line", "line", [[5, 80], [95, 80]]),
        ("strip", "linestrip", [[80, 5], [80, 40], [95, 40]]),
        ("point", "point", [[10, 10]]),
    ]
    labelme(source, shapes, size=(100, 100))
    made = converted()
    assert made.class_names == ("background", "circle", "line", "point", "strip")
    assert made.pixels["circle"] == pytest.approx(np.pi * 400, rel=0.06)  # With its outline.
    assert made.pixels["line"] == pytest.approx(900, rel=0.05)
    assert made.pixels["point"] == pytest.approx(np.pi * 25, rel=0.3)
    assert converted(lines=0).left_out == {drawing.NO_WIDTH: 3}


def test_later_shapes_are_on_top_whatever_their_size(source, out, converted):
    labelme(source, [("a", "polygon", SQUARE), ("b", "rectangle", [[0, 0], [20, 15]])])
    converted()
    assert np.unique(mask_of(out)).tolist() == [0, 2]


def test_ignore_is_void_and_background_is_background(source, out, converted):
    shapes = [
        ("cat", "rectangle", [[0, 0], [20, 15]]),
        ("__ignore__", "rectangle", [[0, 0], [1, 1]]),
        ("_background_", "rectangle", [[5, 5], [6, 6]]),
    ]
    labelme(source, shapes)
    assert converted().class_names == ("background", "cat")
    mask = mask_of(out)
    assert mask[0, 0] == 255 and mask[5, 5] == 0 and mask[10, 10] == 1


@pytest.mark.parametrize("name", ["labels.txt", "class_names.txt"])
def test_a_list_of_labels_gives_the_order(source, converted, name):
    labelme(source, [("b", "polygon", SQUARE), ("a", "polygon", SQUARE)])
    assert converted().class_names == ("background", "a", "b")
    (source / name).write_text("__ignore__\n_background_\nunused\nb\na\n")
    assert converted().class_names == ("background", "unused", "b", "a")
    (source / name).write_text("other\n")
    assert converted().class_names == ("background", "a", "b")


@pytest.mark.parametrize(
    ("name", "image", "given"),
    [
        ("a.json", "a.png", "a.png"),
        ("json/a.json", "images/b.png", "../images/b.png"),
        ("json/a.json", "images/b.png", "..\\images\\b.png"),
        ("a.json", "images/a.png", "C:\\Users\\me\\images\\a.png"),
        ("a.json", "images/a.png", "/home/me/images/a.png"),
        ("a.json", "a.PNG", "a.json"),
        ("a.json", "a.png", ""),
        ("a.json", "a.png", "../../../../etc/hostname"),
    ],
)
def test_images_are_found(source, out, converted, name, image, given):
    picture(source / image)
    labelme(source, [("a", "polygon", SQUARE)], name=name, image="", imagePath=given)
    converted()
    (example,) = pipelines.read(out / "data.yaml", "train").examples
    assert example.image.samefile(source / image)


def test_the_image_inside_a_file_is_used_if_there_is_no_other(source, out, converted):
    picture(source / "a.jpg", (20, 30))
    data = base64.b64encode((source / "a.jpg").read_bytes()).decode()
    (source / "a.jpg").unlink()
    for name in ("x", "y"):
        labelme(source, [("a", "polygon", SQUARE)], name=f"{name}.json", image="", imageData=data)
    converted()
    split = pipelines.read(out / "data.yaml", "train")
    image, mask = read_example(split, 0)
    assert image.shape == (20, 30, 3) and mask[5, 5] == 1
    assert split.examples[0].image.parent == out / "images/train"
    labelme(source, [("a", "polygon", SQUARE)], name="z.json", image="", imageData="#")
    with pytest.raises(DataError, match=r"z.json: imageData: is not base64"):
        converted()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (("a", "polygon", [[1, 2], [3]]), r"must be a list of .x, y."),
        (("a", "polygon", [[1, 2], ["x", 3]]), r"must be a list of .x, y."),
        (("a", "polygon", None), r"must be a list of .x, y."),
        (("a", "circle", [[1, 2]]), "must have 2 points, found 1"),
        (("a", "point", []), "must have 1 points, found 0"),
        (("a", "line", [[1, 2]]), "at least 2 points, found 1"),
        (("a", "mask", [[1, 2], [3, 4]]), "PNG in base64"),
        (("a", "mask", [[1, 2], [3, 4]], {"mask": "!"}), "not base64"),
        (("a", "mask", [[1, 2], [3, 4]], {"mask": "aGFsbG8="}), "neither a PNG"),
    ],
)
def test_wrong_shapes_name_file_and_number(source, converted, shape, message):
    labelme(source, [("b", "polygon", SQUARE), shape])
    with pytest.raises(DataError, match=rf"a.json: shape 1 \('a'\): .*{message}"):
        converted()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": 3}, "no list `shapes`"),
        ({"shapes": [3]}, "shape 0 is 3"),
        ({"imageHeight": "20"}, "image size '20' x 30"),
        ({"imageHeight": 21}, r"for 21 x 30 .height x width., but the image is 20 x 30"),
    ],
)
def test_wrong_files(source, converted, change, message):
    labelme(source, [("b", "polygon", SQUARE)])
    content = json.loads((source / "a.json").read_text())
    (source / "a.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=f"a.json: .*{message}"):
        converted()


def test_what_is_left_out_is_counted(source, converted):
    shapes = [("a", "polygon", SQUARE), ("", "polygon", SQUARE), ("a", "cuboid", SQUARE)]
    labelme(source, [*shapes, ("a", "polygon", SQUARE[:2])])
    assert converted().left_out == {
        "shape without a label": 1,
        "shape of the type 'cuboid'": 1,
        drawing.TOO_FEW: 1,
    }


def test_a_mask_that_is_a_bomb_is_refused(source, converted):
    bomb = png_text(np.zeros((9000, 9990), "uint8"))  # 90 million pixels in 90 KB.
    labelme(source, [("a", "mask", [[1, 2], [3, 4]], {"mask": bomb})])
    with pytest.raises(DataError, match=r"a.json: shape 0 \('a'\): its bitmap: too large"):
        converted()
