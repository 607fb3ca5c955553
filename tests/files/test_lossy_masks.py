"""JPEG masks, read as the YAML file declares: by a threshold or by the nearest colour."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from png import chunk, png

import pipelines
from pipelines import DataError, read_example
from pipelines.checking.examine import examine

TWO = "classes: [ground, {name: car, value: 255}]\nignore: []\n"
COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)], "uint8")
FOUR = "classes:\n" + "".join(
    f"  - {{name: c{i}, colour: {colour}}}\n" for i, colour in enumerate(COLOURS.tolist())
)


@pytest.fixture
def regions():
    """Class ids 0..3 in quarters of 40 x 60."""
    ids = np.zeros((40, 60), "uint8")
    ids[:20, 30:], ids[20:, :30], ids[20:, 30:] = 1, 2, 3
    return ids


@pytest.fixture
def read(tmp_path):
    """Saves masks beside black images, and returns the split."""

    def read(yaml, *masks, kind="JPEG", **options):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for number, mask in enumerate(masks):
            Image.new("RGB", mask.shape[1::-1]).save(tmp_path / "images" / f"{number}.png")
            name = tmp_path / "masks" / f"{number}.{'png' if kind == 'PNG' else 'jpg'}"
            Image.fromarray(mask).save(name, kind, **options)
        data = tmp_path / "data.yaml"
        data.write_text(f"train: {{images: images, masks: masks}}\n{yaml}")
        return pipelines.read(data, "train")

    return read


@pytest.mark.parametrize(("limit", "expected"), [(127, [0, 0, 1, 1]), (199, [0, 0, 0, 1])])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_threshold_divides_grey_levels(read, regions, limit, expected, mode):
    levels = np.array([0, 100, 160, 255], "uint8")[regions]
    levels = levels if mode == "L" else np.repeat(levels[..., None], 3, axis=-1)
    split = read(f"{TWO}mask_threshold: {limit}\n", levels, quality=95)
    mask = read_example(split, 0)[1]
    inner = np.s_[2:18, 2:28], np.s_[2:18, 32:58], np.s_[22:38, 2:28], np.s_[22:38, 32:58]
    assert [np.unique(mask[part]).tolist() for part in inner] == [[c] for c in expected]
    # The reference: OpenCV's threshold of what OpenCV decodes.
    levels = cv2.imread(str(split.examples[0].mask), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(mask, cv2.threshold(levels, limit, 1, cv2.THRESH_BINARY)[1])


def test_a_threshold_reads_lossless_masks_too(read):
    smooth = np.tile(np.arange(0, 256, 5, dtype="uint8"), (40, 1))
    mask = read_example(read(f"{TWO}mask_threshold: 127\n", smooth, kind="PNG"), 0)[1]
    np.testing.assert_array_equal(mask, smooth > 127)
    bits = np.eye(40, 60) > 0
    mask = read_example(read(f"{TWO}mask_threshold: 127\n", bits, kind="PNG"), 0)[1]
    np.testing.assert_array_equal(mask, bits)


def test_declared_values_decide_which_class_is_bright(read, regions):
    levels = np.where(regions > 1, np.uint8(250), np.uint8(3))
    dark_second = "classes: [{name: car, value: 255}, {name: ground, value: 0}]\nignore: []\n"
    mask = read_example(read(f"{dark_second}mask_threshold: 127\n", levels), 0)[1]
    np.testing.assert_array_equal(mask[3:17], 1)
    plain = "classes: [ground, car]\n"
    mask = read_example(read(f"{plain}mask_threshold: 127\n", levels), 0)[1]
    np.testing.assert_array_equal(mask[23:37], 1)


def palette_mask(indices, colours):
    mask = Image.fromarray(indices, "P")
    mask.putpalette(np.array(colours, "uint8").tobytes())
    return mask


WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize("indices", [(0, 1), (1, 0), (0, 200), (200, 1)])
def test_a_threshold_reads_the_brightness_of_palettes(read, regions, indices):
    dark, bright = indices
    colours = np.full((256, 3), 9, "uint8")
    colours[dark], colours[bright] = BLACK, WHITE
    split = read(f"{TWO}mask_threshold: 127\n", regions)
    mask = palette_mask(np.where(regions > 1, bright, dark).astype("uint8"), colours)
    mask.save(split.examples[0].mask, "PNG")
    np.testing.assert_array_equal(read_example(split, 0)[1], regions > 1)


def test_a_palette_without_the_colour_of_a_pixel_is_a_fault(read, regions):
    split = read(f"{TWO}mask_threshold: 127\n", regions)
    rows = b"".join(b"\0" + row.tobytes() for row in regions)
    palette = chunk(b"PLTE", bytes(BLACK + WHITE))
    split.examples[0].mask.write_bytes(png(60, 40, rows, colour_type=3, before=palette))
    with pytest.raises(DataError, match="its palette has no colour 3"):
        read_example(split, 0)


def test_a_threshold_is_for_8_bits_whatever_the_file_has(read, regions):
    levels = np.array([0, 2000, 40000, 65535], "uint16")[regions]
    split = read(f"{TWO}mask_threshold: 127\n", levels, kind="PNG")
    np.testing.assert_array_equal(read_example(split, 0)[1], regions > 1)
    split = read(f"{TWO}mask_threshold: 127\n", levels // 257, kind="PNG")
    with pytest.raises(DataError, match="its values .* are all up to the threshold.*with 8 bits"):
        read_example(split, 0)


@pytest.mark.parametrize(
    ("limit", "count", "values"), [(127, 2, "[0, 1]"), (1, 2, "[0, 1]"), (9, 8, "[0, 1, 2, 3, 4]")]
)
def test_class_ids_below_the_threshold_are_a_fault(read, limit, count, values):
    ids = np.arange(48, dtype="uint8").reshape(6, 8) % count
    split = read(f"{TWO}mask_threshold: {limit}\n", ids, kind="PNG")
    (fault,) = examine(split).faults
    text = f"0.png: its values {values} are all up to the threshold in `mask_threshold: {limit}`"
    assert text in str(fault) and fault.kind == "nothing above the threshold"
    assert fault.file == split.examples[0].mask and fault.value == count - 1


@pytest.mark.parametrize(
    "yaml", [f"{TWO}mask_threshold: 127\n", f"{TWO}mask_nearest: true\n"], ids=["limit", "nearest"]
)
def test_colours_in_grey_masks_are_a_fault(read, yaml):
    pixels = np.full((4, 6, 3), 100, "uint8")
    pixels[0, 0, 0], pixels[2, 3, 2], pixels[3, 1, 2] = 148, 149, 200  # JPEG tints up to 48.
    split = read(yaml, pixels, kind="PNG")
    with pytest.raises(DataError, match=r"0\.png: .* `mask_nearest: true`") as error:
        read_example(split, 0)
    assert "has colours, such as (100, 100, 149) at row 2, column 3" in str(error.value)
    assert error.value.kind == "colours in a mask" and error.value.position == (2, 3)
    assert error.value.file == split.examples[0].mask
    example = pipelines.Example("0", np.zeros((4, 6, 3), "uint8"), pixels)
    with pytest.raises(DataError, match="has colours") as error:
        read_example(replace(split, examples=(example,)), 0)
    assert error.value.file is None  # An array has no name.


def test_tinted_grey_is_read_by_its_green_channel(read):
    # The luma of ITU-R BT.601 is 129 and 127: 0.299 r + 0.587 g + 0.114 b.
    pixels = np.array([[(120, 140, 100)] * 8, [(140, 115, 155)] * 8], "uint8")
    mask = read_example(read(f"{TWO}mask_threshold: 127\n", pixels, kind="PNG"), 0)[1]
    assert mask.tolist() == [[1] * 8, [0] * 8]


def test_similar_values_are_refused_up_to_a_difference_of_48(read, regions):
    text = "classes: [ground, {{name: car, value: {}}}]\nmask_nearest: true\nignore: []\n"
    assert len(read(text.format(48), regions)) == 1
    with pytest.raises(DataError, match="0 and 47 are too similar"):
        read(text.format(47), regions)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_the_nearest_colour_survives_compression(read, regions, quality):
    split = read(f"{FOUR}mask_nearest: true\n", COLOURS[regions], quality=quality)
    mask = read_example(split, 0)[1]
    assert (mask != regions).mean() < 0.06  # Near the outlines, in blocks of 16 pixels.
    for rows in (np.s_[:12], np.s_[34:]):
        for columns in (np.s_[:14], np.s_[50:]):
            np.testing.assert_array_equal(mask[rows, columns], regions[rows, columns])


def test_the_nearest_colour_is_that_of_the_smallest_distance(read, rng):
    pixels = rng.integers(0, 256, (16, 16, 3), "uint8")
    split = read(f"{FOUR}ignore: ['#ffffff']\nmask_nearest: true\n", pixels, kind="PNG")
    keys = np.array([(255, 255, 255), *COLOURS], "int64")
    distances = ((pixels[..., None, :].astype("int64") - keys) ** 2).sum(axis=-1)
    expected = np.array([255, 0, 1, 2, 3])[distances.argmin(axis=-1)]
    np.testing.assert_array_equal(read_example(split, 0)[1], expected)


def test_the_nearest_value_if_no_class_has_a_colour(read, regions):
    three = "classes: [ground, {name: road, value: 100}, {name: car, value: 200}]\n"
    levels = np.array([0, 100, 200, 255], "uint8")[regions]
    mask = read_example(read(f"{three}mask_nearest: true\n", levels, quality=95), 0)[1]
    assert (mask == np.array([0, 1, 2, 255])[regions]).mean() > 0.95


def test_palettes_of_their_own_order_are_read_by_colour(read, regions):
    """Also if their colours are a little off, as in palettes made from JPEG masks."""
    order = np.array([2, 0, 3, 1])
    split = read(f"{FOUR}mask_nearest: true\n", COLOURS[regions], regions, quality=95)
    near = np.clip(COLOURS[order].astype(int) + [7, -5, 9], 0, 255)
    palette_mask(regions, near).save(split.examples[1].mask, "PNG")
    np.testing.assert_array_equal(read_example(split, 1)[1], order[regions])
    unknown = palette_mask(regions, [COLOURS[2], COLOURS[0], COLOURS[3], (128, 0, 128)])
    unknown.save(split.examples[1].mask, "PNG")
    with pytest.raises(DataError, match=r"value 3 has \(128, 0, 128\), which is not declared"):
        read_example(split, 1)


@pytest.mark.parametrize("quality", [10, 30, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_an_area_of_a_colour_that_is_not_declared_is_a_fault(read, regions, quality, subsampling):
    three = FOUR[: FOUR.index("  - {name: c3")]
    options = {"quality": quality, "subsampling": subsampling}
    split = read(f"{three}mask_nearest: true\n", COLOURS[regions], COLOURS[regions % 3], **options)
    (fault,) = examine(split).faults
    assert fault.kind == "unknown colour" and fault.file.name == "0.jpg"
    row, column = fault.position
    assert row >= 20 and column >= 30 and abs(np.array(fault.value[0]) - (0, 0, 255)).max() < 20
    assert "not near any declared class; the nearest is (0, 0, 0)" in str(fault)
    void = read(f"{three}ignore: [[0, 0, 255]]\nmask_nearest: true\n", COLOURS[regions], **options)
    assert read_example(void, 0)[1][30, 50] == 255


def test_an_area_of_a_grey_level_that_is_not_declared_is_a_fault(read, regions):
    levels = np.array([0, 100, 200, 255], "uint8")[regions]
    two = "classes: [ground, {name: road, value: 100}]\nignore: [255]\nmask_nearest: true\n"
    with pytest.raises(DataError, match=r"an area of 200 around .* the nearest is 255"):
        read_example(read(two, levels, quality=90), 0)


@pytest.mark.parametrize("quality", [10, 30, 75])
def test_mixed_colours_at_outlines_are_not_taken_for_areas(read, rng, quality):
    ids = np.zeros((160, 200), "uint8")
    for _ in range(60):
        y, x = rng.integers(0, 160), rng.integers(0, 200)
        ids[y : y + rng.integers(2, 50), x : x + rng.integers(2, 50)] = rng.integers(0, 4)
    read_example(read(f"{FOUR}mask_nearest: true\n", COLOURS[ids], quality=quality), 0)


def test_the_data_check_warns_of_lossy_masks(read, regions):
    levels = np.where(regions > 1, np.uint8(250), np.uint8(3))
    found = examine(read(f"{TWO}mask_threshold: 127\n", levels))
    (warning,) = found.of_the_split()[1]
    assert not found.faults and "`mask_threshold: 127`, so pixels near outlines" in str(warning)


def test_the_usual_void_value_does_not_hinder_a_threshold(read, regions):
    levels = np.where(regions > 1, np.uint8(250), np.uint8(3))
    split = read("classes: [ground, car]\nignore: [255]\nmask_threshold: 127\n", levels)
    np.testing.assert_array_equal(read_example(split, 0)[1][:16], 0)
    np.testing.assert_array_equal(read_example(split, 0)[1][24:], 1)


def test_without_a_declaration_the_error_names_it(read, regions):
    (fault,) = examine(read(TWO, regions)).faults
    assert "the mask is a JPEG" in str(fault) and "set `mask_threshold: 127`" in str(fault)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        (f"{FOUR}mask_threshold: 127\n", "needs 2 classes, a dark and a bright one, found 4"),
        (f"{TWO}mask_threshold: 127\nmask_nearest: true\n", "give one of the two"),
        (
            "classes: [ground, {name: car, value: 255}]\nignore: [128]\nmask_threshold: 127\n",
            "`ignore` has 128. Remove it from `ignore`, or set `mask_nearest: true`",
        ),
        (
            "classes: [ground, {name: car, value: 128}]\nignore: [255]\nmask_threshold: 64\n",
            "`ignore` has 255",
        ),
        (
            "classes: [ground, car]\nignore: ['#808080']\nmask_threshold: 127\n",
            "`ignore` has (128, 128, 128)",
        ),
        (
            f"{TWO}mask_threshold: 255\n",
            "`mask_threshold`: must be a whole number 0..254, such as 127, found 255",
        ),
        ("classes: [a, b]\nmask_nearest: true\n", "0 and 1 are too similar"),
        (f"{FOUR}ignore: [[250, 9, 9]]\nmask_nearest: true\n", "are too similar"),
        (
            "classes: [{name: a, colour: [255, 255, 255]}, {name: b, colour: [0, 0, 0]}]\n"
            "mask_threshold: 127\n",
            "the other class has the brighter colour",
        ),
    ],
)
def test_declarations_that_cannot_work_are_errors(read, regions, yaml, message):
    with pytest.raises(DataError) as error:
        read(yaml, regions)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_lossy_masks_are_checked_for_damage(read, regions):
    split = read(f"{TWO}mask_threshold: 127\n", regions)
    path = split.examples[0].mask
    path.write_bytes(path.read_bytes()[:-30])
    (fault,) = examine(split).faults
    assert fault.kind == "damaged file"
