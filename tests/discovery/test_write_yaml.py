"""`fcn-keras data init`: the YAML file for folders without a description."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_folders import RNG, fill, image, made, mask
from PIL import Image

import pipelines
from pipelines import DataError
from pipelines.discovery import folders, write_yaml
from pipelines.examples import read_example


@pytest.fixture
def root(tmp_path):
    (tmp_path / "my data").mkdir()
    return tmp_path / "my data"


SPLITS = ("train", "val", "test")


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{}/images/{{}}.jpg", "{}/masks/{{}}.png"),
        ("images/{}/{{}}.jpg", "masks/{}/{{}}.png"),
        ("{}/{{}}.png", "{}annot/{{}}.png"),
        ("a/{}/img/{{}}.jpg", "a/{}/ann/gt/{{}}.png"),
        ("{}/{{}}.jpg", "{}/{{}}_mask.png"),
        ("{}/photos/{{}}.jpg", "{}/x/{{}}_label.png"),
        ("one_{}/{{}}.jpg", "other_{}/{{}}.png"),  # Only the content of the files tells.
    ],
)
def test_splits_are_found(root, images, masks):
    for n, split in enumerate(SPLITS, 1):  # All splits have the same file names.
        fill(root, images.format(split), masks.format(split), range(2 * n))
    data, _ = made(root)
    for n, split in enumerate(SPLITS, 1):
        examples = pipelines.read(data, split)
        assert len(examples) == 2 * n
        for example in examples.examples:
            assert split in str(example.image) and split in str(example.mask)
        read_example(examples, 0)


@pytest.mark.parametrize(
    ("images", "masks", "suffix"),
    [
        ("images/{}.jpg", "masks/{}.png", None),
        ("images/{}.jpg", "images/{}_mask.png", "_mask"),
        ("{}.png", "{}_L.png", "_L"),
        ("{}.jpg", "{}-seg.png", "-seg"),
        ("701_StillsRaw_full/{}.png", "LabeledApproved_full/{}_L.png", "_L"),
        ("x/{}.jpg", "x_gt/{}_gt.png", "_gt"),
    ],
)
def test_val_is_a_share_without_splits(root, images, masks, suffix):
    fill(root, images, masks, [f"im {i} é" for i in range(10)])
    data, description = made(root)
    train, val = (pipelines.read(data, split) for split in ("train", "val"))
    assert len(train) + len(val) == 10 and len(val) > 0 and description.train_images == 10
    assert ("mask_suffix" in description.text) == (suffix is not None)
    assert str(root) not in "".join(
        line.split("#")[0] for line in description.text.splitlines()
    )  # Paths are relative.


def test_voc_lists_are_used(root):
    fill(root, "JPEGImages/{}.jpg", "SegmentationClass/{}.png", range(9))
    fill(root, "JPEGImages/{}.jpg", "SegmentationObject/{}.png", range(9))
    for name in range(20, 40):  # Most images have no masks.
        image(root / f"JPEGImages/{name}.jpg")
    for folder, lists in (
        ("Segmentation", {"train": range(5), "val": range(5, 9), "trainval": range(9)}),
        ("Main", {"train": range(30, 40), "val": range(20, 30)}),
    ):
        (root / "ImageSets" / folder).mkdir(parents=True)
        for split, names in lists.items():
            (root / "ImageSets" / folder / f"{split}.txt").write_text("\r\n".join(map(str, names)))
    data, _ = made(root)
    assert [len(pipelines.read(data, split)) for split in ("train", "val")] == [5, 4]
    assert "SegmentationClass" in str(pipelines.read(data, "val").examples[0].mask)


PALETTE = [0, 0, 0, 200, 0, 0, 0, 200, 0]
RED, BLUE, BLACK, WHITE = (200, 0, 0), (0, 0, 200), (0, 0, 0), (255, 255, 255)


@pytest.mark.parametrize(
    ("held", "values", "names"),
    [
        ((0, 1, 2), {0: 0, 1: 1, 2: 2, 255: 255}, ("background", "class_1", "class_2")),
        ((1, 0, 2), {0: 0, 1: 1, 2: 2, 255: 255}, ("class_0", "class_1", "class_2")),
        ((0, 1, 255), {0: 0, 1: 1, 255: 255}, ("background", "class_1")),
        ((0, 255), {0: 0, 255: 1}, ("background", "class_1")),
        ((255, 0), {0: 0, 255: 1}, ("background", "class_1")),
        ((1, 2, 3), {1: 0, 2: 1, 3: 2, 255: 255}, ("class_0", "class_1", "class_2")),
        ((1, 2, 255), {1: 0, 2: 1, 255: 255}, ("class_0", "class_1")),
        ((0, 2, 7), {0: 0, 2: 1, 7: 2, 255: 255}, ("background", "class_1", "class_2")),
        ((0, 128, 255), {0: 0, 128: 1, 255: 2}, ("background", "class_1", "class_2")),
        ((BLACK, BLACK, WHITE), {0: 0, 255: 1}, ("background", "class_1")),
    ],
)
def test_meaning_of_mask_values(root, held, values, names):
    fill(root, values=held)
    data, _ = made(root)
    split = pipelines.read(data, "train")
    assert split.mask_values == values and split.class_names == names
    assert pipelines.check(split).all()


def test_colour_masks_give_classes_by_colour(root):
    fill(root, values=(RED, BLACK, BLUE))
    mask(root / "masks/0.png", (BLACK,))
    mask(root / "masks/1.png", (0,))  # Some programs store black masks with one channel.
    data, _ = made(root)
    split = pipelines.read(data, "train")
    assert split.mask_colours == {BLACK: 0, BLUE: 1, RED: 2}
    for name in ("train", "val"):
        assert pipelines.check(pipelines.read(data, name))[0]


def test_class_ids_saved_as_rgb_give_classes_by_value(root):
    fill(root, values=((0,) * 3, (1,) * 3, (2,) * 3))
    mask(root / "masks/0.png", (0, 1, 2), palette=PALETTE)
    data, _ = made(root)
    split = pipelines.read(data, "train")
    assert split.mask_colours == {} and split.num_classes == 3
    assert pipelines.check(split).all()


def test_palettes_give_class_colours_and_must_agree(root):
    fill(root, palette=PALETTE)
    data, _ = made(root)
    assert pipelines.read(data, "train").palette.tolist() == np.reshape(PALETTE, (3, 3)).tolist()
    mask(root / "masks/5.png", palette=[0, 0, 0, 9, 9, 9, 0, 200, 0])
    with pytest.raises(
        DataError, match=r"5.png: value 1 is \(9, 9, 9\) in its palette, but"
    ) as error:
        made(root, "again.yaml")
    assert error.value.file == root / "masks/5.png"


def test_grey_palettes_are_no_class_colours(root):
    fill(root, palette=[0, 0, 0, 9, 9, 9, 200, 200, 200])
    data, _ = made(root)
    assert pipelines.read(data, "train").mask_colours == {}
    assert "colour" not in data.read_text().split("classes:")[1]


def test_many_colours_in_all_masks_together_are_explained(root):
    for name in range(8):
        image(root / f"images/{name}.jpg")
        mask(root / f"masks/{name}.png", [(i, 9, name) for i in range(10)])
    with pytest.raises(DataError, match="the masks together: 80 colours: .* So many mean"):
        made(root)


def test_masks_of_two_values_with_smooth_edges_are_explained(root):
    fill(root, values=(0,))
    edges = np.zeros((40, 56), "uint8")
    edges[:3, :10] = np.arange(140, 150)
    Image.fromarray(edges).save(root / "masks/3.png")
    with pytest.raises(DataError, match="the masks together: 11 values: 0 .* was smoothed"):
        made(root)


def test_masks_whose_palettes_have_their_own_order_are_read_by_colour(root):
    black, red, green, blue = (0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200)
    orders = [(black, red, green), (black, green, blue), (blue, black), (red, green, black)]
    for n, order in enumerate(orders):
        image(root / f"images/{n}.jpg")
        mask(root / f"masks/{n}.png", range(len(order)), palette=[c for rgb in order for c in rgb])
    (root / "labels.txt").write_text("0 0 0 sea\n200 0 0 roof\n0 200 0 wood\n0 0 200 pool\n")
    data, description = made(root)
    assert any("palettes differ" in note for note in description.notes)
    for name in ("train", "val"):
        split = pipelines.read(data, name)
        assert split.class_names == ("sea", "roof", "wood", "pool")
        for number, example in enumerate(split.examples):
            with Image.open(example.mask) as stored:
                expected = np.array(stored.convert("RGB"))
            _, ids = read_example(split, number)
            colours = np.array([black, red, green, blue])
            assert (colours[ids] == expected).all()


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("classes.txt", "ground\nroad\ncar", ("ground", "road", "car")),
        ("masks/labels.txt", "0 ground\n1: two words\r\n2 yes\n", ("ground", "two words", "yes")),
        ("classes.txt", "a\nb", ("background", "class_1", "class_2")),  # Does not match.
        ("labels.json", '["a", "b", "c: d"]', ("a", "b", "c: d")),
        ("labels.json", '{"a": 0, "b": 2, "c": 1}', ("a", "b", "c")),
        ("labels.json", '{"0": "a", "1": "b", "2": "void"}', ("a", "b")),
        (
            "classes.json",
            '[{"name": "a", "id": 0}, {"id": 1, "name": "b"}, {"id": 2, "name": "#"}]',
            ("a", "b", "#"),
        ),
        ("labels.json", '[{"no": 1}]', ("background", "class_1", "class_2")),
        ("classes.txt", "0 a\n1 b\n3 c", ("background", "class_1", "class_2")),
    ],
)
def test_class_names_come_from_a_matching_file(root, file, text, names):
    fill(root)
    (root / file).write_text(text)
    data, _ = made(root)
    split = pipelines.read(data, "train")
    assert split.class_names == names
    if '"c": 1' in text:
        assert split.mask_values == {0: 0, 2: 1, 1: 2, 255: 255}
    pipelines.check(split)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("label_colors.txt", "200 0 0\tRed\n0 0 0\t\tVoid\n0 0 200\tBlue one\n1 2 3\tRare\n"),
        ("class_dict.csv", "name,r,g,b\nRed,200,0,0\nVoid,0,0,0\nBlue one,0,0,200\nRare,1,2,3"),
        ("classes.csv", "NAME,r,g,b\nRed,200,0,0\nVoid,0,0,0\nBlue one,0,0,200\nRare,1,2,3"),
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nRed:200,0,0::\nVoid:0,0,0::\n"
            "Blue one:0,0,200::\nRare:1,2,3::",
        ),
        (
            "palette.json",
            '{"Red": [200, 0, 0], "Void": "#000000", "Blue one": [0, 0, 200], "Rare": [1, 2, 3]}',
        ),
    ],
)
def test_colour_names_come_from_a_matching_file(root, file, text):
    fill(root, values=(RED, BLACK, BLUE))
    (root / file).write_text(text)
    data, _ = made(root)
    split = pipelines.read(data, "train")
    assert split.class_names == ("Red", "Blue one", "Rare")
    assert split.mask_colours == {RED: 0, BLUE: 1, (1, 2, 3): 2, BLACK: 255}


def smooth(path):
    pixels = np.linspace(0, 255, 40 * 56).reshape(40, 56).astype("uint8")
    Image.fromarray(pixels).save(path)


def smooth_in_colours(path):
    Image.fromarray(RNG.integers(0, 256, (40, 56, 3), "uint8")).save(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (smooth, "values: 0 (9 pixels)"),
        (smooth_in_colours, "colours: ("),
        (smooth, "pixels), and 251 more. So many mean that the mask was smoothed"),
        (lambda path: mask(path, (7,)), "the masks hold only 7 (17,920 pixels): at least two"),
        (lambda path: mask(path, np.array([0, 300], "uint16")), "values up to 300"),
        (
            lambda path: Image.new("L", (56, 40)).save(path, "JPEG"),
            "all 8 masks are JPEG",
        ),
        (lambda path: Image.new("L", (56, 40)).save(path, "TIFF"), "TIFF files are unsupported"),
        (lambda path: path.unlink(), "found no images with masks. Folders with image files:"),
    ],
)
def test_unusable_masks_are_explained(root, spoil, message):
    fill(root)
    for path in root.glob("masks/*.png"):
        spoil(path)
    with pytest.raises(DataError) as error:
        made(root)
    assert message in str(error.value) and str(root) in str(error.value)
    if "300" in message:
        assert error.value.file == root and error.value.value == 300
    assert str(error.value).count(" pixels)") <= 5  # Of so many values, the most frequent.


def test_if_no_mask_can_be_read_the_first_is_named(root):
    fill(root)
    for path in root.glob("masks/*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 8 masks .*masks/0.png: .* empty") as error:
        made(root)
    assert error.value.file == root / "masks/0.png" and error.value.kind == "empty file"


def test_damaged_masks_are_reported_and_left_out(root):
    fill(root)
    (root / "masks/3.png").write_bytes((root / "masks/3.png").read_bytes()[:60])
    image(root / "images/lonely.jpg")
    _, description = made(root)
    assert [fault.file.name for fault in description.faults] == ["3.png"]
    assert "train: images or masks without a partner: 1" in description.text
    assert [entry.masks for entry in description.classes] == [7, 7, 7]


def test_unsupported_images_are_reported_with_a_conversion(root):
    fill(root, images="images/{}.tif")
    assert "train: TIF images are unsupported, found 8" in made(root)[1].text


def digest(root):
    return {
        path: path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
    }


def test_command_writes_outside_the_folder_and_replaces_nothing(root, fcn_keras_cli, monkeypatch):
    fill(root)
    before = digest(root)
    monkeypatch.chdir(root.parent)
    status, out, _ = fcn_keras_cli("data", "init", "my data")
    assert status == 0 and len(pipelines.read("my data.yaml", "train")) > 0
    assert "fcn-keras train --data 'my data.yaml' --recipe camvid --epochs 400" in out
    assert "background" in out and "class_2" in out
    written = (root.parent / "my data.yaml").read_bytes()
    for arguments, message in (
        ((root,), "my data.yaml: exists already"),
        ((root, "--out", root / "x.yaml"), "where nothing is written"),
        ((root, "--out", "x.txt"), "the file name must end in .yaml"),
        ((root, "--out", "nowhere/x.yaml"), "the folder nowhere does not exist"),
        ((root.parent / "nothing",), "no such folder"),
    ):
        status, _, err = fcn_keras_cli("data", "init", *arguments)
        assert status == 2 and message in err
    monkeypatch.chdir(root)
    assert fcn_keras_cli("data", "init", ".")[0] == 2
    assert digest(root) == before
    assert (root.parent / "my data.yaml").read_bytes() == written


def test_command_does_not_import_tensorflow(root):
    fill(root, names=range(4))
    out = root.parent / "out.yaml"
    code = (
        "import sys; from fcn_keras.cli import main as cli\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "data", "init", root, "--out", out],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert result.returncode == 0, result.stderr
    assert len(pipelines.read(out, "train")) > 0


def test_real_data_is_found(shared, tmp_path):
    found = folders.find(shared / "data" / "camvid")
    assert {split: len(part.pairs) for split, (part,) in found.parts.items()} == {
        "train": 367,
        "val": 101,
    }
    data = tmp_path / "voc.yaml"
    found = folders.find(shared / "data" / "voc_sample")
    data.write_text(write_yaml.describe(found, data).text, "utf-8")
    split = pipelines.read(data, "train")
    assert len(split) == 3 and split.palette[2].tolist() == [128, 0, 128]


def test_names_that_do_not_match_are_reported(two_folders, tmp_path_factory, fcn_keras_cli):
    (two_folders / "classes.txt").write_text("ground\nroad\n")
    out = tmp_path_factory.mktemp("out") / "made.yaml"
    status, shown, _ = fcn_keras_cli("data", "init", two_folders, "--out", out)
    assert status == 0
    note = "classes.txt names 2 classes, which do not match the 3 in the masks"
    assert note in shown and note in out.read_text()
