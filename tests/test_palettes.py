"""Palette masks whose palettes are in another order than the classes."""

import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines import DataError, read_example
from pipelines.checking.examine import examine
from pipelines.palettes import resolve

ROOF, ROAD, TREE = (220, 20, 60), (128, 64, 128), (107, 142, 35)
CLASSES = "classes:\n" + "".join(
    f"  - {{name: {name}, colour: {list(colour)}}}\n"
    for name, colour in (("roof", ROOF), ("road", ROAD), ("tree", TREE))
)
IDS = np.array([[0, 1, 2, 2], [2, 2, 1, 1]], "uint8")


@pytest.fixture
def masks(tmp_path):
    """Writes palette masks of `IDS`, each with its own order of colours; returns the split."""

    def write(*palettes, more="", classes=CLASSES, indices=IDS, kind="png"):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for number, palette in enumerate(palettes):
            Image.new("RGB", (4, 2)).save(tmp_path / "images" / f"{number}.png")
            mask = Image.fromarray(indices, "P")
            mask.putpalette(np.array(palette, "uint8").tobytes())
            mask.save(tmp_path / "masks" / f"{number}.{kind}")
        data = tmp_path / "data.yaml"
        data.write_text(f"train: {{images: images, masks: masks}}\n{classes}{more}")
        return pipelines.read(data, "train")

    return write


def classes_of(split):
    return [read_example(split, index)[1] for index in range(len(split))]


@pytest.mark.parametrize("kind", ["png", "bmp", "gif"])
def test_each_file_may_have_its_own_order_of_colours(masks, kind):
    split = masks((ROOF, ROAD, TREE), (TREE, ROOF, ROAD), (ROAD, TREE, ROOF), kind=kind)
    first, second, third = classes_of(split)
    np.testing.assert_array_equal(first, IDS)
    np.testing.assert_array_equal(second, np.array([2, 0, 1])[IDS])
    np.testing.assert_array_equal(third, np.array([1, 2, 0])[IDS])
    found = examine(split)
    assert not found.faults and not found.warnings
    # By hand: IDS has 1, 3 and 4 pixels of the indices 0, 1 and 2.
    assert found.class_pixels.tolist() == [1 + 3 + 4, 3 + 4 + 1, 4 + 1 + 3]


def test_colours_of_void_count_as_declared(masks):
    split = masks(((0, 0, 0), ROOF, ROAD), more="ignore: [[0, 0, 0]]\n")
    np.testing.assert_array_equal(classes_of(split)[0], np.array([255, 0, 1])[IDS])


def test_values_beyond_the_classes_are_read_by_colour(masks):
    split = masks([*[(9, 9, 9)] * 7, ROOF, ROAD, TREE], indices=IDS + 7)
    np.testing.assert_array_equal(classes_of(split)[0], IDS)


def test_joint_batches_read_colours_too(masks):
    split = masks((TREE, ROOF, ROAD))
    ((_, mask),) = pipelines.joint_dataset(split, split)
    np.testing.assert_array_equal(mask[0], np.array([2, 0, 1])[IDS])


def test_unused_entries_do_not_matter(masks):
    split = masks((ROOF, ROAD, TREE, ROOF, (1, 2, 3)))
    np.testing.assert_array_equal(classes_of(split)[0], IDS)


@pytest.mark.parametrize("palette", [(TREE, ROOF, (1, 2, 3)), ((1, 2, 3), TREE, ROOF)])
def test_a_contradiction_with_unknown_colours_is_a_fault(masks, palette):
    split = masks((ROOF, ROAD, TREE), palette)
    (fault,) = examine(split).faults
    assert fault.kind == "palette contradicts classes" and fault.file.name == "1.png"
    assert "has (1, 2, 3), which is not declared" in str(fault) and "RGB PNG" in str(fault)
    with pytest.raises(DataError, match="has the colour of '(tree|roof)' in the file's palette"):
        read_example(split, 1)


@pytest.mark.parametrize(
    ("palette", "indices", "message"),
    [
        ((ROAD, (1, 2, 3), TREE), IDS, "0 is 'roof', but has the colour of 'road'"),
        ((TREE, ROOF), IDS, "0 is 'roof', but has the colour of 'tree'"),
        ([(1, 2, 3)] * 255 + [ROAD], IDS - 1, "255 is void, but has the colour of 'road'"),
        ([(1, 2, 3)] * 8 + [ROAD], IDS * 4, "8 is no class, but has the colour of 'road'"),
    ],
)
def test_a_contradiction_names_value_and_class(masks, palette, indices, message):
    split = masks((ROOF, ROAD, TREE))
    with pytest.raises(DataError) as error:
        resolve(split, split.examples[0], indices, np.array(palette, "uint8"))
    assert f"0.png: value {message} in the file's palette" in str(error.value)
    beyond = "value 2 has no colour" if len(palette) == 2 else "has (1, 2, 3)"
    assert f"{beyond}, which is not declared" in str(error.value)


def test_undeclared_colours_beside_right_ones_are_a_warning(masks):
    split = masks((ROOF, (1, 2, 3), TREE))
    np.testing.assert_array_equal(classes_of(split)[0], IDS)
    (warning,) = examine(split).warnings
    assert "value 1 is read as 'road', although its colour in the file's palette is (1, 2, 3)" in (
        str(warning)
    )
    assert warning.file == split.examples[0].mask and warning.value == 1


def test_classes_without_a_colour_and_void_may_have_any(masks):
    classes = f"classes: [roof, road, {{name: tree, colour: {list(TREE)}}}]\n"
    palette = pipelines.distinct_palette(256)
    palette[2] = TREE
    split = masks(palette, classes=classes, indices=np.where(IDS == 0, 255, IDS).astype("uint8"))
    np.testing.assert_array_equal(classes_of(split)[0], np.where(IDS == 0, 255, IDS))
    assert not examine(split).warnings


def test_a_palette_of_other_colours_keeps_the_indices_with_a_warning(masks):
    """PASCAL VOC's palette beside colours that are declared for pictures."""
    split = masks(pipelines.distinct_palette(3))
    np.testing.assert_array_equal(classes_of(split)[0], IDS)
    (warning,) = examine(split).warnings
    assert "value 0 is read as 'roof', although its colour in the file's palette is (0, 0, 0)" in (
        str(warning)
    )


def test_without_declared_colours_the_indices_count(masks):
    split = masks((TREE, ROOF, ROAD), classes="classes: [roof, road, tree]\n")
    np.testing.assert_array_equal(classes_of(split)[0], IDS)
    assert not examine(split).warnings
