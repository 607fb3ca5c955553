"""Bad inputs and their results; the row numbers are those of the table of bad inputs.

Rows about training, exports and the command line are tested with those.
"""

import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png import chunk, png

import pipelines
from fcn_keras import MaskedCrossentropy
from fcn_keras.errors import ConfigError
from fcn_keras.metrics import ConfusionMatrix, segmentation_metrics
from fcn_keras.runs.resolve import resolve
from pipelines import DataError, Example, Split, read_example, read_image, read_mask
from pipelines.checking.examine import examine
from pipelines.checking.overlaps import overlaps
from pipelines.examples import class_counts
from pipelines.files.images import read_size

READERS = (read_image, read_mask)


@pytest.fixture
def picture(rng):
    """A smooth image, so that all formats have something to compress."""
    steps = rng.integers(-9, 10, (40, 56, 3)).cumsum(axis=1)
    return np.clip(steps + 128, 0, 255).astype("uint8")


@pytest.fixture
def ids(rng):
    return rng.integers(0, 3, (40, 56), "uint8")


def encoded(array, kind, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def of_folders(root, more="", split="train"):
    """The split of `two_folders`, with more keys in its YAML file."""
    data = root / "data.yaml"
    data.write_text(data.read_text() + more)
    return pipelines.read(data, split, keep_faults=True)


def image_of(root):
    return root / "train" / "images" / "0.jpg"


def mask_of(root):
    return root / "train" / "masks" / "0.png"


def the_fault(root, more=""):
    """The only fault in the folders; all other files stay usable."""
    found = examine(of_folders(root, more))
    (fault,) = found.faults
    assert len(found.without_bad().split) == len(found.split) - len(found.bad)
    assert fault.file.is_relative_to(root / "train")
    return str(fault)


def error_of(read, path):
    with pytest.raises(DataError) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert error.value.file == path
    return str(error.value)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "not an image; the file is empty", id="row 1"),
        pytest.param(b"<html><p>404", "not an image; it starts with '<html><p>404'", id="row 5"),
        pytest.param(
            b"II*\0\x08", "TIFF files are unsupported. Convert it to PNG, for", id="row 7 TIFF"
        ),
        pytest.param(
            b"\xff\xfe\0" * 9, "not an image; it starts with the bytes ff fe 00 ff fe 00 ff fe."
        ),
        pytest.param(
            b"\xff\xfe" * 9, "not an image; it starts with the bytes ff fe ff fe ff fe ff fe."
        ),
        pytest.param(b"\0\1" * 9, "not an image; it starts with '\\x00\\x01"),
        pytest.param(b"\0\0\0\x20ftypavif\0\0", "AVIF files are unsupported", id="AVIF"),
        pytest.param(
            HEIC, "not an image; it is HEIC, or a video. Convert a HEIC to PNG", id="row 7 HEIC"
        ),
    ],
)
def test_other_file_types_are_named(two_folders, content, message):
    for path in (image_of(two_folders), mask_of(two_folders)):
        before = path.read_bytes()
        path.write_bytes(content)
        assert f"{path}: {message}" in the_fault(two_folders)
        assert path.read_bytes() == content
        path.write_bytes(before)


def test_row_7_real_tiff_is_named(shared):
    path = shared / "data" / "ugly" / "hopper.tif"
    assert "magick hopper.tif hopper.png" in error_of(read_image, path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("padding", [b"", bytes(500)])
def test_row_2_jpeg_truncated_anywhere_is_an_error(tmp_path, picture, mode, options, padding):
    whole = encoded(Image.fromarray(picture).convert(mode), "JPEG", **options)
    path = tmp_path / "a.jpg"
    for size in {*range(1, len(whole), 31), *range(len(whole) - 4, len(whole))}:
        path.write_bytes(whole[:size] + padding)
        error_of(read_image, path)
    path.write_bytes(whole + (padding or b"trailing bytes do not matter"))
    assert read_image(path).shape == picture.shape


def test_row_2_real_truncated_jpeg_is_left_out(two_folders, shared):
    shutil.copy(shared / "data/ugly/truncated_jpeg.jpg", image_of(two_folders))
    assert "0.jpg: damaged or unreadable (truncated" in the_fault(two_folders)


def test_row_3_no_damage_to_a_png_goes_unnoticed(tmp_path, picture):
    whole = encoded(picture, "PNG")
    path = tmp_path / "a.png"
    for at in range(1, len(whole), 61):
        for content in (
            whole[:at],
            whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :],
        ):
            path.write_bytes(content)
            for read in READERS:
                error_of(read, path)


def test_row_3_png_whose_pixels_do_not_match_their_checksum_is_an_error(tmp_path, picture):
    whole = encoded(picture[..., 0], "PNG")
    at = whole.index(b"IDAT")
    length = int.from_bytes(whole[at - 4 : at], "big")
    pixels = bytearray(zlib.decompress(whole[at + 4 : at + 4 + length]))
    pixels[100] ^= 64
    other = zlib.compress(bytes(pixels))  # Valid: only the chunk's own checksum tells.
    path, end = tmp_path / "a.png", at + 4 + length
    path.write_bytes(
        whole[: at - 4] + struct.pack(">I", len(other)) + b"IDAT" + other + whole[end:]
    )
    for read in READERS:
        assert "wrong checksum of chunk IDAT" in error_of(read, path)


