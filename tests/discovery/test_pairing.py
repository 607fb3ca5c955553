"""Which images `data init` pairs with which masks."""

import re
from pathlib import Path

import pytest
from drawn_folders import fill, image, made, mask
from PIL import Image

import pipelines
from pipelines import DataError
from pipelines.discovery import folders
from pipelines.split_names import may_belong


def pairs(data, split):
    """(image, mask) of each example, as paths in the data set's folder."""
    return {
        tuple(path.resolve().relative_to(data.parent / "data").as_posix() for path in pair)
        for pair in ((e.image, e.mask) for e in pipelines.read(data, split).examples)
    }


def every_pair(root):
    data, _ = made(root)
    return pairs(data, "train") | pairs(data, "val")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/{}/{}.jpg", "masks/{}/{}.png"),
        ("{}/images/{}.jpg", "{}/masks/{}.png"),
        ("{}_images/{}.jpg", "{}_masks/{}.png"),
        ("images/{}/cam/{}.png", "annotations/{}/cam/{}.png"),
        ("{0}/{1}.jpg", "{0}/{1}_mask.png"),
        ("imgs {}/{}.jpg", "gt {}/{}.png"),
    ],
)
@pytest.mark.parametrize("counts", [(8, 8, 8), (9, 7, 6), (6, 9, 7)])
def test_folders_with_the_same_names_are_paired_by_their_place(root, images, masks, counts):
    expected = set()
    for place, count in zip(("seq1", "seq2", "seq3"), counts, strict=True):
        for name in range(count):
            pair = images.format(place, name), masks.format(place, name)
            image(root / pair[0])
            mask(root / pair[1])
            expected.add(pair)
    assert every_pair(root) == expected


def test_tiles_become_a_list_of_pairs(root):
    for tile in range(1, 9):
        fill(root, f"Tile {tile}/images/{{}}.jpg", f"Tile {tile}/masks/{{}}.png", range(3))
    data, description = made(root)
    assert len(pairs(data, "train") | pairs(data, "val")) == 24 == description.train_images
    assert re.search(r"^train:\n  - \{images: .*Tile 1/images", description.text, re.M)
    ids = [e.id for split in ("train", "val") for e in pipelines.read(data, split).examples]
    assert len(set(ids)) == 24 and "data/Tile 3/images/2" in ids


def test_splits_may_have_several_pairs_each(root):
    for split, cities in (("train", "abc"), ("val", "de")):
        for city in cities:
            fill(
                root,
                f"leftImg8bit/{split}/{city}/{city}_{{}}_leftImg8bit.png",
                f"gtFine/{split}/{city}/{city}_{{}}_gtFine_labelIds.png",
                ("000000_000019", "000001_000019", "000002_000019"),
            )
            for name in range(3):
                stem = f"gtFine/{split}/{city}/{city}_00000{name}_000019_gtFine"
                mask(root / f"{stem}_color.png", ((0, 0, 0), (9, 9, 9), (1, 2, 3)))
                mask(root / f"{stem}_instanceIds.png", (0, 1, 9))
    data, _ = made(root)
    assert [len(pairs(data, split)) for split in ("train", "val")] == [9, 6]
    for image_path, mask_path in pairs(data, "train") | pairs(data, "val"):
        stem = image_path.removesuffix("_leftImg8bit.png").replace("leftImg8bit/", "gtFine/", 1)
        assert mask_path == f"{stem}_gtFine_labelIds.png"


@pytest.mark.parametrize(
    ("images", "masks", "suffixes"),
    [
        ("images/{}_img.jpg", "masks/{}_gt.png", ("_img", "_gt")),
        ("images/{}_training.png", "1st_manual/{}_manual1.png", ("_training", "_manual1")),
        ("{}_img.png", "{}_gt.png", ("_img", "_gt")),
        ("images/{}.jpg", "masks/{}_mask1.png", (None, "_mask1")),
        ("images/{}.jpg", "masks/{}_2.png", (None, "_2")),
        ("images/{}_rgb.jpg", "masks/{}.png", ("_rgb", None)),
        ("images/frame_{}.jpg", "masks/frame_{}.png", (None, None)),
    ],
)
def test_suffixes_on_both_sides_are_found(root, images, masks, suffixes):
    fill(root, images, masks, range(21, 31))
    data, description = made(root)
    for key, suffix in zip(("image_suffix", "mask_suffix"), suffixes, strict=True):
        assert (f"{key}: {suffix}" in description.text) == (suffix is not None)
        assert (key in description.text) == (suffix is not None)
    assert pairs(data, "train") | pairs(data, "val") == {
        (images.format(n), masks.format(n)) for n in range(21, 31)
    }


