"""Formats of pixels: label maps, black-and-white masks, instance masks, NumPy's arrays."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from exports import mask_of, picture
from PIL import Image

from pipelines import DataError


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def square(value=255, dtype="uint8", top=2):
    """A square of 10 x 10 pixels in 20 x 30."""
    pixels = np.zeros((20, 30), dtype)
    pixels[top : top + 10, 4:14] = value
    return pixels


MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:10,20,30::\ndog:200,0,0::\n"


@pytest.fixture
def voc(source):
    def write(pixels, text=MAP, name="a", folders=("JPEGImages", "SegmentationClass")):
        (source / "labelmap.txt").write_text(text)
        picture(source / folders[0] / f"{name}.png")
        save(source / folders[1] / f"{name}.png", pixels)

    return write


def in_colours(ids, colours):
    return np.array(colours, "uint8")[ids]


@pytest.mark.parametrize(
    "folders", [("JPEGImages", "SegmentationClass"), ("img", "mask"), ("x", "gt")]
)
def test_colours_of_a_label_map(voc, out, converted, folders):
    ids = square(1) + square(1, top=8)
    voc(in_colours(ids, [(0, 0, 0), (10, 20, 30), (200, 0, 0)]), folders=folders)
    made = converted()
    assert made.format == "labelmap"
    assert made.class_names == ("background", "cat", "dog")
    np.testing.assert_array_equal(mask_of(out, f"{folders[0]}/a"), ids)


def test_a_label_map_without_background_has_it_in_black(voc, out, converted):
    ids = square(1)
    voc(in_colours(ids, [(0, 0, 0), (10, 20, 30)]), text="cat:10,20,30::\n")
    assert converted().class_names == ("background", "cat")
    np.testing.assert_array_equal(mask_of(out, "JPEGImages/a"), ids)


def test_black_may_be_a_class(voc, out, converted):
    voc(in_colours(square(1), [(0, 0, 0), (10, 20, 30)]), text="road:0,0,0::\ncat:10,20,30::\n")
    assert converted().class_names == ("road", "cat")


def test_vocs_borders_are_void(voc, out, converted):
    voc(in_colours(square(1), [(10, 20, 30), (224, 224, 192)]))
    converted()
    np.testing.assert_array_equal(mask_of(out, "JPEGImages/a") == 255, square(1) == 1)


def test_an_unknown_colour_is_named_with_its_pixel(voc, converted):
    voc(in_colours(square(1), [(0, 0, 0), (11, 20, 30)]))
    with pytest.raises(DataError, match=r"100 pixels have colours.*\(2, 4\).*has 11,20,30"):
        converted()


def test_lists_give_the_splits(voc, source, out, converted):
    for name in "abc":
        voc(in_colours(square(1), [(0, 0, 0), (10, 20, 30)]), name=name)
    lists = source / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\r\n")
    assert converted().images == {"train": 2, "val": 1}
    (lists / "val.txt").write_text("c\ngone\n")
    with pytest.raises(DataError, match="val.txt: lists 'gone', which has no mask"):
        converted()


def test_a_mask_of_another_size_is_refused(voc, converted):
    voc(in_colours(square(1)[:, :25], [(0, 0, 0), (10, 20, 30)]))
    with pytest.raises(DataError, match=r"the mask is 20 x 25 .* is 20 x 30"):
        converted()


@pytest.mark.parametrize(
    "names",
    [
        ("a_cat.png", "a_dog.png"),
        ("cat_a.png", "dog_a.png"),
        ("masks/cat/a.png", "masks/dog/a.png"),
        ("masks/1. Cat/a_cat.png", "masks/2. Dog/a_dog.png"),
    ],
)
def test_a_mask_for_each_class(source, out, converted, names):
    picture(source / ("images/a.jpg" if "/" in names[0] else "a.jpg"))
    save(source / names[0], square())
    save(source / names[1], square(1, top=7))
    made = converted()
    assert made.format == "binary-masks"
    assert [name.lower().strip("12. ") for name in made.class_names] == ["background", "cat", "dog"]
    want = square(2, top=7)
    want[square() > 0] = 1  # The first class wins.
    np.testing.assert_array_equal(mask_of(out, "images/a" if "/" in names[0] else "a"), want)
    assert made.painted_over == 50


def test_the_declared_order_wins(source, out, converted):
    picture(source / "a.jpg")
    save(source / "a_cat.png", square())
    save(source / "a_dog.png", square(top=7))
    (source / "classes.txt").write_text("dog\ncat\n")
    assert converted().class_names == ("background", "dog", "cat")
    assert mask_of(out)[8, 8] == 1


def test_observers_must_be_chosen(source, out, converted):
    picture(source / "a.jpg")
    save(source / "a_1stHO.png", square() > 0)
    save(source / "a_2ndHO.png", square(top=7) > 0)
    with pytest.raises(DataError, match="1stHO, 2ndHO. Choose one with --annotator 1stHO"):
        converted()
    made = converted(annotator="2ndHO")
    assert made.class_names == ("background", "object")
    np.testing.assert_array_equal(mask_of(out), square(1, top=7))


def test_smoothed_masks_are_refused(source, converted):
    picture(source / "a.jpg")
    save(source / "a_cat.png", square())
    pixels = square()
    pixels[0, 0] = 100
    save(source / "a_dog.png", pixels)
    with pytest.raises(DataError, match="a_dog.png: has 3 values"):
        converted(format="binary-masks")


@pytest.mark.parametrize(
    ("image", "folder"), [("x1/images/x1.png", "x1/masks"), ("images/x1.jpg", "masks/x1")]
)
def test_a_folder_of_instances_for_each_image(source, out, converted, image, folder):
    picture(source / image)
    save(source / folder / "0af.png", square())
    save(source / folder / "1bc.png", square(top=7))
    made = converted()
    assert made.format == "instance-masks"
    assert made.class_names == ("background", "object")
    want = np.maximum(square(1), square(1, top=7))
    np.testing.assert_array_equal(mask_of(out, image.rpartition(".")[0]), want)


@pytest.mark.parametrize("name", ["masks/a.png", "masks/a.tif", "images/a_masks.tif"])
def test_numbers_of_objects_are_one_class(source, out, converted, name):
    picture(source / "images/a.jpg", size=(40, 60))
    pixels = np.zeros((40, 60), "uint16")
    for number in range(1, 67):
        row, column = divmod(number, 12)
        pixels[row * 6 : row * 6 + 4, column * 5 : column * 5 + 4] = number
    save(source / name, pixels)
    made = converted()
    assert made.format == "instance-masks"
    assert made.class_names == ("background", "object")
    np.testing.assert_array_equal(mask_of(out, "images/a"), pixels > 0)


@pytest.fixture
def array(source):
    def write(values, name="a.npy"):
        picture(source / "a.png")
        if name.endswith(".npz"):
            np.savez_compressed(source / name, mask=values, other=np.zeros(3))
        else:
            np.save(source / name, values)

    return write


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float32", ">i2"])
def test_arrays_of_class_ids(array, out, converted, name, dtype):
    array(square(1, dtype), name)
    made = converted()
    assert made.format == "numpy"
    assert made.class_names == ("background", "object" if dtype == "bool" else "class_1")
    np.testing.assert_array_equal(mask_of(out), square(1))


def test_minus_one_is_void(array, source, out, converted):
    values = square(1, "int32")
    values[0] = -1
    array(values)
    (source / "class_names.txt").write_text("_background_\ncat\n")
    assert converted().class_names == ("background", "cat")
    assert (mask_of(out)[0] == 255).all() and mask_of(out)[5, 5] == 1


def test_one_channel_for_each_class(array, out, converted):
    array(np.eye(3, dtype="uint8")[square(1) + square(1, top=7)])
    assert converted().class_names == ("background", "class_1", "class_2")
    np.testing.assert_array_equal(mask_of(out), square(1) + square(1, top=7))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def pickled(source, kind):
    values = np.empty(1, object)
    values[0] = Bomb()
    if kind == "npy":
        np.save(source / "a.npy", values, allow_pickle=True)
    elif kind == "npz":
        np.savez(source / "a.npz", mask=values)
    else:
        (source / "a.npy").write_bytes(pickle.dumps(Bomb()))


@pytest.mark.parametrize("kind", ["npy", "npz", "pickle"])
def test_pickles_are_never_read(source, converted, kind):
    picture(source / "a.png")
    pickled(source, kind)
    with pytest.raises(DataError, match="holds Python objects"):
        converted(format="numpy")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (square(300, "int32"), "has the value 300"),
        (square(0.5, "float32"), "has fractions"),
        (np.zeros((20, 30, 3, 2), "uint8"), "a mask is"),
        (np.full((20, 30, 3), 7, "uint8"), "other values than 0 and 1"),
        (np.zeros((10, 30), "uint8"), "the mask is 10 x 30"),
        (np.zeros((20, 30), "complex64"), "a mask is"),
    ],
)
def test_other_arrays_are_refused(array, converted, values, message):
    array(values)
    with pytest.raises(DataError, match=message):
        converted()


def test_a_header_that_lies_about_its_size_is_refused(source, converted):
    picture(source / "a.png")
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        data, {"descr": "|u1", "fortran_order": False, "shape": (10000, 10000)}
    )
    (source / "a.npy").write_bytes(data.getvalue() + b"\0" * 100)
    with pytest.raises(DataError, match="not all there"):
        converted()


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"\x93NUMPY", b"\x93NUMPY\1\0\xff\xff"])
def test_damaged_arrays_are_refused(source, converted, data):
    picture(source / "a.png")
    (source / "a.npy").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.npy: is "):
        converted(format="numpy")


def test_a_zip_without_a_mask_is_refused(source, converted):
    picture(source / "a.png")
    with zipfile.ZipFile(source / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"")
        archive.writestr("y.npy", b"")
    with pytest.raises(DataError, match="holds the arrays 'x', 'y'"):
        converted(format="numpy")