@pytest.mark.parametrize("interlaced", [0, 1])
def test_row_3_png_with_too_few_rows_is_an_error(tmp_path, interlaced):
    path = tmp_path / "a.png"
    path.write_bytes(png(20, 10, bytes(21), interlaced=interlaced))
    for read in READERS:
        assert "truncated" in error_of(read, path)
    path.write_bytes(png(20, 10, bytes(400), interlaced=interlaced))
    assert not read_mask(path).any()


# The pixels of a PNG, counted by hand: each row has a filter byte, and whole bytes.
@pytest.mark.parametrize(
    ("width", "height", "bits", "colour_type", "interlaced", "size"),
    [
        (5, 3, 8, 0, 0, 3 * (1 + 5)),
        (9, 2, 1, 0, 0, 2 * (1 + 2)),
        (5, 3, 4, 0, 0, 3 * (1 + 3)),
        (2, 2, 16, 0, 0, 2 * (1 + 4)),
        (2, 2, 8, 2, 0, 2 * (1 + 6)),
        (2, 2, 16, 2, 0, 2 * (1 + 12)),
        (3, 2, 8, 4, 0, 2 * (1 + 6)),
        (3, 2, 8, 6, 0, 2 * (1 + 12)),
        (9, 2, 2, 3, 0, 2 * (1 + 3)),
        (5, 3, 8, 0, 1, 2 + 2 + 2 + 4 + 2 * 3 + 6),  # The third pass has no rows.
        (1, 6, 8, 0, 1, 2 + 2 + 2 + 3 * 2),  # Passes 1, 3, 5 and 7.
    ],
)
def test_row_3_all_bytes_of_a_png_are_needed(
    tmp_path, width, height, bits, colour_type, interlaced, size
):
    path, before = tmp_path / "a.png", chunk(b"PLTE", bytes(12)) if colour_type == 3 else b""
    options = {"bits": bits, "colour_type": colour_type, "interlaced": interlaced, "before": before}
    path.write_bytes(png(width, height, bytes(size), **options))
    assert not read_image(path)[..., 0].any() or colour_type in (4, 6)
    path.write_bytes(png(width, height, bytes(size - 1), **options))
    error_of(read_image, path)


def test_row_3_black_png_that_unpacks_to_a_byte_over_a_megabyte_is_read(tmp_path):
    path, size = tmp_path / "a.png", 17 * (1 + 61_680)
    assert size == 2**20 + 1  # It is unpacked in parts of a megabyte.
    path.write_bytes(png(61_680, 17, bytes(size)))
    assert read_mask(path).shape == (17, 61_680)
    path.write_bytes(png(61_680, 17, bytes(size - 1)))
    error_of(read_mask, path)


def test_row_3_png_without_its_palette_is_an_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, b"\0\1\1", colour_type=3))
    for read in READERS:
        assert "its palette is missing" in error_of(read, path)


