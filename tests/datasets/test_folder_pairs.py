"""Images and masks in one folder, told apart by their names."""

import pytest
from drawn_folders import image, made, mask

import pipelines
from pipelines import DataError
from pipelines.datasets.folder_pairs import masks_among

CLASSES = "classes: [a, b, c]\n"


@pytest.mark.parametrize(
    ("images", "masks", "suffixes"),
    [
        ("a_{}", "a_{}_1", ("", "_1")),
        ("{}_0", "{}_0_0", ("", "_0")),
        ("x_{}_img", "x_{}_1", ("_img", "_1")),
        ("a_{}_mask", "a_{}_mask_mask", ("", "_mask")),
        ("a_{}", "a_{}_mask", ("", "_mask")),
    ],
)
def test_an_image_whose_name_ends_like_a_mask_is_paired(tmp_path, images, masks, suffixes):
    for name in range(6):
        image(tmp_path / f"data/{images.format(name)}.jpg")
        mask(tmp_path / f"data/{masks.format(name)}.png")
    keys = f"image_suffix: {suffixes[0]!r}, mask_suffix: {suffixes[1]!r}"
    data = tmp_path / "data.yaml"
    data.write_text(f"train: {{images: data, masks: data, {keys}}}\n{CLASSES}")
    pairs = {(e.image.name, e.mask.name) for e in pipelines.read(data, "train").examples}
    assert pairs == {(f"{images.format(n)}.jpg", f"{masks.format(n)}.png") for n in range(6)}


def test_data_init_pairs_images_whose_names_end_like_masks(tmp_path):
    for name in range(6):
        image(tmp_path / f"data/a_{name}.jpg")
        mask(tmp_path / f"data/a_{name}_1.png")
    data, description = made(tmp_path / "data")
    assert description.train_images == 6 and "without a partner" not in description.text
    pairs = [pair for split in ("train", "val") for pair in pipelines.read(data, split).examples]
    assert {pair.mask.stem for pair in pairs} == {f"{pair.image.stem}_1" for pair in pairs}


@pytest.mark.parametrize(
    ("stems", "image_suffix", "masks"),
    [
        (["a", "a_1"], "", {"a_1"}),
        (["a_1"], "", {"a_1"}),  # Its image is missing.
        (["a_1", "a_1_1"], "", {"a_1_1"}),
        (["a", "a_1", "a_1_1"], "", {"a_1", "a_1_1"}),
        (["sub/a_1", "sub/a_1_1", "a"], "", {"sub/a_1_1"}),
        (["a_i", "a_1", "b_1_i", "b_1_1"], "_i", {"a_1", "b_1_1"}),
        (["a_1", "b_1"], "_1", {"a_1", "b_1"}),
    ],
)
def test_masks_are_told_from_images(stems, image_suffix, masks):
    assert set(masks_among(stems, image_suffix, "_1")) == masks


@pytest.fixture
def pairs_of_lines(two_folders):
    """Reads the split that a list of images and masks describes: (lines) -> `Split`."""
    text = (two_folders / "data.yaml").read_text()
    train = "images: train/images, masks: train/masks"
    (two_folders / "data.yaml").write_text(text.replace(train, f"{train}, list: pairs.txt"))

    def reader(*lines):
        (two_folders / "pairs.txt").write_text("".join(f"{line}\n" for line in lines))
        return pipelines.read(two_folders / "data.yaml", "train", keep_faults=True)

    return reader


def test_a_list_can_name_the_mask_of_each_image(pairs_of_lines):
    split = pairs_of_lines("1.jpg\t3.png", "0.jpg\t2.png")
    assert not split.faults
    assert [(e.id, e.image.name, e.mask.name) for e in split.examples] == [
        ("3", "1.jpg", "3.png"),
        ("2", "0.jpg", "2.png"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("9.jpg\t0.png", "has no such file"),
        ("0.jpg\t9.png", "has no such file"),
        ("../images/0.jpg\t0.png", "without `..` or a leading slash"),
        ("0.jpg\t/etc/hostname", "without `..` or a leading slash"),
        ("0.jpg\t1.png", "lists the mask '1.png' twice"),
        ("link.jpg\t0.png", "a link leads out"),
    ],
)
def test_pairs_that_cannot_be_used(pairs_of_lines, two_folders, line, message):
    (two_folders / "train/images/link.jpg").symlink_to(two_folders / "val/images/0.jpg")
    split = pairs_of_lines("1.jpg\t1.png", line)
    (fault,) = split.faults
    assert message in str(fault) and "pairs.txt" in str(fault) and len(split) == 1


@pytest.mark.parametrize("lines", [("0.jpg\t0.png", "1"), ("0.jpg\t0.png\t0.png",)])
def test_every_line_has_a_mask_or_none(pairs_of_lines, lines):
    with pytest.raises(DataError, match="must be an image, one tab and its mask"):
        pairs_of_lines(*lines)
