"""Your own folders, described by a YAML file."""

import shutil
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines import DataError
from pipelines.examples import read_example


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def test_own_folders_are_read(two_folders):
    split = pipelines.read(two_folders / "data.yaml", "train")
    assert split.class_names == ("ground", "road", "car")
    assert tuple(split.palette[1]) == (128, 64, 128)
    assert [example.id for example in split.examples] == ["0", "1", "2", "3"]
    _, mask = read_example(split, 2)
    raw = pixels(two_folders / "train" / "masks" / "2.png")
    np.testing.assert_array_equal(mask, raw)


def test_mask_values_can_be_mapped_and_ignored(two_folders):
    (two_folders / "data.yaml").write_text(
        "train: {images: train/images, masks: train/masks}\n"
        "classes: [{name: car, value: 2}, {name: ground, value: 0}]\nignore: [1, 255]\n"
    )
    split = pipelines.read(two_folders / "data.yaml", "train")
    _, mask = read_example(split, 0)
    raw = pixels(two_folders / "train" / "masks" / "0.png")
    np.testing.assert_array_equal(mask, np.choose(np.minimum(raw, 3), [1, 255, 0, 255]))


def append(text):
    return lambda root: overwrite((root / "data.yaml").read_text() + text)(root)


def overwrite(text):
    return lambda root: (root / "data.yaml").write_text(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (append("clases: [a, b]\n"), "unknown key `clases`; did you mean `classes`?"),
        (append("ignore: [300]\n"), "`ignore.0`: must be a whole number 0..255, or a colour"),
        (append("ignore: [1]\n"), "the mask value 1 of class 'road' is ignored"),
        (overwrite("train: [\n"), "not readable as YAML"),
        (overwrite("just words\n"), "must have the keys"),
        (overwrite("classes: [a, b]\n"), "no split 'train'"),
        (overwrite("train: {images: x, masks: y}\n"), "the key `classes` is missing"),
        (overwrite("train: {images: x, masks: y}\nclasses: [a, b]\n"), "no such folder"),
        (lambda r: (r / "train" / "masks" / "1.png").unlink(), "1.jpg has no mask"),
        (lambda r: (r / "train" / "images" / "1.jpg").unlink(), "1.png has no image"),
        (
            lambda r: shutil.copy(r / "train/images/1.jpg", r / "train/images/1.png"),
            "two files with the same name",
        ),
        (lambda r: (r / "data.yaml").unlink(), "no such file"),
    ],
)
def test_wrong_description_is_explained(two_folders, change, message):
    change(two_folders)
    with pytest.raises(DataError) as error:
        pipelines.read(two_folders / "data.yaml", "train")
    assert message in str(error.value) and str(two_folders) in str(error.value)


def test_masks_of_0_and_255_must_be_declared(two_folders):
    for path in two_folders.glob("*/masks/*.png"):
        mask = np.zeros((40, 56), "uint8")
        mask[10:20] = 255
        Image.fromarray(mask).save(path)
    data = two_folders / "data.yaml"
    text = data.read_text().split("classes:")[0]
    data.write_text(text + "classes: [background, object]\n")
    with pytest.raises(DataError) as error:
        pipelines.check(pipelines.read(data, "train"))
    assert "all labelled pixels are 'background'; the others are ignored (values [255])" in str(
        error.value
    )
    data.write_text(text + "classes: [background, {name: object, value: 255}]\n")
    pixels = pipelines.check(pipelines.read(data, "train"))
    assert pixels.tolist() == [4 * 30 * 56, 4 * 10 * 56]