@pytest.mark.parametrize("lossless", [True, False])
def test_row_2_webp_must_be_complete(tmp_path, picture, lossless):
    path, whole = tmp_path / "a.webp", encoded(picture, "WEBP", lossless=lossless)
    path.write_bytes(whole)
    image = read_image(path)
    path.write_bytes(whole + b"trailing bytes do not matter")
    np.testing.assert_array_equal(read_image(path), image)
    for size in (len(whole) - 1, len(whole) // 2):
        path.write_bytes(whole[:size])
        assert "truncated: its end is missing" in error_of(read_image, path)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_masks_may_have_an_opaque_alpha_channel(tmp_path, mode):
    layers = np.full((3, 4, len(mode)), 255, "uint8")
    layers[..., :-1] = 7
    path = tmp_path / "a.png"
    path.write_bytes(encoded(layers, "PNG"))
    assert (read_mask(path) == 7).all()
    layers[1, 2, -1] = 254
    path.write_bytes(encoded(layers, "PNG"))
    assert "the mask has transparent pixels" in error_of(read_mask, path)


def test_row_4_damaged_jpeg_that_decodes_is_a_warning(two_folders, picture):
    # A flipped bit that leaves valid codes cannot be detected (`pipelines.checking.examine`).
    whole = encoded(picture, "JPEG", restart_marker_blocks=1)
    image_of(two_folders).write_bytes(whole.replace(b"\xff\xd3", b"\xff\xd5", 1))
    found = examine(of_folders(two_folders))
    (warning,) = found.warnings
    assert not found.faults and warning.kind == "damaged JPEG"
    assert str(warning).startswith(f"{image_of(two_folders)}: the JPEG is damaged but decodes (")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_rows_6_and_8_format_is_detected_by_content(two_folders, picture, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    image_of(two_folders).write_bytes(encoded(picture, kind, **options))
    image, _ = read_example(of_folders(two_folders), 0)
    np.testing.assert_array_equal(image, picture)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_row_9_animations_are_rejected(tmp_path, picture, kind):
    path = tmp_path / "a"
    more = [Image.fromarray(255 - picture)]
    path.write_bytes(encoded(picture, kind, save_all=True, append_images=more))
    for read in READERS:
        assert "an animation, not an image" in error_of(read, path)


@pytest.mark.parametrize(
    "name", ["hopper_gray.jpg", "uncompressed_la.png", "1_trns.png", "i_trns.png"]
)
def test_rows_10_and_11_real_grey_images_have_three_channels(shared, name):
    notes = []
    image = read_image(shared / "data" / "ugly" / name, notes)
    assert image.shape[2] == 3 and (image == image[..., :1]).all()
    kinds = {"hopper_gray.jpg": [], "i_trns.png": ["low contrast", "transparency"]}
    assert [note.kind for note in notes] == kinds.get(name, ["transparency"])


def test_row_11_transparent_pixels_become_white_with_one_warning(two_folders, picture):
    alpha = np.zeros((40, 56, 1), "uint8")
    alpha[:, 28:] = 255
    layers = np.concatenate([picture, alpha], axis=2)
    image_of(two_folders).write_bytes(encoded(layers, "PNG"))
    found = examine(of_folders(two_folders))
    assert [warning.kind for warning in found.warnings] == ["transparency"]
    image, _ = read_example(found.split, 0)
    assert (image[:, :28] == 255).all()
    np.testing.assert_array_equal(image[:, 28:], picture[:, 28:])


@pytest.mark.parametrize(
    ("bits", "row", "transparent"), [(1, 0x5A, 1), (2, 0x1B, 2), (4, 0x3A, 3), (8, 7, 7)]
)
def test_row_11_grey_level_may_be_transparent(tmp_path, bits, row, transparent):
    path = tmp_path / "a.png"
    trns = chunk(b"tRNS", struct.pack(">H", transparent))
    path.write_bytes(png(8 // bits, 1, bytes([0, row]), bits=bits, before=trns))
    values = np.array([row >> at & 2**bits - 1 for at in range(8 - bits, -1, -bits)])
    grey = np.where(values == transparent, 255, values * 255 // (2**bits - 1))
    np.testing.assert_array_equal(read_image(path)[0, :, 1], grey)
    np.testing.assert_array_equal(read_mask(path)[0], values)


def test_row_11_real_transparent_files_give_one_warning(shared):
    for name in ("transparent.webp", "p_trns_single.png"):
        notes = []
        read_image(shared / "data" / "ugly" / name, notes)
        assert [note.kind for note in notes] == ["transparency"]
        assert name in str(notes[0]) and "white" in str(notes[0])


def test_row_12_16_bits_are_scaled_to_8(tmp_path):
    path = tmp_path / "a.png"
    values = np.array([[0, 128, 129, 65535 - 129, 65535]], "uint16")
    path.write_bytes(encoded(values, "PNG"))
    np.testing.assert_array_equal(read_image(path)[0, :, 0], [0, 0, 1, 254, 255])


def test_row_13_cmyk_is_converted_as_in_pillow(shared):
    path = shared / "data" / "ugly" / "pil_sample_cmyk.jpg"
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path), image.convert("RGB"))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_row_14_mask_for_the_stored_pixels_is_a_fault(two_folders, picture, orientation):
    image_of(two_folders).write_bytes(encoded(picture, "JPEG", exif=oriented(orientation)))
    text = the_fault(two_folders)
    assert "the mask is 40 x 56 (height" in text and "0.jpg is 56 x 40 when turned" in text
    assert f"EXIF orientation {orientation}" in text and "set `exif: ignore`" in text
    assert not examine(of_folders(two_folders)).warnings  # The fault says it.
    with pytest.raises(DataError, match="set `exif: ignore`"):
        read_example(of_folders(two_folders), 0)
    found = examine(of_folders(two_folders, "exif: ignore\n"))
    assert not found.faults and not found.warnings and found.sizes[0] == (40, 56)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_row_15_mask_for_the_upright_image_fits(two_folders, picture, ids, orientation):
    image_of(two_folders).write_bytes(encoded(picture, "JPEG", exif=oriented(orientation)))
    mask_of(two_folders).write_bytes(encoded(ids.T, "PNG"))
    found = examine(of_folders(two_folders))
    (warning,) = found.warnings
    assert not found.faults and found.sizes[0] == (56, 40)
    assert f"turned upright, as its EXIF orientation {orientation} says. The mask fits only" in (
        str(warning)
    )
    text = the_fault(two_folders, "exif: ignore\n")
    assert "is 40 x 56 as it is stored" in text and "remove `exif: ignore`" in text


@pytest.mark.parametrize(
    ("orientation", "size"), [(2, (40, 56)), (3, (40, 56)), (4, (40, 56)), (6, (40, 40))]
)
def test_rows_14_and_15_both_may_fit(two_folders, picture, ids, orientation, size):
    pixels, values = picture[: size[0], : size[1]], ids[: size[0], : size[1]]
    image_of(two_folders).write_bytes(encoded(pixels, "JPEG", exif=oriented(orientation)))
    mask_of(two_folders).write_bytes(encoded(values, "PNG"))
    found = examine(of_folders(two_folders))
    (warning,) = found.warnings
    assert not found.faults and warning.kind == "EXIF orientation, both fit"
    assert "fits the stored pixels too" in str(warning) and "`exif: ignore`" in str(warning)


def test_row_15_upright_photos_have_no_warning(two_folders, picture):
    image_of(two_folders).write_bytes(encoded(picture, "JPEG", exif=oriented(1)))
    found = examine(of_folders(two_folders))
    assert not found.faults and not found.warnings


def test_row_15_exif_after_the_pixels_is_found(tmp_path):
    path, notes = tmp_path / "a.png", []
    exif = oriented(6).tobytes().removeprefix(b"Exif\0\0")
    path.write_bytes(png(2, 3, b"\0\1\2" * 3, after=chunk(b"eXIf", exif)))
    assert read_image(path, notes)[..., 0].tolist() == [[1] * 3, [2] * 3]
    assert read_size(path) == (2, 3)
    assert [(note.kind, note.value, note.file) for note in notes] == [("EXIF orientation", 6, path)]


def test_row_15_real_photo_is_turned(shared):
    path = shared / "data" / "ugly" / "hopper_orientation_6.jpg"
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path), image.transpose(Image.Transpose.ROTATE_270))


def gif(width, height, frame_width, frame_height):
    data = bytearray(encoded(Image.new("P", (9, 9), 3), "GIF"))
    at = data.rindex(b"\x2c\0\0\0\0\x09\0\x09\0")
    data[6:10] = struct.pack("<HH", width, height)
    data[at + 5 : at + 9] = struct.pack("<HH", frame_width, frame_height)
    return bytes(data)


def webp(width, height):
    data = bytearray(encoded(Image.new("RGB", (9, 9)), "WEBP", lossless=True, icc_profile=b"x"))
    at = data.index(b"VP8X")
    data[at + 12 : at + 18] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return bytes(data)


def jpeg(width, height, scans=0):
    data = bytearray(encoded(Image.new("RGB", (900, 900), "red"), "JPEG", progressive=True))
    at = data.index(b"\xff\xc2")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + data[-2:])


