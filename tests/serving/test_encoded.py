"""Decoding in the graph gives the pixels that training reads, and errors name the image."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from png import chunk, png

from fcn_keras.serving.encoded import decode
from pipelines import DataError, read_image

NAME = "image_bytes[7]"


@pytest.fixture(scope="module")
def decoded():
    @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
    def function(data):
        return decode(data, NAME, max_pixels=500 * 500)

    return lambda data: function(data).numpy()


class File:
    def __init__(self, data):
        self.data = data

    def read_bytes(self):
        return self.data


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(mode="RGB", size=(23, 17)):
    rng = np.random.default_rng(1)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 4), "uint8"), "RGBA").convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("quality", [5, 75, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs(decoded, mode, quality, subsampling, progressive):
    picture = noise(mode).resize((131, 93))
    data = encode(
        picture, "jpeg", quality=quality, subsampling=subsampling, progressive=progressive
    )
    np.testing.assert_array_equal(decoded(data), read_image(File(data)))


def test_a_jpeg_with_fill_bytes_restarts_and_orientation(decoded):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(noise(), "jpeg", exif=exif, restart_marker_rows=1, comment=b"\xff\xd9 no end")
    data = data[:2] + b"\xff\xff\xff" + data[2:]
    np.testing.assert_array_equal(decoded(data), read_image(File(data)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA"])
def test_pngs(decoded, mode):
    data = encode(noise(mode), "png")
    np.testing.assert_array_equal(decoded(data), read_image(File(data)))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [None, 1, b"\x10\x80"])
def test_palettes(decoded, bits, transparency):
    options = {} if transparency is None else {"transparency": transparency}
    data = encode(noise().quantize(2**bits), "png", bits=bits, **options)
    np.testing.assert_array_equal(decoded(data), read_image(File(data)))


@pytest.mark.parametrize(
    ("mode", "transparency"), [("L", 100), ("RGB", (128, 128, 0)), ("RGB", (1, 2, 3))]
)
def test_one_transparent_colour(decoded, mode, transparency):
    levels = np.asarray(noise(mode)) // 4 * 4
    levels.flat[:3] = transparency
    data = encode(Image.fromarray(levels), "png", transparency=transparency)
    np.testing.assert_array_equal(decoded(data), read_image(File(data)))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits(decoded, rng, colour_type, channels):
    values = rng.integers(0, 65536, (9, 11 * channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    data = png(11, 9, rows, bits=16, colour_type=colour_type)
    np.testing.assert_array_equal(decoded(data), read_image(File(data)))


def test_real_files_are_read_or_refused_as_in_training(shared, decoded):
    paths = [*(shared / "data" / "ugly").iterdir(), *(shared / "data").rglob("VOC*/**/*.jpg")]
    read = 0
    for path in paths:
        data = path.read_bytes()
        try:
            expected = read_image(path) if data.startswith((b"\xff\xd8\xff", b"\x89PNG")) else None
        except DataError:
            expected = None
        if expected is None:
            with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes"):
                decoded(data)
            continue
        difference = abs(decoded(data).astype(int) - expected).max()
        assert difference <= ("cmyk" in path.name), path  # CMYK may differ by one grey level.
        read += 1
    assert read >= 10


TEXT = chunk(b"zTXt", b"key\0\0" + zlib.compress(b"text"))
JPEG, PNG = encode(noise(), "jpeg"), encode(noise(), "png")
SCANS = JPEG[:-2] + b"\xff\xda\0\2" * 101 + b"\xff\xd9"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes that are not a JPEG or PNG file"),
        (JPEG[:3], "3 bytes that are not a JPEG or PNG file"),
        (encode(noise(), "gif"), "bytes that are not a JPEG or PNG file"),
        (encode(noise(), "webp"), "bytes that are not a JPEG or PNG file"),
        (b"<html>" * 9, "54 bytes that are not a JPEG or PNG file"),
        (JPEG[:100], "damaged: its header gives no size"),
        (JPEG[:3] + bytes(99), "damaged: its header gives no size"),
        (png(0, 5, b""), "damaged: its header gives no size"),
        (JPEG[: len(JPEG) // 2], "truncated: its end is missing"),
        (PNG[: len(PNG) // 2], "truncated: its end is missing"),
        (SCANS, "102 scans; at most 100 are allowed"),
        (encode(Image.new("L", (501, 500)), "png"), "500 x 501 pixels; at most 250000 in total"),
        (encode(Image.new("L", (500, 501)), "jpeg"), "501 x 500 pixels; at most 250000 in total"),
        (png(2**31 - 1, 2**31 - 1, b""), "2147483647 x 2147483647 pixels; at most 250000"),
        (JPEG[:2] + b"\xff\xe5\0\2" * 100_000 + JPEG[2:], "more than 1000 JPEG segments"),
        (png(1, 1, b"\0\0", before=9 * TEXT), "9 compressed texts or profiles; at most 8"),
        (png(1, 1, b"\0\0", after=9 * TEXT), "9 compressed texts or profiles; at most 8"),
        (PNG + bytes(2_048_576), "bytes; at most 2048576 are allowed"),
    ],
)
def test_undecodable_data_is_refused_with_its_name(decoded, data, message):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        decoded(data)
    assert f"{NAME}: " in error.value.message and message in error.value.message


def test_a_few_texts_and_many_filler_bytes_are_allowed(decoded):
    data = png(1, 1, b"\0\7", before=4 * TEXT, after=4 * TEXT)
    assert decoded(data).tolist() == [[[7, 7, 7]]]
    filled = JPEG[:2] + b"\xff" * 100_000 + JPEG[2:]
    np.testing.assert_array_equal(decoded(filled), read_image(File(JPEG)))


@pytest.mark.slow
@pytest.mark.parametrize(("colour_type", "bits", "most"), [(2, 8, 150), (0, 16, 350), (6, 8, 450)])
def test_flat_pngs_take_little_memory(colour_type, bits, most, tmp_path):
    # In a process of its own, whose peak nothing else has raised; 800 MB before.
    row = b"\0" + b"\x55" * (4096 * {0: 1, 2: 3, 6: 4}[colour_type] * bits // 8)
    (tmp_path / "flat.png").write_bytes(
        png(4096, 4096, row * 4096, bits=bits, colour_type=colour_type)
    )
    code = (
        "import resource, sys, tensorflow as tf\n"
        "from fcn_keras.serving.encoded import decode\n"
        "spec = [tf.TensorSpec((), tf.string)]\n"
        "function = tf.function(lambda data: decode(data, tf.constant('a')), spec)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "function(tf.io.encode_png(tf.zeros((9, 9, 3), tf.uint8)))\n"
        "before = peak()\n"
        "assert function(open(sys.argv[1], 'rb').read()).shape == (4096, 4096, 3)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "flat.png")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < most


def test_damaged_pixels_are_refused_by_the_decoder(decoded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes"):
        decoded(PNG[:60] + b"?" + PNG[61:])


def oriented(orientation, endian="<"):
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0112], exif[0x8298] = "maker", orientation, "owner"
    return exif


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_images_are_turned_upright_as_pillow_turns_them(decoded, kind, orientation, endian):
    data = encode(noise(), kind, exif=oriented(orientation, endian))
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decoded(data), expected)
    np.testing.assert_array_equal(read_image(File(data)), expected)


def test_exif_after_the_pixels_of_a_png_is_found(decoded):
    exif = chunk(b"eXIf", oriented(6).tobytes().removeprefix(b"Exif\0\0"))
    data = png(2, 2, b"\0\1\2" * 2, after=exif)
    assert decoded(data)[..., 0].tolist() == [[1, 1], [2, 2]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow's, which users do not see.
@pytest.mark.parametrize("cut", [*range(0, 30, 3), 30, 31])
@pytest.mark.parametrize("value", [6, 9])
def test_incomplete_exif_is_ignored_as_in_training(decoded, cut, value):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x03\0\0\0\x01\0\7\0\0"
    exif += b"\x01\x12\0\x03\0\0\0\x01\0" + bytes([value])
    data = encode(noise(), "jpeg", exif=exif[: len(exif) - cut])
    turned = value == 6 and cut == 0
    assert decoded(data).shape == ((23, 17, 3) if turned else (17, 23, 3))
    np.testing.assert_array_equal(decoded(data), read_image(File(data)))


def test_exif_of_a_thumbnail_or_a_video_is_not_the_photos(decoded):
    other = encode(noise(), "jpeg", exif=oriented(6))
    data = encode(noise(), "jpeg", comment=other) + other
    np.testing.assert_array_equal(decoded(data), read_image(File(data)))
    assert decoded(data).shape == (17, 23, 3)


def test_motion_photos_are_decoded(decoded):
    thumbnail = oriented(3)
    thumbnail[0x9286] = encode(noise(), "jpeg") + b"\xff\xda" * 120
    photo = encode(noise(), "jpeg", exif=thumbnail, progressive=True)
    video = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x0c" * 500 + b"\xff\xd9" * 9
    np.testing.assert_array_equal(decoded(photo + video), read_image(File(photo)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes"):
        decoded(photo[:-60] + video)


@pytest.mark.parametrize("key", [(0x1234, 0x5678, 0x9ABC), (0x12, 0x56, 0x9A)])
def test_a_transparent_colour_of_16_bits(decoded, key):
    other = [0x1234, 0x5678, 0x9A00]
    row = b"\0" + struct.pack(">6H", *key, *other)
    trns = chunk(b"tRNS", struct.pack(">3H", *key))
    data = png(2, 1, row, bits=16, colour_type=2, before=trns)
    assert decoded(data).tolist() == [[[255] * 3, [0x12, 0x56, 0x9A]]]
    np.testing.assert_array_equal(decoded(data), read_image(File(data)))


def test_too_many_markers_are_refused():
    data = b"\xff\xd8" + b"\xff\xe0" * (1 << 20)
    with pytest.raises(tf.errors.InvalidArgumentError, match="damaged: 1048577 JPEG markers"):
        decode(tf.constant(data), tf.constant(NAME))