LEAST = "`classes`: must list at least 2 classes, found ['a']"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[ground,", "[[1, 2],", "`classes.0`: must be a name, or {name: NAME, ...}, found [1, 2]"),
        ("[ground,", "[{nmae: a},", "unknown key `classes.0.nmae`; did you mean `name`?"),
        ("classes:", "zzzzz: 1\nclasses:", "unknown key `zzzzz`."),
        ("[ground,", "[yes,", "must be a name; put yes, no and numbers in quotes, found True"),
        ("[128, 64, 128]", "red", 'must be [red, green, blue], each 0..255, or "#rrggbb"'),
        ("classes: [ground, {name: road, colour: [128, 64, 128]}, car]", "classes: [a]", LEAST),
        ("classes:", "clases:", "unknown key `clases`; did you mean `classes`?"),
    ],
)
def test_yaml_mistakes_are_explained(two_folders, old, new, message):
    data = two_folders / "data.yaml"
    assert old in data.read_text()
    data.write_text(data.read_text().replace(old, new))
    with pytest.raises(DataError) as error:
        pipelines.read(data, "train")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_hexadecimal_colours_and_single_ignored_value_are_accepted(two_folders):
    data = two_folders / "data.yaml"
    text = data.read_text().replace("[128, 64, 128]", "'#804080'") + "ignore: 7\n"
    data.write_text(text)
    split = pipelines.read(data, "val")
    assert split.palette[1].tolist() == [128, 64, 128]
    assert split.mask_values == {0: 0, 1: 1, 2: 2, 7: 255}
    with pytest.raises(DataError, match="split='classes': must be one of train, val, test"):
        pipelines.read(data, "classes")


CLASSES = "classes: [ground, road, car]\n"
FOLDERS = "images: train/images, masks: train/masks"


def described(root, text):
    (root / "data.yaml").write_text(text, "utf-8")
    return root / "data.yaml"


def ids(split):
    return [example.id for example in split.examples]


def kinds(split):
    return sorted(fault.kind for fault in split.faults)


def test_all_file_faults_are_collected(two_folders):
    images, masks = two_folders / "train/images", two_folders / "train/masks"
    (masks / "0.png").unlink()
    shutil.copy(masks / "1.png", masks / "9.png")
    shutil.copy(masks / "2.png", images / "2.png")
    (images / ".hidden.jpg").write_bytes(b"")
    split = pipelines.read(two_folders / "data.yaml", "train", keep_faults=True)
    assert ids(split) == ["1", "3"]
    assert kinds(split) == ["same name", "unpaired", "unpaired"]
    assert {fault.file.name for fault in split.faults} == {"0.jpg", "9.png", "2.png"}
    with pytest.raises(DataError) as error:
        pipelines.read(two_folders / "data.yaml", "train")
    assert len(str(error.value).splitlines()) == 3


def test_empty_folder_is_an_empty_split(two_folders):
    shutil.rmtree(two_folders / "val/images")
    (two_folders / "val/images/below").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no images") as error:
        pipelines.read(two_folders / "data.yaml", "val")
    assert error.value.kind == "empty split"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_list_selects_images_and_their_order(two_folders, ending):
    for folder, end in (("images", "jpg"), ("masks", "png")):
        (two_folders / "train" / folder / "below").mkdir()
        for name in ("with space", "日本", unicodedata.normalize("NFD", "café")):
            source = two_folders / "train" / folder / f"0.{end}"
            shutil.copy(source, two_folders / "train" / folder / "below" / f"{name}.{end}")
    lines = ["3", " 1.jpg ", "", "below/with space.jpg", "below/日本", "below/café.jpg"]
    (two_folders / "list.txt").write_text("\ufeff" + ending.join(lines), "utf-8", newline="")
    data = described(two_folders, f"train: {{{FOLDERS}, list: list.txt}}\n{CLASSES}")
    split = pipelines.read(data, "train")
    assert ids(split) == ["3", "1", "below/with space", "below/日本", "below/café"]
    assert read_example(split, 4)[0].shape == (40, 56, 3)


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        (
            "../../secret",
            "outside the folder",
            "lists '../../secret', but a line is a name or path",
        ),
        ("../images/1", "outside the folder", "without `..` or a leading slash. Write it so."),
        ("below/../1", "outside the folder", "without `..` or a leading slash"),
        ("/etc/passwd", "outside the folder", "give its folder as another pair"),
        ("//1", "outside the folder", "without `..` or a leading slash"),
        ("link", "outside the folder", "a link that leads out of"),
        ("linked/secret", "outside the folder", "but a link leads out of"),
        ("0.jpg", "listed twice", "lists '0.jpg', which is already listed"),
        ("7", "missing file", "has no such image"),
        ("1", "unpaired", "1.jpg has no mask"),
    ],
)
def test_list_stays_inside_its_folder(two_folders, line, kind, message):
    images, outside = two_folders / "train/images", two_folders / "elsewhere"
    outside.mkdir()
    shutil.copy(images / "0.jpg", outside / "secret.jpg")
    (images / "link.jpg").symlink_to(outside / "secret.jpg")
    (images / "linked").symlink_to(outside)
    shutil.copy(two_folders / "train/masks/0.png", two_folders / "train/masks/link.png")
    (two_folders / "train/masks/1.png").unlink()
    (two_folders / "list.txt").write_text(f"0\n{line}")
    data = described(two_folders, f"train: {{{FOLDERS}, list: list.txt}}\n{CLASSES}")
    split = pipelines.read(data, "train", keep_faults=True)
    assert ids(split) == ["0"] and kinds(split) == [kind]
    assert message in str(split.faults[0])