def bmp(width, height):
    data = bytearray(encoded(Image.new("RGB", (9, 9)), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


BOMBS = {
    "flat.png": (lambda: png(8000, 8000, bytes(8000 * 1001), bits=1), "too large"),
    "dimensions.png": (lambda: png(2**31 - 1, 2**31 - 1, bytes(99)), "too large"),
    "canvas.gif": (lambda: gif(65535, 65535, 9, 9), "too large"),
    "flat.gif": (lambda: gif(8000, 8000, 8000, 8000), "too large"),
    "frame.gif": (lambda: gif(9, 9, 65535, 65535), "too large"),
    "canvas.webp": (lambda: webp(16000, 16000), "too large"),
    "dimensions.jpg": (lambda: jpeg(65500, 65500), "too large"),
    "scans.jpg": (lambda: jpeg(900, 900, scans=2000), "2010 scans, but at most 100 are read"),
    "dimensions.bmp": (lambda: bmp(30000, 30000), "too large"),
    "no width.png": (lambda: png(0, 9, b""), "its header is not valid"),
    "no height.jpg": (lambda: jpeg(900, 0), "its header is not valid"),
    "no width.bmp": (lambda: bmp(0, 9), "its header is not valid"),
}

MEASURE = r"""
import json, re, sys, time
from pathlib import Path
from pipelines import DataError, read_image
def used():  # Not getrusage(), which starts at the parent's peak.
    status = Path("/proc/self/status")
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024 if status.exists() else 0
before, found = used(), {}
for path in sys.argv[1:]:
    start = time.perf_counter()
    try:
        text = str(read_image(path).shape)
    except DataError as error:
        text = str(error)
    found[path] = (text, time.perf_counter() - start, used() - before)
print(json.dumps(found))
"""


def measured(*paths):
    """Reads images in a separate process: text, seconds, and MB in addition to the imports."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(pipelines.__file__).parents[1],
    )
    assert not run.stderr  # No library warns.
    return json.loads(run.stdout)


def test_row_16_bombs_are_rejected_by_their_header(tmp_path):
    for name, (make, _) in BOMBS.items():
        (tmp_path / name).write_bytes(make())
    found = measured(*(tmp_path / name for name in BOMBS))
    for name, (_, message) in BOMBS.items():
        text, seconds, megabytes = found[str(tmp_path / name)]
        assert f"{tmp_path / name}: " in text and message in text
        assert seconds < 0.5 and megabytes < 50, (name, seconds, megabytes)


FLAT = Image.new("1", (5000, 5000))


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "1", {}),
        ("PNG", "P", {"bits": 1}),
        ("PNG", "P", {"bits": 2}),
        ("PNG", "L", {}),
        ("PNG", "RGB", {}),
        ("GIF", "1", {}),
        ("GIF", "P", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("BMP", "1", {}),
    ],
)
def test_row_16_large_flat_masks_are_no_bombs(tmp_path, kind, mode, options):
    path = tmp_path / "a"
    path.write_bytes(encoded(FLAT.convert(mode), kind, **options))
    assert read_mask(path).shape[:2] == (5000, 5000)


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "L", {}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("GIF", "P", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("JPEG", "L", {"progressive": True, "optimize": True}),
    ],
)
def test_row_16_large_flat_tiles_are_no_bombs(tmp_path, kind, mode, options):
    path = tmp_path / "a"
    path.write_bytes(encoded(FLAT.convert(mode), kind, **options))
    assert read_image(path).shape == (5000, 5000, 3)


@pytest.mark.parametrize("name", ["flat.gif", "dimensions.png", "canvas.webp"])
def test_row_16_masks_have_limits_too(tmp_path, name):
    (tmp_path / name).write_bytes(BOMBS[name][0]())
    assert "too large" in error_of(read_mask, tmp_path / name)


def test_motion_photos_are_read(tmp_path, picture):
    """A phone's JPEG with its video behind it, which has what looks like scans and ends."""
    thumbnail = encoded(picture[:8, :8], "JPEG")
    exif = Image.Exif()
    exif[0x9286] = thumbnail + b"\xff\xda" * 60
    whole = encoded(picture, "JPEG", exif=exif, progressive=True)
    video = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x0c" * 500 + b"\xff\xd9" * 9
    (tmp_path / "photo.jpg").write_bytes(whole)
    (tmp_path / "a.jpg").write_bytes(whole + video)
    notes = []
    image = read_image(tmp_path / "a.jpg", notes)
    np.testing.assert_array_equal(image, read_image(tmp_path / "photo.jpg"))
    assert not notes
    (tmp_path / "a.jpg").write_bytes(whole[:-20] + video)
    error_of(read_image, tmp_path / "a.jpg")


def test_what_looks_like_scans_in_metadata_does_not_count(tmp_path, picture):
    exif = Image.Exif()
    exif[0x9286] = b"\xff\xda" * 500
    (tmp_path / "a.jpg").write_bytes(encoded(picture, "JPEG", exif=exif))
    assert read_image(tmp_path / "a.jpg").shape == picture.shape


def test_row_16_png_metadata_is_not_decompressed(tmp_path):
    path = tmp_path / "a.png"
    packed = zlib.compress(bytes(100_000_000), 9)
    extra = chunk(b"iCCP", b"k\0\0" + packed) + chunk(b"zTXt", b"k\0\0" + packed)
    more = chunk(b"iTXt", b"k\0\1\0\0\0" + packed) + chunk(b"tEXt", b"k\0" + bytes(9_000_000))
    path.write_bytes(png(4, 4, b"\0\1\2\3\4" * 4, before=extra, after=more))
    text, seconds, megabytes = measured(path)[str(path)]
    assert text == "(4, 4, 3)" and seconds < 0.5 and megabytes < 50


@pytest.mark.parametrize("size", [(1, 1), (31, 31), (3, 5000), (337, 501)])
def test_rows_17_and_18_any_size_is_read(two_folders, size):
    # Scores cover images of any size: tests/models/test_fcn.py.
    Image.new("RGB", size[::-1]).save(image_of(two_folders))
    Image.new("L", size[::-1]).save(mask_of(two_folders))
    image, mask = read_example(of_folders(two_folders), 0)
    assert image.shape == (*size, 3) and mask.shape == size


def test_row_19_pixel_limit_applies_to_files_but_not_arrays(tmp_path):
    # Larger images can be passed as arrays; files are limited because of decompression bombs.
    (tmp_path / "a.bmp").write_bytes(bmp(20000, 20000))
    assert "Split it into parts" in error_of(read_image, tmp_path / "a.bmp")
    (tmp_path / "a.bmp").write_bytes(bmp(9_100, 9_800))
    text = "9800 x 9100 (height x width) is over 89,000,000 pixels. Split it into parts"
    assert text in error_of(read_image, tmp_path / "a.bmp")
    (tmp_path / "b.bmp").write_bytes(encoded(Image.new("L", (30, 20), 9), "BMP"))
    assert (read_image(tmp_path / "b.bmp", max_pixels=600) == 9).all()
    assert "20 x 30 (height x width) is over 599 pixels" in error_of(
        lambda path: read_image(path, max_pixels=599), tmp_path / "b.bmp"
    )
    large = np.broadcast_to(np.zeros(3, "uint8"), (20000, 20000, 3))
    assert read_image(large) is large


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_row_20_palette_masks_keep_their_indices(two_folders, bits):
    # Real VOC masks: tests/files/test_images.py.
    ids = np.indices((40, 56)).sum(axis=0).astype("uint8") % min(2**bits, 3)
    image = Image.fromarray(ids, "P")
    image.putpalette(pipelines.distinct_palette(2**bits)[::-1].tobytes())
    image.save(mask_of(two_folders), bits=bits)
    np.testing.assert_array_equal(read_example(of_folders(two_folders), 0)[1], ids)


IN_COLOURS = (
    "train: {images: train/images, masks: train/masks}\nignore: [[0, 0, 0]]\n"
    "classes: [{name: sky, colour: [128, 128, 128]}, {name: road, colour: [128, 64, 128]}]\n"
)


def test_row_21_declared_colours_are_mapped_even_in_grey_masks(two_folders):
    Image.new("RGB", (56, 40), (128, 64, 128)).save(mask_of(two_folders))
    data = (two_folders / "data.yaml").read_text()
    (two_folders / "data.yaml").write_text(data.replace("colour: [128, 64, 128]", ""))
    assert "Give each class its `colour: [red, green, blue]`" in the_fault(two_folders)
    (two_folders / "data.yaml").write_text(IN_COLOURS)
    grey = np.zeros((40, 56, 3), "uint8")
    grey[:20] = 128
    (two_folders / "train/masks/1.png").write_bytes(encoded(grey, "PNG"))
    split = of_folders(two_folders)
    assert read_mask(split.examples[1].mask).shape == (40, 56, 3)
    assert (read_example(split, 0)[1] == 1).all()
    assert (read_example(split, 1)[1] == np.where(grey[..., 0], 0, 255)).all()
    assert read_example(split, 1)[1].dtype == np.uint8


def test_row_21_rgb_class_ids_are_values_without_declared_colours(two_folders, ids):
    mask_of(two_folders).write_bytes(encoded(np.repeat(ids[..., None], 3, axis=2), "PNG"))
    data = (two_folders / "data.yaml").read_text()
    (two_folders / "data.yaml").write_text(data.replace(", colour: [128, 64, 128]", ""))
    split = of_folders(two_folders)
    np.testing.assert_array_equal(read_example(split, 0)[1], ids)
    values = split.read_mask(split.examples[0].mask)
    counts = class_counts(split, split.examples[0], values)
    np.testing.assert_array_equal(counts, np.bincount(ids.ravel(), minlength=256))


@pytest.mark.parametrize(
    ("colours", "message"),
    [
        ([(9, 8, 7)], "colours (9, 8, 7) (1 pixel), first at row 0, column 0"),
        ([(9, 8, 7)], "Give the class its colour, or ignore it: `ignore: [[9, 8, 7]]`."),
        ([(9, 9, 9)], "If grey levels are class ids here, save the mask as a single-channel PNG."),
        (
            [(i, 7, 128) for i in range(40)],
            "So many colours mean that the mask was smoothed or resized",
        ),
    ],
)
def test_row_22_unknown_colours_are_counted(two_folders, colours, message):
    mask = np.full((40, 56, 3), 128, "uint8")
    mask[0, : len(colours)] = colours
    mask_of(two_folders).write_bytes(encoded(mask, "PNG"))
    (two_folders / "data.yaml").write_text(IN_COLOURS)
    for path in (two_folders / "train/masks").glob("[123].png"):
        path.write_bytes(encoded(np.full((40, 56, 3), 128, "uint8"), "PNG"))
    assert message in the_fault(two_folders)


def test_row_23_16_bits_never_wrap(two_folders, ids):
    mask_of(two_folders).write_bytes(encoded(np.full((40, 56), 300, "uint16"), "PNG"))
    assert "label value 300 (2240 pixels)" in the_fault(two_folders)
    mask_of(two_folders).write_bytes(encoded(ids.astype("uint16"), "PNG"))
    _, mask = read_example(of_folders(two_folders), 0)
    np.testing.assert_array_equal(mask, ids)
    assert mask.dtype == np.uint8


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_row_23_several_16_bit_channels_are_rejected(tmp_path, colour_type, channels):
    rows = (b"\0" + b"\0\7" * 2 * channels) * 2
    (tmp_path / "a.png").write_bytes(png(2, 2, rows, bits=16, colour_type=colour_type))
    assert "several 16-bit channels" in error_of(read_mask, tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L"])
def test_row_24_masks_of_0_and_255_give_a_hint(two_folders, mode):
    for path in two_folders.glob("train/masks/*.png"):
        mask = Image.new("L", (56, 40))
        mask.paste(255, (0, 0, 56, 20))
        mask.convert(mode).save(path)
    found = examine(of_folders(two_folders))
    faults = found.faults if mode == "1" else found.of_the_split()[0]
    assert len(faults) == (4 if mode == "1" else 1)
    assert all("Map 255 to 1?" in str(fault) for fault in faults)
    faults = examine(of_folders(two_folders, "ignore: [254]\n")).faults
    assert len(faults) == 4 and all("Map 255 to 1?" in str(fault) for fault in faults)


def test_row_25_unknown_value_is_located_and_counted(two_folders, ids):
    ids[7, 5:9], ids[9, 0] = 34, 35
    mask_of(two_folders).write_bytes(encoded(ids, "PNG"))
    text = the_fault(two_folders)
    assert "label value 34 (4 pixels), 35 (1 pixel), first at row 7, column 5, but" in text
    assert "3 classes and ignores [255]" in text and "`ignore: [34]`" in text


def test_row_26_offset_is_suggested_for_ids_from_1(two_folders, ids):
    mask_of(two_folders).write_bytes(encoded(ids + 1, "PNG"))
    assert "Do the ids start at 1? Then set `offset: 1` (1 is class 0)." in the_fault(two_folders)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("JPEG", {}, "the mask is a JPEG, which changes values"),
        ("WEBP", {}, "the mask is a lossy WebP"),
        ("WEBP", {"icc_profile": b"x" * 99}, "the mask is a lossy WebP"),
    ],
)
def test_row_27_lossy_masks_are_rejected(two_folders, ids, kind, options, message):
    mask_of(two_folders).write_bytes(encoded(ids, kind, **options))
    assert message in the_fault(two_folders)


def test_row_28_sizes_must_match(two_folders):
    Image.new("L", (55, 40)).save(mask_of(two_folders))
    assert "the mask is 40 x 55 (height x width), but its image" in the_fault(two_folders)


def test_row_28_sizes_that_no_orientation_explains_are_no_matter_of_exif(two_folders, picture):
    image_of(two_folders).write_bytes(encoded(picture, "JPEG", exif=oriented(6)))
    Image.new("L", (55, 40)).save(mask_of(two_folders))
    (fault,) = examine(of_folders(two_folders)).faults
    assert fault.kind == "size mismatch" and fault.value == (40, 55)
    assert "0.jpg is 56 x 40. Both must have the same size" in str(fault)


def test_row_29_unpaired_files_are_listed(two_folders):
    image_of(two_folders).unlink()
    (two_folders / "train/masks/1.png").unlink()
    found = examine(of_folders(two_folders))
    assert [fault.file.name for fault in found.faults] == ["0.png", "1.jpg"]
    assert "has no image" in str(found.faults[0]) and "has no mask" in str(found.faults[1])


def test_row_30_two_images_with_one_name_are_an_error(two_folders):
    shutil.copy(image_of(two_folders), image_of(two_folders).with_suffix(".png"))
    assert "0.jpg and 0.png: two files with the same name. Remove one." in the_fault(two_folders)


def test_row_31_void_mask_has_no_loss_no_score_and_one_warning(two_folders):
    Image.new("L", (56, 40), 255).save(mask_of(two_folders))
    found = examine(of_folders(two_folders))
    (warning,) = found.of_the_split()[1]
    assert not found.faults and found.void == [0]
    text = f"nothing but void in 1 of 4 masks; the first is {mask_of(two_folders)}"
    assert text in str(warning)
    _, mask = read_example(found.split, 0)
    scores = np.random.default_rng(0).normal(size=(1, 40, 56, 3)).astype("float32")
    assert float(MaskedCrossentropy()(mask[None], scores)) == 0
    metric = ConfusionMatrix(3)
    metric.update_state(mask[None], scores)
    assert metric.confusion().sum() == 0


def test_row_32_all_background_is_a_warning_with_pixel_counts(two_folders):
    for path in two_folders.glob("train/masks/*.png"):
        Image.new("L", (56, 40)).save(path)
    found = examine(of_folders(two_folders))
    (warning,) = found.of_the_split()[1]
    assert not found.faults
    assert "every labelled pixel is 'ground'" in str(warning)
    assert "Pixels per class: ground 8,960, road 0, car 0." in str(warning)


def test_row_33_absent_class_is_reported_and_left_out_of_the_mean(two_folders, ids):
    for path in two_folders.glob("train/masks/*.png"):
        path.write_bytes(encoded(ids % 2, "PNG"))
    (warning,) = examine(of_folders(two_folders)).of_the_split()[1]
    assert "no mask has car" in str(warning) and "IU n/a, left out of the mean" in str(warning)
    result = segmentation_metrics(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert np.isnan(result["iou"][2]) and result["mean_iou"] == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_row_34_empty_split_is_an_error(two_folders):
    # Empty folders, and a `val_share` that leaves nothing: tests/datasets/test_yaml_folders.py.
    (two_folders / "list.txt").write_text("\n \r\n")
    data = (two_folders / "data.yaml").read_text().replace("masks}", "masks, list: list.txt}")
    (two_folders / "data.yaml").write_text(data)
    with pytest.raises(DataError, match="list.txt: the split is empty") as error:
        of_folders(two_folders)
    assert error.value.kind == "empty split"
    (fault,), _ = examine(Split("none", (), ("a", "b"), np.zeros((2, 3)), {})).of_the_split()
    assert str(fault) == "none: the split is empty."


def test_row_35_image_in_train_and_val_is_found_by_content(two_folders):
    with Image.open(image_of(two_folders)) as image:
        image.save(two_folders / "val" / "images" / "1.png")
    (two_folders / "val" / "images" / "1.jpg").unlink()
    found = [examine(of_folders(two_folders, split=split)) for split in ("train", "val")]
    (warning,) = overlaps(found)
    assert warning.value == [("0", "1")] and "val: share 1 image," in str(warning)


# Row 36, lists that leave their folder, with any line ends, spaces and Unicode, is tested in
# tests/datasets/test_yaml_folders.py. Lists of data sets:
@pytest.mark.parametrize("line", ["../secret.png", "up/secret.png"])
def test_row_36_lists_stay_inside_the_data_folder(tmp_path, line):
    root = tmp_path / "camvid"
    (root / "train").mkdir(parents=True)
    (root / "trainannot").mkdir()
    for path in ("secret.png", "camvid/train/été 1.png", "camvid/trainannot/été 1.png"):
        Image.new("L", (4, 4)).save(tmp_path / path)
    (root / "up").symlink_to(tmp_path)
    good = "/x/train/a.png /y/trainannot/a.png"
    for folder in ("train", "trainannot"):
        (root / folder / "été 1.png").rename(root / folder / "a.png")
    (root / "train.txt").write_bytes(f"\ufeff{good}\r\n\r\n{line} {line}".encode())
    split = pipelines.read("camvid", "train", root, keep_faults=True)
    assert [example.id for example in split.examples] == ["a"]
    assert {fault.kind for fault in split.faults} == {"outside the folder"}


def test_row_38_misspelt_key_suggests_the_nearest():
    # Keys of the YAML file: tests/datasets/test_yaml_folders.py.
    with pytest.raises(ConfigError) as error:
        resolve("default", {"data": "camvid", "batchsize": 2})
    assert str(error.value) == "batchsize=2: unknown; did you mean `batch_size`?"
    with pytest.raises(ConfigError, match="zzz=1: unknown; choose one of data, data_dir,"):
        resolve("default", {"zzz": 1})


def test_row_39_class_names_and_count_must_match(two_folders):
    # Model and data set: tests/cli/test_main.py.
    with pytest.raises(DataError, match="`num_classes` is 4, but `classes` lists 3: ground, road"):
        of_folders(two_folders, "num_classes: 4\n")
    with pytest.raises(DataError, match="2 class names, but 3 colours in the palette"):
        Split("a", (), ("x", "y"), np.zeros((3, 3), "uint8"), {0: 0})
    with pytest.raises(
        DataError, match="masks have class id 2, but there are 2 class names .ids 0..1"
    ):
        Split("a", (), ("x", "y"), np.zeros((2, 3), "uint8"), {0: 2})


@pytest.mark.parametrize("count", [256, 300])
def test_more_than_255_classes_are_refused_at_the_first_door(two_folders, count, fcn_keras_cli):
    names = tuple(f"c{i}" for i in range(count))
    text = f"{count} classes, but at most 255 are supported: masks have 8 bits, and 255 is void"
    with pytest.raises(DataError, match=f"street train: {text}"):
        Split("street train", (), names, pipelines.distinct_palette(count), {})
    data = two_folders / "data.yaml"
    data.write_text(data.read_text().split("classes")[0] + f"classes: [{', '.join(names)}]\n")
    status, _, err = fcn_keras_cli("data", "check", data)
    assert status == 2 and f"data.yaml: `classes`: {text}" in err and len(err) < 400


def test_255_classes_are_supported(two_folders):
    data = two_folders / "data.yaml"
    names = ", ".join(f"c{i}" for i in range(255))
    data.write_text(data.read_text().split("classes")[0] + f"classes: [{names}]\n")
    ids = np.arange(40 * 56, dtype="uint16").reshape(40, 56) % 256
    mask_of(two_folders).write_bytes(encoded(ids, "PNG"))
    np.testing.assert_array_equal(read_example(of_folders(two_folders), 0)[1], ids)


def test_special_files_are_never_read(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(2**30)
    messages = {
        "folder.png": "a folder, not a file",
        "pipe.png": "not a regular file",
        "endless.png": "not a regular file",
        "loop.png": "cannot be read (Too many levels of symbolic links)",
        "sparse.png": "1,073,741,824 bytes; at most",
        "a" * 300: "cannot be read (File name too long)",
        "none.png": "no such file",
    }
    for name, message in messages.items():
        for read in READERS:
            assert f"{name}: {message}" in error_of(read, tmp_path / name)
    with pytest.raises(DataError, match="not contain a zero byte"):
        read_image(tmp_path / "a\0b.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_named(tmp_path):
    (tmp_path / "a.png").touch(mode=0)
    assert "no permission to read it" in error_of(read_image, tmp_path / "a.png")


@pytest.mark.parametrize("start", [b"GIF89a\1\0\1\0\1\0\0", b"\xff\xd8\xff\xe0", b"%!PS-Adobe"])
def test_incomplete_file_is_rejected_quickly(tmp_path, start):
    path = tmp_path / "a.jpg"
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(50_000_000)  # Pillow scans it byte by byte for four seconds.
    begin = time.perf_counter()
    error_of(read_image, path)
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("new\nline.png", "new\\nline.png"),
        ("\x1b[31mred.png", "\\x1b[31mred.png"),
        (os.fsdecode(b"\xff\xfe.png"), "\\udcff\\udcfe.png"),
        ("日本 'é\".png", "日本 'é\".png"),
    ],
)
def test_any_file_name_prints_on_one_line(two_folders, name, shown):
    path = image_of(two_folders).with_name(name)
    try:
        path.write_bytes(b"<html>")
    except OSError:
        pytest.skip("the file system has no such names")
    shutil.copy(mask_of(two_folders), mask_of(two_folders).with_name(name))
    text = the_fault(two_folders)
    assert f"/{shown}: not an image" in text and "\n" not in text
    text.encode()  # No lone surrogates, so that it can be printed.


def test_file_names_in_commands_are_quoted(tmp_path):
    (tmp_path / "it's.tif").write_bytes(b"MM\0*")
    text = str(pytest.raises(DataError, read_image, tmp_path / "it's.tif").value)
    assert """magick 'it'"'"'s.tif' 'it'"'"'s.png'""" in text


def test_unreadable_metadata_is_ignored(tmp_path, picture):
    # Pillow would print warnings.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(60))
    for name, content in (
        ("a.jpg", encoded(picture, "JPEG", exif=exif)),
        ("b.jpg", encoded(picture, "JPEG", exif=b"Exif\0\0" + bytes(range(60)))),
        ("c.png", png(56, 40, bytes(57 * 40), after=chunk(b"eXIf", exif[6:]))),
    ):
        (tmp_path / name).write_bytes(content)
    found = measured(*(tmp_path / name for name in ("a.jpg", "b.jpg", "c.png")))
    assert [text for text, *_ in found.values()] == ["(40, 56, 3)"] * 3


@pytest.mark.parametrize("kind", ["MPO", "JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_any_damage_gives_pixels_or_names_the_file(tmp_path, picture, kind):
    # A long run of this test (about 300 000 cases over 45 files) found nothing else.
    path, chance = tmp_path / "a", random.Random(0)
    options = (
        {"save_all": True, "append_images": [Image.fromarray(picture)]} if kind == "MPO" else {}
    )
    whole = encoded(picture, kind, **options)
    for _ in range(150):
        content = bytearray(whole)
        at = chance.randrange(min(len(whole), chance.choice([60, 600, len(whole)])))
        change = chance.choice(["cut", "flip", "insert", "remove", "several"])
        if change == "cut":
            del content[at:]
        elif change == "flip":
            content[at] ^= 1 << chance.randrange(8)
        elif change == "insert":
            content[at:at] = chance.randbytes(chance.choice([1, 2, 64]))
        elif change == "remove":
            del content[at : at + chance.choice([1, 2, 9])]
        else:
            for _ in range(5):
                content[chance.randrange(min(len(content), 120))] = chance.randrange(256)
        path.write_bytes(content)
        for read in READERS:
            try:
                assert read(path).size
            except DataError as error:
                assert str(path) in str(error) and "\n" not in str(error)


def test_arrays_and_objects_with_bytes_are_sources(picture, ids):
    class Stored:
        def read_bytes(self):
            return encoded(picture, "PNG")[:99]

        def __str__(self):
            return "record 7"

    with pytest.raises(DataError, match="^record 7: damaged or unreadable"):
        read_image(Stored())
    split = Split("a", (Example("0", picture, ids),), ("x", "y", "z"), np.zeros((3, 3)), {0: 0})
    with pytest.raises(DataError, match="label value 1"):
        read_example(split, 0)
