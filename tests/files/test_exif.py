"""EXIF orientation: images are turned upright as viewers show them, and masks are not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from png import chunk, png

import pipelines
from pipelines import read_image, read_mask
from pipelines.files.exif import orientation
from pipelines.files.images import read_size


def photo(path, pixels, orientation, kind="JPEG", endian="<"):
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0112], exif[0x8298] = "maker", orientation, "owner"
    Image.fromarray(pixels).save(path, kind, exif=exif)
    return path


def upright(path):
    """The image as Pillow turns it."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_images_are_turned_as_pillow_turns_them(tmp_path, rng, kind, orientation, endian):
    pixels = rng.integers(0, 256, (9, 14, 3), "uint8")
    path = photo(tmp_path / "a", pixels, orientation, kind, endian)
    expected = upright(path)
    np.testing.assert_array_equal(read_image(path), expected)
    assert read_size(path) == expected.shape[:2] == ((14, 9) if orientation > 4 else (9, 14))


@pytest.mark.parametrize(
    ("orientation", "first_row"),
    [
        (1, [1, 2, 3]),
        (2, [3, 2, 1]),
        (3, [6, 5, 4]),
        (4, [4, 5, 6]),
        (5, [1, 4]),
        (6, [4, 1]),
        (7, [6, 3]),
        (8, [3, 6]),
    ],
)
def test_the_first_row_is_where_the_standard_puts_it(tmp_path, orientation, first_row):
    pixels = np.repeat(np.array([[1, 2, 3], [4, 5, 6]], "uint8")[..., None], 3, axis=-1)
    path = photo(tmp_path / "a.png", pixels, orientation, "PNG")
    assert read_image(path)[0, :, 0].tolist() == first_row


@pytest.mark.parametrize(("order", "sign"), [("<", b"II*\0"), (">", b"MM\0*")])
@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [(3, 1, 1), (3, 6, 6), (3, 8, 8), (3, 0, 1), (3, 9, 1), (7, 6, 1)],
)
def test_only_a_valid_tag_counts(order, sign, kind, value, expected):
    """Two entries of 12 bytes, after the header and their count; the first one looks like a tag."""
    first = struct.pack(f"{order}HHIHH", 0x0100, 4, 1, 0x0112, 3)
    tag = struct.pack(f"{order}HHIHH", 0x0112, kind, 1, value, 0)
    exif = sign + struct.pack(f"{order}IH", 8, 2) + first + tag
    assert orientation(exif) == orientation(b"Exif\0\0" + exif) == expected
    after = struct.pack(f"{order}IH", 8, 1) + first + tag  # Not in the list of one entry.
    assert orientation(sign + after) == 1
    assert orientation(exif[:-3]) == 1 and orientation(b"II\0*" + exif[4:]) == 1


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_photos_are_turned_too(tmp_path, rng, mode):
    pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 14, 3), "uint8")).convert(mode))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels, mode).save(tmp_path / "a.jpg", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), upright(tmp_path / "a.jpg"))


def test_stored_pixels_stay_if_asked_for(tmp_path, rng):
    pixels = rng.integers(0, 256, (9, 14, 3), "uint8")
    path = photo(tmp_path / "a.png", pixels, 6, "PNG")
    np.testing.assert_array_equal(read_image(path, upright=False), pixels)
    assert read_size(path, upright=False) == (9, 14)


def test_masks_are_read_as_stored(tmp_path, rng):
    values = rng.integers(0, 3, (9, 14), "uint8")
    path = photo(tmp_path / "a.png", values, 6, "PNG")
    np.testing.assert_array_equal(read_mask(path), values)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"MM\0*",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"MM\0*\xff\xff\xff\xff\0\x01",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",  # 9 is no orientation.
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01\0\x06\0\0",  # A text.
        b"XX\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0",
    ],
)
def test_unreadable_exif_is_ignored(tmp_path, rng, exif):
    pixels = rng.integers(0, 256, (9, 14, 3), "uint8")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    (tmp_path / "a.png").write_bytes(png(14, 9, rows, colour_type=2, after=chunk(b"eXIf", exif)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "code"), [(3, "H"), (4, "I"), (6, "b"), (8, "h"), (9, "i"), (1, "B"), (7, "B")]
)
@pytest.mark.parametrize("number", [6, 3, 1])
def test_every_type_of_number_counts_as_in_pillow(tmp_path, rng, endian, kind, code, number):
    pixels = rng.integers(0, 256, (9, 14, 3), "uint8")
    value = struct.pack(f"{endian}{code}", number).ljust(4, b"\0")
    exif = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(f"{endian}IH", 8, 1)
    exif += struct.pack(f"{endian}HHI", 0x0112, kind, 1) + value + bytes(4)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    expected = upright(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    assert read_size(tmp_path / "a.png") == expected.shape[:2]
    if number == 6 and kind in (3, 4):
        assert expected.shape == (14, 9, 3)


SIX = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def raw_profile(kind, exif=b"Exif\0\0" + SIX, name=b"exif"):
    """The text that ImageMagick writes: lines of 36 bytes as hexadecimal numbers."""
    lines = [exif[at : at + 36].hex().encode() for at in range(0, len(exif), 36)]
    text = b"\n" + name + b"\n%8d\n" % len(exif) + b"\n".join(lines) + b"\n"
    packed = text if kind == b"tEXt" else b"\0" + zlib.compress(text)
    return chunk(kind, b"Raw profile type " + name + b"\0" + packed)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_exif_may_be_a_raw_profile_of_a_png(tmp_path, rng, kind, place):
    pixels = rng.integers(0, 256, (9, 14, 3), "uint8")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    (tmp_path / "a.png").write_bytes(png(14, 9, rows, colour_type=2, **{place: raw_profile(kind)}))
    expected = upright(tmp_path / "a.png")
    assert expected.shape == (14, 9, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    assert read_size(tmp_path / "a.png") == (14, 9)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", upright=False), pixels)


BOMB = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(2**26)))