def test_masks_may_be_in_the_image_folder(two_folders):
    both = two_folders / "both"
    both.mkdir()
    for i in range(3):
        shutil.copy(two_folders / f"train/images/{i}.jpg", both / f"{i}.jpg")
        shutil.copy(two_folders / f"train/masks/{i}.png", both / f"{i}_mask.png")
    data = described(two_folders, f"train: {{images: both, masks: both}}\n{CLASSES}")
    with pytest.raises(DataError, match="in one folder.* `mask_suffix: _mask`"):
        pipelines.read(data, "train")
    data = described(
        two_folders, f"train: {{images: both, masks: both, mask_suffix: _mask}}\n{CLASSES}"
    )
    split = pipelines.read(data, "train")
    assert [(e.image.name, e.mask.name) for e in split.examples] == [
        (f"{i}.jpg", f"{i}_mask.png") for i in range(3)
    ]


def checksum(name):
    return zlib.crc32(name.encode()) / 2**32


@pytest.mark.parametrize(
    ("count", "share", "least"),
    [(14, 0.2, 3), (28, 0.2, 6), (30, 0.2, 6), (50, 0.29, 15), (10, 0.25, 3), (5, 0.5, 3)],
)
@pytest.mark.parametrize("start", [0, 100, 2000])
def test_val_share_is_at_least_the_rounded_share(two_folders, count, share, least, start):
    for folder, end in (("images", "jpg"), ("masks", "png")):
        for number in range(start, start + count):
            source = two_folders / f"train/{folder}/0.{end}"
            (two_folders / f"more/{folder}").mkdir(parents=True, exist_ok=True)
            shutil.copy(source, two_folders / f"more/{folder}/im{number}.{end}")
    text = f"train: {{images: more/images, masks: more/masks}}\nval_share: {share}\n{CLASSES}"
    data = described(two_folders, text)
    train, val = (set(ids(pipelines.read(data, split))) for split in ("train", "val"))
    assert len(val) >= least and len(train | val) == count and not train & val
    assert max(map(checksum, val)) < min(map(checksum, train))
    assert len(val) == max(least, sum(checksum(name) < share for name in train | val))


def test_val_share_takes_nothing_from_test(two_folders):
    text = f"train: {{{FOLDERS}}}\ntest: {{images: val/images, masks: val/masks}}\n{CLASSES}"
    data = described(two_folders, f"{text}val_share: 0.5\n")
    assert ids(pipelines.read(data, "test")) == ["0", "1"]