def test_several_kinds_of_masks_are_an_error_that_names_the_choice(root, fcn_keras_cli):
    fill(root, "images/{}.jpg", "masks_root/{}.png", values=(0, 255))
    for name in range(8):
        mask(root / f"masks_multiclass/{name}.png", (0, 1, 2, 3))
    with pytest.raises(DataError) as error:
        made(root)
    text = str(error.value)
    assert error.value.file == root
    assert "masks_multiclass (8 files, values 0, 1, 2, 3)" in text
    assert "masks_root (8 files, values 0, 255)" in text and "--masks " in text
    out = root.parent / "chosen.yaml"
    for given in ("masks_multiclass", root / "masks_multiclass"):
        out.unlink(missing_ok=True)
        assert fcn_keras_cli("data", "init", root, "--masks", given, "--out", out)[0] == 0
        assert {m.split("/")[0] for _, m in pairs(out, "train")} == {"masks_multiclass"}
    status, _, err = fcn_keras_cli("data", "init", root, "--masks", "nope")
    assert status == 2 and "--masks nope" in err and "masks_root" in err


def test_vessels_and_fields_of_view_are_an_error(root):
    for name in range(21, 41):
        image(root / f"training/images/{name}_training.png")
        mask(root / f"training/1st_manual/{name}_manual1.png", (0, 255))
        mask(root / f"training/mask/{name}_training_mask.png", (255, 0))
    with pytest.raises(DataError, match="1st_manual .*mask .*--masks "):
        made(root)
    data, _ = made(root, masks="1st_manual")
    assert len(pairs(data, "train") | pairs(data, "val")) == 20
    assert {m.split("/")[1] for _, m in pairs(data, "train")} == {"1st_manual"}


def test_one_choice_serves_all_splits(root):
    for split in ("train", "val"):
        fill(root, f"{split}/images/{{}}.jpg", f"{split}/masks/{{}}.png")
        for name in range(8):
            mask(root / f"{split}/lesions/{name}.png", (0, 255))
    with pytest.raises(DataError) as error:
        made(root)
    chosen = re.search(r"--masks (\w+)", str(error.value))[1]
    assert chosen in ("masks", "lesions")
    for kind in ("masks", "lesions"):
        data, _ = made(root, f"{kind}.yaml", masks=kind)
        for split in ("train", "val"):
            assert {m.split("/")[:2][1] for _, m in pairs(data, split)} == {kind}


def test_several_kinds_of_masks_in_one_folder_are_an_error(root):
    fill(root, "images/{}.jpg", "labels/{}_vessels.png")
    for name in range(8):
        mask(root / f"labels/{name}_disc.png", (0, 1))
    with pytest.raises(DataError, match="_disc.*_vessels.*--mask-suffix=_disc"):
        made(root)
    data, _ = made(root, mask_suffix="_vessels")
    expected = {(f"images/{n}.jpg", f"labels/{n}_vessels.png") for n in range(8)}
    assert pairs(data, "train") | pairs(data, "val") == expected


@pytest.mark.parametrize("suffix", ["_vessels", "_mask"])
def test_masks_of_another_kind_are_no_images(root, suffix):
    fill(root, "images/{}.jpg", f"labels/{{}}{suffix}.png")
    for name in range(8):
        mask(root / f"labels/{name}.png", (0, 1))
    with pytest.raises(DataError, match="several kinds of masks"):
        made(root)
    data, _ = made(root, mask_suffix=suffix)
    expected = {(f"images/{n}.jpg", f"labels/{n}{suffix}.png") for n in range(8)}
    assert pairs(data, "train") | pairs(data, "val") == expected