@pytest.mark.parametrize(
    "text",
    [
        raw_profile(b"tEXt", name=b"iptc"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n8\nno numbers\n"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n8\n\xe9\n"),
        chunk(b"zTXt", b"Raw profile type exif\0\0not packed"),
        BOMB,
        raw_profile(b"tEXt") + chunk(b"eXIf", SIX.replace(b"\0\x06", b"\0\x01")),
        chunk(b"eXIf", SIX.replace(b"\0\x06", b"\0\x01")) + raw_profile(b"tEXt"),
    ],
)
def test_other_texts_are_ignored_and_a_chunk_of_exif_wins(tmp_path, rng, text):
    pixels = rng.integers(0, 256, (9, 14, 3), "uint8")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    (tmp_path / "a.png").write_bytes(png(14, 9, rows, colour_type=2, before=text))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)


@pytest.fixture
def phone_photos(tmp_path, rng):
    """Two stored-sideways photos whose masks fit the upright photo, and the YAML file."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for number in range(2):
        pixels = rng.integers(0, 256, (9, 14, 3), "uint8")
        photo(tmp_path / "images" / f"{number}.png", pixels, 6, "PNG")
        mask = rng.integers(0, 2, (14, 9), "uint8")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "data.yaml").write_text("train: {images: images, masks: masks}\nclasses: [a, b]\n")
    return tmp_path / "data.yaml"


def split_of(data, more=""):
    data.write_text(data.read_text() + more)
    return pipelines.read(data, "train")


def whole_images(split, batch_size):
    augmentation = pipelines.Augmentation(None, mirror=False)
    return pipelines.train_dataset(split, batch_size=batch_size, augmentation=augmentation)


def test_every_batch_has_upright_images(phone_photos):
    split = split_of(phone_photos)
    expected = {upright(example.image).tobytes() for example in split.examples}
    batches = (
        whole_images(split, 1),
        whole_images(split, 2),
        pipelines.eval_dataset(split),
        pipelines.eval_dataset(split, batch_size=2),
        pipelines.joint_dataset(split, split),
    )
    for ds in batches:
        found = {image.tobytes() for images, _ in ds for image in images.numpy()}
        assert found == expected
        assert all(images.shape[1:3] == masks.shape[1:] == (14, 9) for images, masks in ds)


def test_exif_ignore_keeps_the_stored_pixels_everywhere(phone_photos):
    for number in range(2):
        mask = np.zeros((9, 14), "uint8")
        Image.fromarray(mask).save(phone_photos.parent / "masks" / f"{number}.png")
    split = split_of(phone_photos, "exif: ignore\n")
    expected = set()
    for example in split.examples:
        with Image.open(example.image) as image:
            expected.add(np.asarray(image).tobytes())
    for ds in (
        whole_images(split, 2),
        pipelines.eval_dataset(split, batch_size=2),
        pipelines.joint_dataset(split, split),
    ):
        assert {image.tobytes() for images, _ in ds for image in images.numpy()} == expected


def test_another_value_of_exif_is_an_error(phone_photos):
    with pytest.raises(pipelines.DataError, match="`exif`: .*'apply' or 'ignore', found 'upright'"):
        split_of(phone_photos, "exif: upright\n")


def test_exif_orientation_of_an_mpo_is_that_of_its_first_image(tmp_path, rng):
    pixels = [rng.integers(0, 256, (9, 14, 3), "uint8") for _ in range(2)]
    exif = Image.Exif()
    exif[0x0112] = 8
    file = io.BytesIO()
    more = [Image.fromarray(pixels[1])]
    Image.fromarray(pixels[0]).save(file, "MPO", save_all=True, append_images=more, exif=exif)
    (tmp_path / "a.jpg").write_bytes(file.getvalue())
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), upright(tmp_path / "a.jpg"))
