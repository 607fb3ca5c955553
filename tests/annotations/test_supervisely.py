"""Supervisely's projects."""

import base64
import io
import zlib

import cv2
import numpy as np
import pytest
from exports import mask_of, png_text, record_of
from PIL import Image
from reference_masks import differences, with_blank_images
from supervisely_exports import SIZE, SQUARE, bitmap, of, project, ring

import pipelines
from pipelines import DataError
from pipelines.annotations import drawing, png_bitmaps
from pipelines.annotations.conversion import convert


def drawn_by_opencv(*rings):
    """The first ring is filled, the others erased, as in supervisely/geometry/polygon.py."""
    want = np.zeros(SIZE, "uint8")
    for number, points in enumerate(rings):
        cv2.fillPoly(want, [np.array(points, "int32")], int(number == 0))
    return want


@pytest.mark.parametrize(
    ("entry", "rings"),
    [
        (of("polygon", **ring(SQUARE)), [SQUARE]),
        (of("polygon", **ring([[1, 1], [25, 4], [9, 18]])), [[[1, 1], [25, 4], [9, 18]]]),
        (of("polygon", **ring([[4.9, 2.1], [13, 2], [13, 11], [4, 11.9]])), [SQUARE]),
        (
            of("polygon", **ring(SQUARE, [[6, 4], [9, 4], [9, 8], [6, 8]])),
            [SQUARE, [[6, 4], [9, 4], [9, 8], [6, 8]]],
        ),
        (of("rectangle", **ring([[13, 11], [4, 2]])), [SQUARE]),
        (of("multipolygon", parts=[ring(SQUARE)["points"]]), [SQUARE]),
        (of("oriented_bbox", points=[[4, 2], [13, 11]], angle=0), [SQUARE]),
        (
            of("oriented_bbox", points=[[5, 5], [15, 9]], angle=np.pi / 2),
            [[[8, 2], [12, 2], [12, 12], [8, 12]]],
        ),
    ],
)
def test_areas(source, out, converted, entry, rings):
    project(source, [entry])
    converted()
    np.testing.assert_array_equal(mask_of(out, "ds/img/a"), drawn_by_opencv(*rings))


def test_points_on_the_far_edge_belong_to_the_last_pixel(source, out, converted):
    project(source, [of("polygon", **ring([[20, 10], [30, 10], [30, 20], [20, 20]]))])
    converted()
    assert (mask_of(out, "ds/img/a") == 1).sum() == 100


def test_bitmaps_lie_at_their_origin(source, out, converted):
    pixels = np.zeros((3, 4), "uint8")
    pixels[1] = 255
    project(
        source, [of("bitmap", **bitmap(pixels, [10, 5])), of("bitmap", **bitmap(pixels, [28, 18]))]
    )
    converted()
    want = [[6, 10], [6, 11], [6, 12], [6, 13], [19, 28], [19, 29]]
    assert np.argwhere(mask_of(out, "ds/img/a")).tolist() == want


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "P transparent", "not compressed"])
def test_all_kinds_of_pngs(mode):
    pixels = np.random.default_rng(0).integers(0, 2, (9, 14), "uint8")
    image = Image.fromarray(pixels * 255)
    text = png_text(pixels * 255)
    if mode == "RGBA":
        text = png_text(np.dstack([np.zeros_like(pixels)] * 3 + [pixels * 255]))
    elif mode in ("1", "P"):
        text = png_text(np.array(image) > 0) if mode == "1" else _palette(pixels)
    elif mode == "P transparent":
        text = _palette(pixels, transparency=0)
    if mode != "not compressed":
        text = base64.b64encode(zlib.compress(base64.b64decode(text))).decode()
    np.testing.assert_array_equal(png_bitmaps.decode(text), pixels > 0)


def _palette(pixels, **options):
    image, data = Image.fromarray(pixels).convert("P"), io.BytesIO()
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(data, "PNG", **options)
    return base64.b64encode(data.getvalue()).decode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("#", "not base64"),
        (base64.b64encode(b"hello").decode(), "neither a PNG nor one compressed by zlib"),
        (base64.b64encode(zlib.compress(b"hello")).decode(), "not an image"),
        (base64.b64encode(zlib.compress(b"hello" * 99)[:-9]).decode(), "ends too early"),
        (base64.b64encode(zlib.compress(b"\0" * 100_000_000)).decode(), "more than 16,000,000"),
        ("\u00e9", "not base64"),
    ],
)
def test_damaged_bitmaps(source, converted, data, message):
    project(source, [of("bitmap", bitmap={"data": data, "origin": [0, 0]})])
    with pytest.raises(DataError, match=rf"a.png.json: object 0 \('cat'\): .*{message}"):
        converted()


def test_lines_and_points_need_a_width(source, converted):
    objects = [of("line", **ring([[5, 5], [15, 5]])), of("point", "dog", **ring([[20, 12]]))]
    project(source, [*objects, of("graph", nodes={}), of("cuboid", points=[]), of("ellipse")])
    made = converted()
    assert made.left_out == {
        drawing.NO_WIDTH: 2,
        "object of the type 'graph'": 1,
        "object of the type 'cuboid'": 1,
        "object of the type 'ellipse'": 1,
    }
    made = converted(lines=3)
    assert made.pixels["cat"] and made.pixels["dog"]