def test_masks_are_found_between_bursts_of_photos(root):
    fill(root, "{}.jpg", "{}_mask.png", range(6))
    for name in range(8):
        image(root / f"{name}.jpg")
        image(root / f"{name}_2.jpg")
    data, description = made(root)
    splits = (pipelines.read(data, name, keep_faults=True) for name in ("train", "val"))
    found = {(e.image.name, e.mask.name) for split in splits for e in split.examples}
    assert found == {(f"{n}.jpg", f"{n}_mask.png") for n in range(6)}
    assert "images or masks without a partner: 10" in description.text  # 6, 7 and all of `_2`.


@pytest.mark.parametrize(
    ("images", "masks"),
    [("train/images", "masks"), ("images", "train/masks"), ("a/training", "b/train")],
)
def test_a_folder_without_a_split_belongs_to_any(images, masks):
    assert may_belong(Path("/data", images), Path("/data", masks))
    assert not may_belong(Path("/data/train/images"), Path("/data/val/masks"))


def test_binary_pictures_may_have_masks_beside_them(root):
    for name in range(8):
        mask(root / f"scans/{name}.png", (0, 255))
        mask(root / f"scans/{name}_mask.png", (0, 1))
    assert every_pair(root) == {(f"scans/{n}.png", f"scans/{n}_mask.png") for n in range(8)}


def test_several_kinds_of_images_in_one_folder_are_an_error(root):
    fill(root, "images/{}_rgb.png", "masks/{}_gt.png")
    for name in range(8):
        image(root / f"images/{name}_nir.png")
    with pytest.raises(DataError, match=r"images/\*_nir.*images/\*_rgb.* --image-suffix=_nir"):
        made(root)
    data, _ = made(root, image_suffix="_rgb")
    assert {i[-8:] for i, _ in pairs(data, "train")} == {"_rgb.png"}


def test_masks_beside_the_images_may_be_known_by_content_alone(root):
    for name in ("Image_01L", "Image_01R", "Image_02L"):
        image(root / f"{name}.jpg")
        mask(root / f"{name}_1stHO.png", (0, 255))
    assert len(every_pair(root)) == 3
    for name in ("Image_01L", "Image_01R", "Image_02L"):
        mask(root / f"{name}_2ndHO.png", (0, 255))
    with pytest.raises(DataError, match="_1stHO.*3 files.*_2ndHO.*move the others"):
        made(root)


def test_a_chosen_folder_holds_masks_whatever_it_is_called(root):
    fill(root, "label_photos/{}.jpg", "img/{}.png")
    with pytest.raises(DataError, match="label_photos/0.jpg, are JPEG"):
        made(root)
    data, _ = made(root, masks="img")
    expected = {(f"label_photos/{n}.jpg", f"img/{n}.png") for n in range(8)}
    assert pairs(data, "train") | pairs(data, "val") == expected


def test_the_suggested_choice_works(root):
    fill(root, "dataset/img/{}.png", "dataset/mask/{}.png")
    for name in range(8):
        mask(root / f"expected/{name}.png", (0, 3))
    with pytest.raises(DataError) as error:
        made(root)
    chosen = re.search(r"--masks (\S+)\.$", str(error.value))[1]
    data, _ = made(root, masks=chosen)
    assert pairs(data, "train") | pairs(data, "val") == {
        (f"dataset/img/{n}.png", f"{'dataset/' * (chosen == 'mask')}{chosen}/{n}.png")
        for n in range(8)
    }
    data, _ = made(root, "again.yaml", masks="dataset")  # Holds images, too.
    assert {m for _, m in pairs(data, "train")} <= {f"dataset/mask/{n}.png" for n in range(8)}


def test_the_suggested_choice_works_for_a_folder_above_the_others(root):
    fill(root, "img/{}.png", "labels/{}.png")
    for name in range(8):
        mask(root / f"labels/fine/{name}.png", (0, 3))
    with pytest.raises(DataError, match=r"--masks labels\.$"):
        made(root)
    data, _ = made(root, masks="labels")
    assert {m for _, m in pairs(data, "train")} <= {f"labels/{n}.png" for n in range(8)}


