"""YAML files, lists and folders that are hostile or broken: one line, at once."""

import time

import pytest
from PIL import Image

import pipelines
from pipelines import DataError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
LAUGHS = f"{BOMB}classes: *i\n"
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 30)}]}}\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
CLASSES = "classes: [a, b]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "the alias *a is not supported. Write out what it stands for"),
        (MERGED, "the alias *a is not supported"),
        ("a: &a [*a]\n", "the alias *a is not supported"),
        ("? &a [x, x]\n: 1\n? [*a, *a]\n: 2\n", "the alias *a is not supported"),
        ("[" * 100_000, "nested more than 20 levels deep"),
        ("classes: " + "{a: " * 50_000, "nested more than 20 levels deep"),
        ("- " * 50_000, "nested more than 20 levels deep"),
        (f"{CLASSES}# {'x' * 600_000}", "600,018 bytes; at most 500,000 are read"),
        ("\n".join(f"key{i}: 1" for i in range(20_000)), "unknown key `key0`"),
        ("classes: [a, b]\nclasses: [a, b]\n", "the key `classes` appears twice"),
        (f"{CLASSES}num_classes: {'9' * 5000}", "not readable as YAML: a number of 5,000 digits"),
        (f"{CLASSES}val_share: 0x{'f' * 4000}", "a number of 4,002 digits. Correct it"),
        (f"classes: [a, {{name: b, value: 0x{'f' * 4000}}}]", "a number of 4,002 digits"),
        (f"{CLASSES}ignore: [0b{'1' * 20_000}]", "a number of 20,002 digits"),
        (f"{CLASSES}? 0x{'f' * 4000}\n: 1", "a number of 4,002 digits"),
        (f"{CLASSES}num_classes: {'9' * 90}", "`num_classes` is 999"),
        (f"{CLASSES}offset: 2026-13-01", "not readable as YAML: month must be in 1..12"),
        (f"{CLASSES}offset: !!int ''", "not readable as YAML"),
        (f"{CLASSES}offset: !!bool x", "not readable as YAML"),
        (f"{CLASSES}offset: !!timestamp x", "not readable as YAML"),
        (f"{CLASSES}? [a]\n: 1\n", "not readable as YAML"),
        (f"{CLASSES}ignore: !!python/object/apply:os.getcwd []", "not readable as YAML"),
        ("classes: [a, b]\0", "not readable as YAML"),
        (f"{CLASSES}? {'k' * 100_000}\n: 1", "unknown key `kkk"),
        (f"classes: [a, {'k' * 100_000}]", "`classes.1.name`: must be text of 1 to 1,000"),
        (f"classes: [a, '{'k' * 900}', '{'k' * 900}']", "two classes are called 'kkk"),
        (
            f"{CLASSES}num_classes: [{'[1, 2], ' * 20_000}]",
            "`num_classes`: must be the number of classes",
        ),
        (f"train: {{images: {'x' * 300}, masks: y}}\n{CLASSES}", "no such folder"),
        (f"train: {{images: {'a/' * 5000}, masks: y}}\n{CLASSES}", "text of at most 1,000 char"),
        (f"train: {{images: a, masks: b, mask_suffix: {'x' * 5000}}}\n{CLASSES}", "at most 1,000"),
        (f'train: {{images: "a\\0b", masks: y}}\n{CLASSES}', "has a zero byte"),
        (f'train: {{images: ., masks: ., list: "a\\0", mask_suffix: _m}}\n{CLASSES}', "zero byte"),
    ],
    ids=lambda text: text[:30].strip() if isinstance(text, str) else None,
)
def test_yaml_bombs_and_broken_values_give_one_short_line_at_once(tmp_path, text, message):
    data = tmp_path / "data.yaml"
    data.write_text(text)
    for name in ("a.jpg", "a_m.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    before = time.process_time()
    with pytest.raises(DataError) as error:
        pipelines.read(data, "train")
    assert time.process_time() - before < 20
    assert message in str(error.value) and str(data) in str(error.value)[: len(str(data)) + 5]
    assert "\n" not in str(error.value) and len(str(error.value)) < 2000


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        *((encoding, "a") for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
        *((encoding, "é") for encoding in ("utf-16", "utf-16-le", "latin-1", "cp437")),
    ],
)
def test_other_encodings_are_named(tmp_path, encoding, name):
    (tmp_path / "data.yaml").write_bytes(f"classes: [{name}, b]\n".encode(encoding))
    with pytest.raises(DataError, match=r"it is not UTF-8 text\. Save it as UTF-8\.$"):
        pipelines.read(tmp_path / "data.yaml", "train")


@pytest.mark.parametrize("name", ["x" * 300 + ".yaml", "x\0.yaml", "folder.yaml"])
def test_a_path_that_is_no_file_is_one_line(tmp_path, name):
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(DataError) as error:
        pipelines.read(tmp_path / name, "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a\0b", "list.txt: not a text file: line 2 has a zero byte"),
        ("x" * 300, "has no such image"),
        ("x" * 9000, "has no such image"),
        ("../" * 3000, "without `..` or a leading slash"),
    ],
)
def test_lists_with_impossible_names_are_explained(two_folders, line, message):
    (two_folders / "list.txt").write_text(f"0\n{line}\n1\n{line}\n")
    (two_folders / "data.yaml").write_text(
        "train: {images: train/images, masks: train/masks, list: list.txt}\n"
        "classes: [ground, road, car]\n"
    )
    with pytest.raises(DataError) as error:
        pipelines.read(two_folders / "data.yaml", "train")
    assert message in str(error.value) and len(str(error.value)) < 1500


def test_lists_must_be_utf8(two_folders):
    (two_folders / "list.txt").write_bytes("0\né\n".encode("latin-1"))
    (two_folders / "data.yaml").write_text(
        f"train: {{images: train/images, masks: train/masks, list: list.txt}}\n{CLASSES}"
    )
    with pytest.raises(DataError, match=r"list.txt: not a UTF-8 text file \(byte 2\)") as error:
        pipelines.read(two_folders / "data.yaml", "train")
    assert error.value.file == two_folders / "list.txt"


def test_a_list_with_too_long_a_name_is_explained(two_folders):
    (two_folders / "data.yaml").write_text(
        f"train: {{images: train/images, masks: train/masks, list: {'x' * 300}}}\n{CLASSES}"
    )
    with pytest.raises(DataError, match="File name too long"):
        pipelines.read(two_folders / "data.yaml", "train")


@pytest.mark.parametrize("line", ["a\0b", "x" * 300, "x/" * 3000 + "x"])
def test_lists_of_known_data_sets_with_impossible_names_are_explained(tmp_path, line):
    for name in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text(line)
    with pytest.raises(DataError) as error:
        pipelines.read("voc2012", "train", tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x" * 300, "x\0"])
def test_folders_with_impossible_names_do_not_exist(tmp_path, name):
    with pytest.raises(DataError, match=rf"data_dir='{tmp_path}/x.*': no such folder"):
        pipelines.read("camvid", "train", tmp_path / name)
    with pytest.raises(DataError, match="unknown"):
        pipelines.read(name, "train")
