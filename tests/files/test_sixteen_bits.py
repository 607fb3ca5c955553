"""16-bit PNGs: one transparent colour, and values that use little of the range."""

import re
import struct

import numpy as np
import pytest
from PIL import Image
from png import chunk, png

from pipelines import read_image


def deep(path, values, before=b""):
    """Writes 16-bit values `[h, w, channels]` as a PNG."""
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    height, width = values.shape[:2]
    path.write_bytes(png(width, height, rows, bits=16, colour_type=colour_type, before=before))
    return path


def transparent(*levels):
    return chunk(b"tRNS", struct.pack(f">{len(levels)}H", *levels))


def test_the_transparent_colour_is_compared_with_all_16_bits(tmp_path):
    values = np.array([[[0x1234, 0x5678, 0x9ABC], [0x1235, 0x5678, 0x9ABC]]])
    path = deep(tmp_path / "a.png", values, transparent(0x1234, 0x5678, 0x9ABC))
    notes = []
    np.testing.assert_array_equal(read_image(path, notes)[0], [[255] * 3, [0x12, 0x56, 0x9A]])
    assert "transparency" in [note.kind for note in notes]


def test_a_16_bit_colour_is_not_compared_with_its_high_bytes(tmp_path):
    values = np.array([[[0x0012, 0x0056, 0x009A], [0x1200, 0x5600, 0x9A00]]])
    path = deep(tmp_path / "a.png", values, transparent(0x12, 0x56, 0x9A))
    np.testing.assert_array_equal(read_image(path)[0], [[255] * 3, [0x12, 0x56, 0x9A]])


@pytest.mark.parametrize(("bits", "colour_type"), [(2, 0), (4, 0), (8, 0), (8, 2)])
def test_surplus_bits_of_a_transparent_level_are_ignored(tmp_path, bits, colour_type):
    """The PNG standard: "If the image bit depth is less than 16, the least significant bits"."""
    channels = 3 if colour_type else 1
    key = transparent(*[(7 << bits) + 1] * channels)
    row = bytes([0]) + bytes([1 << (8 - bits)] * channels)
    data = png(1, 1, row, bits=bits, colour_type=colour_type, before=key)
    (tmp_path / "a.png").write_bytes(data)
    assert read_image(tmp_path / "a.png").tolist() == [[[255] * 3]]


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_unscaled_camera_values_are_warned_of(tmp_path, bits, channels):
    values = np.arange(2**14).reshape(128, 128) % 2**bits
    layers = np.repeat(values[..., None], channels, axis=-1)
    if channels in (2, 4):
        layers[..., -1] = 65535
    notes = []
    image = read_image(deep(tmp_path / "a.png", layers), notes)
    (note,) = notes
    left = len(np.unique(image))
    assert note.kind == "low contrast" and note.value == left <= 2 ** (bits - 8) + 1
    text = f"its 16-bit values are 0..{2**bits - 1} of 0..65535, so in 8 bits only {left} of "
    assert f"a.png: {text}{2**bits:,} levels are left." in str(note)


@pytest.mark.parametrize(
    ("low", "outliers"),
    [(0, [65535]), (30000, [0]), (0, [65535] * 40), (8000, [0] * 20 + [65535] * 20)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_hot_and_dead_pixels_do_not_hide_unscaled_values(tmp_path, low, outliers, channels):
    values = low + np.arange(2**14) % 2**12
    values[: len(outliers)] = outliers
    layers = np.repeat(values.reshape(128, 128, 1), channels, axis=-1)
    notes = []
    image = read_image(deep(tmp_path / "a.png", layers), notes)
    (note,) = notes
    assert note.kind == "low contrast" and 16 <= note.value <= len(np.unique(image)) <= 19
    found = re.search(r": 99% of its 16-bit values are (\d+)\.\.(\d+) of 0\.\.65535", str(note))
    expected = low + np.array([0, 4095])
    np.testing.assert_allclose([int(number) for number in found.groups()], expected, atol=60)


def test_small_images_may_have_one_hot_pixel(tmp_path):
    values = 100 + 40 * np.arange(100).reshape(10, 10)
    values[3, 3] = 65535
    notes = []
    read_image(deep(tmp_path / "a.png", values[..., None]), notes)
    assert [note.kind for note in notes] == ["low contrast"]


@pytest.mark.parametrize(
    "values",
    [
        np.arange(2**16).reshape(256, 256),
        np.arange(256).reshape(16, 16) * 257,
        np.arange(40).reshape(5, 8) * 257,  # Dark, but 8 bits hold all of it.
        np.full((4, 4), 4095),
        np.repeat([0, 65535], [98, 2]).reshape(10, 10),  # Few, but too many for outliers.
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_values_that_lose_nothing_are_not_warned_of(tmp_path, values, channels):
    notes = []
    read_image(deep(tmp_path / "a.png", np.repeat(values[..., None], channels, axis=-1)), notes)
    assert not notes


@pytest.mark.parametrize("first", [0, 30_000, 61_439])
def test_a_narrow_range_is_warned_of_wherever_it_lies(tmp_path, first):
    values = first + np.arange(2**12).reshape(64, 64)
    notes = []
    read_image(deep(tmp_path / "a.png", values[..., None]), notes)
    (note,) = notes
    text = f"its 16-bit values are {first}..{first + 4095} of 0..65535, so in 8 bits only"
    assert text in str(note) and "of 4,096 levels" in str(note) and note.file == tmp_path / "a.png"


@pytest.mark.parametrize(("count", "expected"), [(2**14, 1), (2**14 + 1, 0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_quarter_of_the_range_is_enough(tmp_path, count, expected, channels):
    values = np.repeat(np.arange(count)[None, :, None], channels, axis=-1)
    notes = []
    read_image(deep(tmp_path / "a.png", values), notes)
    assert len(notes) == expected


def test_data_check_warns_of_12_bit_images(two_folders, fcn_keras_cli, rng):
    for number in range(4):
        (two_folders / "train" / "images" / f"{number}.jpg").unlink()
        image = Image.fromarray(rng.integers(0, 4096, (40, 56), "uint16"))
        image.save(two_folders / "train" / "images" / f"{number}.png")
    status, _, err = fcn_keras_cli("data", "check", two_folders / "data.yaml")
    assert status == 0 and "(4 files like this)" in err and "in 8 bits only 17 of" in err