def test_a_burst_of_photos_is_no_data_set(root):
    for name in range(8):
        image(root / f"{name}.jpg")
        image(root / f"{name}_2.jpg")
    with pytest.raises(DataError, match="found no images with masks"):
        made(root)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("images/1/2/{}.png", "masks/1/2/{}.png"), ("images/2/1/{}.png", "masks/2/1/{}.png")),
        (("a2/images/{}.png", "a2/masks/{}.png"), ("a 2/images/{}.png", "a 2/masks/{}.png")),
        (("images/s01/{}.png", "masks/s1/{}.png"), ("images/s02/{}.png", "masks/s2/{}.png")),
        (("seq1/{}.png", "seq1_gt/{}.png"), ("seq2/{}.png", "seq2_gt/{}.png")),
    ],
)
def test_folders_whose_paths_differ_little_are_paired_right(root, first, second):
    expected = set()
    for images, masks in (first, second):
        fill(root, images, masks, range(5))
        expected |= {(images.format(name), masks.format(name)) for name in range(5)}
    assert every_pair(root) == expected


def test_the_folders_of_nnu_net_are_splits(root):
    fill(root, "imagesTr/{}_0000.png", "labelsTr/{}.png", ["a", "b", "c"])
    fill(root, "imagesTs/{}_0000.png", "labelsTs/{}.png", ["a", "b", "c"])
    assert list(folders.find(root).parts) == ["train", "test"]


def test_several_folders_of_images_for_the_same_masks_are_an_error(root):
    fill(root, "photos_a/{}.jpg", "masks/{}.png")
    fill(root, "photos_b/{}.jpg", "masks/{}.png")
    with pytest.raises(DataError, match=r"masks fits .*photos_a, photos_b.*photos_a\.$") as error:
        made(root)
    assert error.value.file == root
    data, description = made(root, images="photos_b")
    assert {i.split("/")[0] for i, _ in pairs(data, "train")} == {"photos_b"}
    assert "not used: photos_a (8 files)" in description.text


def test_every_unused_folder_is_named(root):
    for place, count in (("seq1", 9), ("seq2", 7)):
        fill(root, f"images/{place}/{{}}.jpg", f"masks/{place}/{{}}.png", range(count))
    for name in range(6):
        image(root / f"images/seq3/{name}.jpg")
        mask(root / f"masks/seq4/{name}.png")
        image(root / f"thumbnails/x{name}.png")
    _, description = made(root)
    for name in ("images/seq3", "masks/seq4", "thumbnails"):
        assert f"{name} (6 files)" in " ".join(description.notes)
        assert f"{name} (6 files)" in description.text


@pytest.mark.parametrize("parent", ["test", "my test data", "validation"])
def test_a_parent_folder_called_test_is_no_split(root, parent):
    fill(root, f"{parent}/images/{{}}.jpg", f"{parent}/masks/{{}}.png")
    assert len(every_pair(root)) == 8


def test_a_parent_folder_called_train_hides_no_split(root):
    for split in ("train", "test"):
        fill(
            root, f"training data/{split}/images/{{}}.jpg", f"training data/{split}/masks/{{}}.png"
        )
    assert list(folders.find(root).parts) == ["train", "test"]


def test_only_test_images_are_an_error_with_a_fix(root):
    fill(root, "images/test/{}.jpg", "masks/test/{}.png")
    with pytest.raises(DataError, match="no training images, only test: .* by hand"):
        made(root)


def test_links_are_used_or_named(root, tmp_path, fcn_keras_cli):
    elsewhere = tmp_path / "elsewhere"
    fill(elsewhere)
    fill(root)
    (root / "images/8.jpg").symlink_to(elsewhere / "images/0.jpg")
    (root / "masks/8.png").symlink_to(elsewhere / "masks/0.png")
    (root / "more").symlink_to(elsewhere)
    data, description = made(root)
    notes = " ".join(description.notes)
    assert "not searched: more (a link)" in notes and "`follow_links: true`" in notes
    assert fcn_keras_cli("data", "check", data)[0] == 2
    data.write_text(data.read_text().replace("# follow_links", "follow_links"))
    assert fcn_keras_cli("data", "check", data)[0] == 0


def test_unreadable_masks_are_said_to_be_so(root):
    fill(root, "images/{}.jpg", "masks_a/{}.png")
    for name in range(8):
        (root / "masks_b").mkdir(exist_ok=True)
        Image.new("L", (56, 40)).save(root / f"masks_b/{name}.png", "TIFF")
    with pytest.raises(DataError, match="masks_b .8 files, not readable as masks"):
        made(root)
