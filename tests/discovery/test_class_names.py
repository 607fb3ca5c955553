"""Which file's class names `data init` takes, and for which values."""

import pytest
from drawn_folders import fill, made

import pipelines

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def names(root):
    data, description = made(root)
    split = pipelines.read(data, "train")
    values = {i: value for value, i in split.mask_values.items()}
    return {name: values[i] for i, name in enumerate(split.class_names)}, description


LABELME = "__ignore__\n_background_\nroad\ncar\n"


@pytest.mark.parametrize(
    ("file", "text"),
    [("labels.txt", LABELME), ("labels.json", str(LABELME.split()).replace("'", '"'))],
)
def test_ignore_of_labelme_takes_no_index(root, file, text):
    fill(root)
    (root / file).write_text(text)
    assert names(root)[0] == {"_background_": 0, "road": 1, "car": 2}


def test_the_table_nearest_to_the_masks_wins(root):
    fill(root, "set/JPEGImages/{}.jpg", "set/SegmentationClassPNG/{}.png")
    (root / "labels.txt").write_text("sky\ntree\nsea\n")
    (root / "set/class_names.txt").write_text("_background_\nroad\ncar\n")
    (root / "set/JPEGImages/x").mkdir()
    (root / "set/JPEGImages/x/classes.txt").write_text("a\nb\nc\n")
    found, description = names(root)
    assert found == {"_background_": 0, "road": 1, "car": 2}
    assert any("labels.txt" in n and "not used" in n for n in description.notes)


def test_tables_after_a_broken_one_are_read(root):
    fill(root)
    (root / "classes.json").write_text("no JSON")
    (root / "labels.txt").write_text("ground\nroad\ncar\n")
    (root / "names.json").write_text("[")
    assert names(root)[0] == {"ground": 0, "road": 1, "car": 2}


def test_two_tables_of_the_same_folder_that_differ_are_told(root):
    fill(root)
    (root / "classes.txt").write_text("a\nb\nc\n")
    (root / "labels.txt").write_text("c\nb\na\n")
    _, description = names(root)
    assert any("labels.txt" in n and "other names" in n for n in description.notes)


def test_colours_of_palettes_decide(root):
    fill(root, palette=PALETTE)
    (root / "label_colors.txt").write_text("128 0 0 road\n0 128 0 car\n0 0 0 ground\n9 9 9 rare\n")
    found, description = names(root)
    assert found == {"road": 1, "car": 2, "ground": 0}
    assert any("in no mask: rare" in note for note in description.notes)


def test_palettes_take_names_without_colours_too(root):
    fill(root, palette=PALETTE)
    (root / "classes.txt").write_text("ground\nroad\ncar\n")
    assert names(root)[0] == {"ground": 0, "road": 1, "car": 2}


def test_void_of_a_palette_needs_no_name(root):
    fill(root, values=(0, 1, 2, 255), palette=[*PALETTE, *[0] * 3 * 252, 224, 224, 192])
    (root / "label_colors.txt").write_text("128 0 0 road\n0 128 0 car\n0 0 0 ground\n")
    assert names(root)[0] == {"road": 1, "car": 2, "ground": 0}


def test_colours_that_contradict_do_not_fit(root):
    fill(root, palette=PALETTE)
    (root / "label_colors.txt").write_text("1 0 0 road\n0 128 0 car\n0 0 0 ground\n")
    assert names(root)[0] == {"background": 0, "class_1": 1, "class_2": 2}


def test_a_longer_list_does_not_fit_by_line_number(root):
    fill(root)
    (root / "classes.txt").write_text("a\nb\nc\nd")
    found, description = names(root)
    assert found == {"background": 0, "class_1": 1, "class_2": 2}
    assert any("4 classes, which do not match the 3 in the masks" in n for n in description.notes)


@pytest.mark.parametrize("file", ["class_names.txt", "labels.txt"])
def test_line_numbers_of_labelme_are_values_however_long_the_list(root, file):
    fill(root, values=(0, 1, 3))
    (root / file).write_text("__ignore__\n" * (file == "labels.txt") + "_background_\na\nb\nc\nd\n")
    found, description = names(root)
    assert found == {"_background_": 0, "a": 1, "b": 2, "c": 3, "d": 4}
    assert any("in no mask: b, d" in note for note in description.notes)


def test_line_numbers_fit_up_to_the_largest_value(root):
    fill(root, values=(0, 1, 4))
    (root / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    found, description = names(root)
    assert found == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}
    assert any("in no mask: c, d" in note for note in description.notes)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a": Infinity, "b": 1}',
        '{"a": NaN, "b": 1}',
        "9" * 100_000,
        '["' + "a, " * 200_000 + '", "b"]',
    ],
    ids=["lists", "objects", "infinity", "nan", "digits", "a long name"],
)
def test_hostile_tables_are_left_alone(root, text):
    fill(root)
    (root / "labels.json").write_text(text)
    (root / "labels.txt").write_text(text)
    assert list(names(root)[0]) == ["background", "class_1", "class_2"]
