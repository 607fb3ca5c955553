"""Images and masks in one folder, told apart by their names."""

import pytest
from drawn_folders import image, made, mask

import pipelines
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