def test_val_share_is_stable_when_files_are_added(two_folders):
    images, masks = two_folders / "train/images", two_folders / "train/masks"
    data = described(two_folders, f"train: {{{FOLDERS}}}\nval_share: 0.4\n{CLASSES}")

    def add(names):
        for name in names:
            shutil.copy(images / "0.jpg", images / f"{name}.jpg")
            shutil.copy(masks / "0.png", masks / f"{name}.png")
        return [set(ids(pipelines.read(data, split))) for split in ("train", "val")]

    train, val = add(f"few_{i}" for i in range(10))
    more_train, more_val = add(f"many_{i}" for i in range(60))
    assert not more_train & more_val and len(more_train | more_val) == 74
    assert {name for name in more_train | more_val if checksum(name) < 0.4} <= more_val
    assert all(checksum(name) >= 0.4 for name in (val & more_train) | (train & more_val))
    described(two_folders, f"train: {{{FOLDERS}}}\nval_share: 0.0001\n{CLASSES}")
    with pytest.raises(DataError, match="leaves none for val. Choose a larger share") as error:
        pipelines.read(data, "val")
    assert error.value.kind == "empty split" and error.value.file == data


def in_val(data):
    return {e.image.relative_to(data.parent) for e in pipelines.read(data, "val").examples}


def test_val_share_is_stable_when_folders_are_added(two_folders):
    def add(folder, names):
        for kind, end in (("images", "jpg"), ("masks", "png")):
            (two_folders / folder / kind).mkdir(parents=True)
            for name in names:
                source = two_folders / f"train/{kind}/0.{end}"
                shutil.copy(source, two_folders / folder / kind / f"{name}.{end}")
        return f"{{images: {folder}/images, masks: {folder}/masks}}"

    def read(*pairs):
        data = described(two_folders, f"train: [{', '.join(pairs)}]\nval_share: 0.3\n{CLASSES}")
        return in_val(data)

    old, new = add("old", range(40)), add("new", range(100, 130))
    described(two_folders, f"train: {old}\nval_share: 0.3\n{CLASSES}")
    alone = in_val(two_folders / "data.yaml")
    for_good = {path for path in alone if checksum(path.stem) < 0.3}
    assert for_good and for_good <= read(old, new) & read(new, old)
    # By hand: whatever folder an image is in, its name decides.
    names = {n: "old" for n in range(40)} | {n: "new" for n in range(100, 130)}
    assert {f"{names[n]}/images/{n}.jpg" for n in names if checksum(str(n)) < 0.3} <= {
        path.as_posix() for path in read(old, new)
    }
    below = two_folders / "below"
    below.mkdir()
    text = (two_folders / "data.yaml").read_text().replace("s: ", "s: ../", 4)
    (below / "data.yaml").write_text(text.replace("classes: ../", "classes: "))
    chosen = pipelines.read(below / "data.yaml", "val").examples
    assert {e.image.relative_to(two_folders) for e in chosen} == read(new, old)


def test_images_of_one_name_in_several_folders_are_chosen_one_by_one(two_folders):
    for folder in "abcdefghij":
        for kind, end in (("images", "jpg"), ("masks", "png")):
            (two_folders / folder / kind).mkdir(parents=True)
            source = two_folders / f"train/{kind}/0.{end}"
            shutil.copy(source, two_folders / folder / kind / f"frame.{end}")

    def read(folders):
        pairs = "".join(f"  - {{images: {f}/images, masks: {f}/masks}}\n" for f in folders)
        data = described(two_folders, f"train:\n{pairs}val_share: 0.3\n{CLASSES}")
        return in_val(data)

    expected = {f"{f}/images/frame.jpg" for f in "bcdefghij" if checksum(f"{f}/images/frame") < 0.3}
    assert checksum("frame") > 0.5 and 3 <= len(expected) < 9
    assert {path.as_posix() for path in read("abcdefghij")} == expected
    kept = {path for path in expected if path[0] in "bcdef"}
    assert kept <= {path.as_posix() for path in read("abcdef")}