def test_old_files_have_no_types(source, out, converted):
    old = {"classTitle": "cat", "bitmap": None, **ring(SQUARE)}
    project(source, [old], name="ds/ann/a.json")
    converted()
    np.testing.assert_array_equal(mask_of(out, "ds/img/a"), drawn_by_opencv(SQUARE))


def test_classes_are_those_of_meta_json(source, converted):
    project(
        source,
        [of("polygon", "bird", **ring(SQUARE)), of("polygon", None, classId=2, **ring(SQUARE))],
    )
    made = converted()
    assert made.class_names == ("background", "cat", "dog", "bird")
    assert made.pixels["dog"] == 100 and "lacks: bird" in made.notes[0]
    (source / "meta.json").unlink()
    assert converted().class_names == ("background", "bird")


@pytest.mark.parametrize("tags", [("train", "val"), ("Training", "Validation")])
def test_tags_are_splits(source, converted, tags):
    for number, tag in enumerate(tags):
        name = f"ds/ann/{number}.png.json"
        project(source, [], name=name, image=f"ds/img/{number}.png", tags=["night", tag])
    assert converted().images == {"train": 1, "val": 1}
    project(source, [], tags=["train", "test"])
    with pytest.raises(DataError, match=r"a.png.json: has the tags of several splits: test, train"):
        converted()


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("ann/a.png.json", "img/a.png"),
        ("ds/ann/a.PNG.json", "ds/img/a.PNG"),
        ("ds/ann/a.b.json", "ds/img/a.b.png"),
        ("one/datasets/two/ann/a.png.json", "one/datasets/two/img/a.png"),
        ("a.png.json", "a.png"),
    ],
)
def test_images_are_found(source, out, converted, name, image):
    project(source, [of("polygon", **ring(SQUARE))], name=name, image=image)
    converted()
    (example,) = pipelines.read(out / "data.yaml", "train").examples
    assert example.image.samefile(source / image)


def test_the_same_name_in_two_data_sets(source, tmp_path, out, converted):
    for folder in ("one", "two"):
        title = {"one": "cat", "two": "dog"}[folder]
        name, image = f"{folder}/ann/a.png.json", f"{folder}/img/a.png"
        project(source, [of("polygon", title, **ring(SQUARE))], name=name, image=image)
    converted()
    assert mask_of(out, "one/img/a").max() == 1 and mask_of(out, "two/img/a").max() == 2
    (tmp_path / "images").mkdir()
    for folder in ("one", "two"):
        (source / folder / "img").rename(tmp_path / "images" / folder)
    made = converted(images=tmp_path / "images")
    assert [one["pixels"].keys() for one in record_of(out)["images"]] == [
        {"background", "cat"},
        {"background", "dog"},
    ]
    assert made.images == {"train": 2}


def test_the_image_of_another_data_set_does_not_count(source, converted):
    project(source, [], name="one/ann/a.png.json", image="one/img/b.png")
    project(source, [], name="two/ann/a.png.json", image="two/img/a.png")
    with pytest.raises(DataError, match=r"one/ann/a.png.json: its image is not in .*one/img"):
        converted()


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([3], "is 3, not an object"),
        ([of("polygon", points=3)], "`exterior`"),
        ([of("polygon", **ring([[1, "x"]]))], "list of .x, y."),
        ([of("rectangle", **ring(SQUARE))], "must have 2 points, found 4"),
        ([of("bitmap", bitmap={"data": 3})], "`data` and `origin`"),
        ([of("line", **ring([[1, 2]]))], "at least 2 points"),
    ],
)
def test_wrong_objects(source, converted, objects, message):
    project(source, objects)
    with pytest.raises(DataError, match=rf"a.png.json: object 0.*{message}"):
        converted()


def test_names_that_do_not_match_are_named(samples, out):
    with pytest.raises(DataError, match=r"none of the 3 images .*artem/img/0.png"):
        convert(samples / "supervisely/artemkvshinov+supervisely_edu/supervisely_dataset", out)


@pytest.mark.parametrize(
    ("name", "folder", "images", "overlap"),
    [
        ("artemkvshinov+supervisely_edu", "supervisely_dataset", "artem/img/{}.png", "file"),
        (
            "racyun+Payne_lab_swin_transformer",
            "data/carbonate_imgs_and_masks",
            "my_dataset/img/{}.jpg",
            "large-first",
        ),
    ],
)
def test_masks_are_those_of_supervisely(samples, tmp_path, out, name, folder, images, overlap):
    # Its masks_machine are painted by area: in file order, 1886 pixels of one image differ.
    sample = samples / "supervisely" / name
    stems = with_blank_images(sample, sample / folder, tmp_path / "copy", images)
    convert(tmp_path / "copy", out, overlap=overlap)
    assert set(differences(sample, out, stems).values()) == {0}


def test_rectangles_are_drawn_areas(samples, out):
    made = convert(samples / "supervisely/Delilovic+supervisely_yolo", out)
    # The rectangle covers 136 x 197 pixels; in one of two images, the second class is over it.
    assert made.pixels["face"] == made.pixels["face2"] == 136 * 197