def test_a_split_may_have_several_pairs_of_folders(two_folders):
    data = described(
        two_folders,
        f"train:\n  - {{{FOLDERS}}}\n  - {{images: val/images, masks: val/masks}}\n{CLASSES}",
    )
    split = pipelines.read(data, "train")
    folders = [("train", i) for i in range(4)] + [("val", i) for i in range(2)]
    assert ids(split) == [f"{name}/images/{i}" for name, i in folders]
    for index, (name, i) in enumerate(folders):
        raw = pixels(two_folders / name / "masks" / f"{i}.png")
        np.testing.assert_array_equal(read_example(split, index)[1], raw)
    described(two_folders, f"train: [{{{FOLDERS}}}, {{{FOLDERS}}}]\n{CLASSES}")
    split = pipelines.read(data, "train", keep_faults=True)
    assert len(split) == 4 and kinds(split) == ["listed twice"] * 4
    assert [fault.file for fault in split.faults] == [e.image for e in split.examples]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("[]", "`train`: must have at least one pair of folders, found []."),
        ("{images: a, masks: b, mask_suffix: 1}", "text of at most 1,000 characters; put numbers"),
        ("{images: a, masks: b, image_suffix: 1_0}", "put numbers in quotes, found 10."),
        ("[{images: 2024, masks: b}]", "`train.0.images`: must be text"),
        ("[{images: a}]", "the key `train.0.masks` is missing"),
        (
            "[{images: a, masks: b, mask_sufix: c}]",
            "unknown key `train.0.mask_sufix`; did you mean",
        ),
        ("[a, b]", "`train.0`: must be {images: FOLDER, masks: FOLDER}"),
        ("a", "`train`: must be {images: FOLDER, masks: FOLDER}, or a list of such pairs"),
        ("{images: a, lists: b, masks: c}", "unknown key `train.lists`; did you mean `list`?"),
    ],
)
def test_wrong_pairs_of_folders_are_explained(two_folders, train, message):
    data = described(two_folders, f"train: {train}\n{CLASSES}")
    with pytest.raises(DataError) as error:
        pipelines.read(data, "train")
    assert message in str(error.value)


def test_images_and_masks_may_both_have_suffixes(two_folders):
    images, masks = two_folders / "train/images", two_folders / "train/masks"
    for i in range(4):
        (images / f"{i}.jpg").rename(images / f"{i}_img.jpg")
        (masks / f"{i}.png").rename(masks / f"{i}_gt.png")
    suffixes = "image_suffix: _img, mask_suffix: _gt"
    (two_folders / "list.txt").write_text("2_img.jpg\n0_img\n3\n")
    for listing, expected in (("", list("0123")), (", list: list.txt", list("203"))):
        data = described(two_folders, f"train: {{{FOLDERS}, {suffixes}{listing}}}\n{CLASSES}")
        split = pipelines.read(data, "train")
        assert ids(split) == expected
        assert all(e.mask.name == f"{e.id}_gt.png" for e in split.examples)
        assert all(e.image.name == f"{e.id}_img.jpg" for e in split.examples)


def test_links_are_followed_if_the_file_permits_it(two_folders):
    outside = two_folders / "outside"
    for folder, end in (("images", "jpg"), ("masks", "png")):
        (outside / folder).mkdir(parents=True)
        shutil.move(two_folders / f"train/{folder}/0.{end}", outside / folder / f"0.{end}")
        shutil.copy(two_folders / f"train/{folder}/1.{end}", outside / folder / f"5.{end}")
        place = two_folders / "train" / folder
        (place / f"0.{end}").symlink_to(outside / folder / f"0.{end}")
        (place / "linked").symlink_to(outside / folder)
        (place / "round").symlink_to(place)
    (two_folders / "list.txt").write_text("0\nlinked/5\n1\n")
    text = f"train: {{{FOLDERS}, list: list.txt}}\n{CLASSES}"
    split = pipelines.read(described(two_folders, text), "train", keep_faults=True)
    assert ids(split) == ["1"] and set(kinds(split)) == {"outside the folder"}
    assert all("`follow_links: true`" in str(fault) for fault in split.faults)
    data = described(two_folders, f"follow_links: true\n{text}")
    split = pipelines.read(data, "train")
    assert ids(split) == ["0", "linked/5", "1"]
    (two_folders / "list.txt").write_text(f"../images/1\n{outside}/images/5.jpg\n0\n")
    split = pipelines.read(data, "train", keep_faults=True)
    assert ids(split) == ["0"] and kinds(split) == ["outside the folder"] * 2
    assert not any("follow_links" in str(fault) for fault in split.faults)


def test_paths_in_messages_have_no_detours(two_folders, tmp_path_factory):
    (two_folders / "train/masks/1.png").unlink()
    below = two_folders / "a/b"
    below.mkdir(parents=True)
    (below / "data.yaml").write_text(
        f"train: {{images: ../../train/images, masks: ../../train/masks}}\n{CLASSES}"
    )
    link = tmp_path_factory.mktemp("links") / "b"
    link.symlink_to(below)  # Where `..` means another folder.
    for folder in (below, link):
        with pytest.raises(DataError) as error:
            pipelines.read(folder / "data.yaml", "train")
        assert str(error.value).startswith(f"{two_folders}/train/images/1.jpg has no mask")
        assert ".." not in str(error.value)


def test_values_may_start_at_an_offset(two_folders):
    data = described(
        two_folders,
        f"train: {{{FOLDERS}}}\noffset: 1\nclasses: [a, {{name: b, value: 9}}, c]\n",
    )
    assert pipelines.read(data, "train").mask_values == {1: 0, 9: 1, 3: 2, 255: 255}


def test_declared_colours_map_mask_colours(two_folders):
    data = described(
        two_folders,
        f"train: {{{FOLDERS}}}\nignore: ['#ffffff', [9, 8, 7], 200]\n"
        "classes: [{name: a, colour: [1, 2, 3]}, b, {name: c, colour: '#ff0000'}]\n",
    )
    split = pipelines.read(data, "train")
    void = dict.fromkeys([(255, 255, 255), (9, 8, 7)], 255)
    assert split.mask_colours == {(1, 2, 3): 0, (255, 0, 0): 2, **void}
    assert split.mask_values == {0: 0, 1: 1, 2: 2, 200: 255}
    assert split.class_values == (0, 1, 2)  # The masks may hold values or colours.
    data = described(two_folders, f"train: {{{FOLDERS}}}\nignore: ['#ffffff']\n{CLASSES}")
    assert pipelines.read(data, "train").mask_colours == {}


def test_mask_colours_are_read_as_classes(two_folders):
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [255, 255, 255]], "uint8")
    for path in two_folders.glob("train/masks/*.png"):
        ids = np.arange(40 * 56).reshape(40, 56) % 4
        Image.fromarray(colours[ids]).save(path)
    data = described(
        two_folders,
        f"train: {{{FOLDERS}}}\nignore: [[255, 255, 255]]\nclasses: [{{name: a, colour: '#000000'}}"
        ", {name: b, colour: '#ff0000'}, {name: c, colour: '#0000ff'}]\n",
    )
    _, mask = read_example(pipelines.read(data, "train"), 0)
    np.testing.assert_array_equal(mask.ravel()[:8], [0, 1, 2, 255, 0, 1, 2, 255])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_classes: 4", "`num_classes` is 4, but `classes` lists 3: ground, road, car."),
        ("val_share: 1.5", "`val_share`: must be a number between 0 and 1, such as 0.2 for a"),
        ("val_share: 20%", "such as 0.2 for a fifth of the images, found '20%'."),
        ("val_share: 0", "`val_share`: must be a number between 0 and 1"),
        ("val_share: .nan", "`val_share`: must be a number between 0 and 1"),
        ("offset: -1", "`offset`: must be a whole number 0..255, found -1."),
        ("offset: 1.5", "`offset`: must be a whole number 0..255, found 1.5."),
        ("offset: 254", "the mask value of class 'car' is 256, but values are 0..255. Lower"),
        ("follow_links: 'yes'", "`follow_links`: must be true or false, found 'yes'."),
        ("mask_nearest: 1", "`mask_nearest`: must be true or false, found 1."),
        ("num_classes: many", "`num_classes`: must be the number of classes, found 'many'."),
        ("ignore: none", '`ignore.0`: must be [red, green, blue], each 0..255, or "#rrggbb"'),
        ("ignore: {a: 1}", "`ignore`: must be a whole number 0..255, or a colour of three, found"),
        ("ofset: 1", "unknown key `ofset`; did you mean `offset`?"),
        ("ignore: [yes]", "`ignore.0`: must be a whole number 0..255, or a colour of three"),
        ("ignore: ['#12']", '`ignore.0`: must be [red, green, blue], each 0..255, or "#rrggbb"'),
        ("ignore: [[0, 0, 300]]", "`ignore.0.2`: must be a whole number 0..255"),
        ("tfds: voc", "`tfds` and `train`: give one of the two."),
        ("data_dir: x", "`data_dir` belongs to `tfds`"),
        (
            "val_share: 0.2\nval: {images: a, masks: b}",
            "`val_share` needs `train` and replaces `val`",
        ),
        ("offset: 250\nignore: [251]", "the mask value 251 of class 'road' is ignored"),
    ],
)
def test_inconsistent_keys_are_explained(two_folders, text, message):
    data = described(two_folders, f"train: {{{FOLDERS}}}\n{CLASSES}{text}\n")
    with pytest.raises(DataError) as error:
        pipelines.read(data, "train")
    assert message in str(error.value) and str(data) in str(error.value)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("[a, b, a]", "two classes are called 'a'"),
        ("[{name: a, value: 1}, b]", "the mask value 1 of class 'b' is ignored or used by"),
        (
            "[{name: a, colour: [1, 2, 3]}, {name: b, colour: '#010203'}]",
            "the mask colour (1, 2, 3) of class 'b' is ignored or used by another class",
        ),
        ("\n  - name: a\n    colour: #ff0000\n  - b", 'or "#rrggbb" in quotes, found None'),
    ],
)
def test_ambiguous_classes_are_explained(two_folders, classes, message):
    data = described(two_folders, f"train: {{{FOLDERS}}}\nclasses: {classes}\n")
    with pytest.raises(DataError) as error:
        pipelines.read(data, "train")
    assert message in str(error.value)


def mask_of(value, mode="L"):
    return lambda path: Image.new(mode, (56, 40), value).save(path)


def text_file(path):
    path.write_text("<html>not found")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (mask_of(7), "label value 7 (2240 pixels)"),  # Not a class.
        (mask_of(300, "I;16"), "label value 300"),  # 16 bits never wrap.
        (mask_of((9, 9, 200), "RGB"), "Give each class its `colour: [red, green, blue]`"),
        (
            mask_of(255, "1"),
            "a 1-bit mask, read as 0 and 255, but 255 is not a class. Map 255 to 1?",
        ),
        (lambda path: Image.new("L", (30, 40)).save(path), "the mask is 40 x 30 (height x width)"),
        (lambda path: Image.new("L", (56, 40)).save(path, "JPEG"), "Export the masks as PNG"),
        (text_file, "it starts with '<html"),
    ],
)
def test_unusable_mask_is_named(two_folders, spoil, message):
    path = two_folders / "train/masks/0.png"
    spoil(path)
    split = pipelines.read(two_folders / "data.yaml", "train")
    data = described(two_folders, f"train: {{{FOLDERS}}}\n{CLASSES}")
    split = pipelines.read(data, "train")
    with pytest.raises(DataError) as error:
        read_example(split, 0)
    assert message in str(error.value) and str(path) in str(error.value)
