"""What `data init` refuses to pair, or says about pairs that may not belong together."""

import shutil

import pytest
from drawn_folders import fill, image, made, mask

import pipelines
from pipelines import DataError
from pipelines.discovery import folders


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def found(root, **choice):
    """({split: {(images, masks)}}, notes) of a folder."""
    layout = folders.find(root, **choice)
    parts = {
        split: {tuple(folder.as_posix() for folder in part.places(root)) for part in of_split}
        for split, of_split in layout.parts.items()
    }
    return parts, " | ".join(layout.notes)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/seq1", "masks/seq2"),
        ("images/seq0", "masks/seq1"),
        ("seq1/images", "seq2/masks"),
        ("images/2020/a", "masks/2021/a"),
        ("images/1/2", "masks/1/3"),
        ("images/seq1", "masks/seq2_mask"),
        ("1/images/cam", "2/labels/cam"),
    ],
)
def test_folders_whose_numbers_contradict_are_not_paired(root, images, masks):
    fill(root, f"{images}/{{}}.png", f"{masks}/{{}}.png", range(4))
    with pytest.raises(DataError) as error:
        folders.find(root)
    assert f"not paired: {images} + {masks}; " in str(error.value)
    assert f"choose them with --masks {masks}." in str(error.value)
    assert found(root, masks=masks)[0] == {"train": {(images, masks)}}


def test_contradicting_folders_beside_right_ones_are_named(root):
    fill(root, "images/seq1/{}.png", "masks/seq1/{}.png", range(4))
    fill(root, "images/seq2/{}.png", "masks/seq3/{}.png", range(4))
    parts, notes = found(root)
    assert parts == {"train": {("images/seq1", "masks/seq1")}}
    assert "not paired: images/seq2 + masks/seq3; " in notes
    assert "not used: images/seq2 (4 files), masks/seq3 (4 files)" in notes


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("1_images", "2_masks"),
        ("2_Ortho_RGB", "5_Labels_all"),
        ("images/s01", "masks/s1"),
        ("images", "masks/2"),
        ("leftImg8bit/a", "gtFine/a"),
        ("training/image_2", "training/semantic"),
        ("Tile 1/images", "Tile 1/masks"),
    ],
)
def test_numbers_of_the_kinds_of_folders_do_not_contradict(root, images, masks):
    fill(root, f"{images}/{{}}.png", f"{masks}/{{}}.png", range(4))
    parts, notes = found(root)
    assert parts == {"train": {(images, masks)}} and "not paired" not in notes


def test_a_single_pair_with_other_words_in_its_paths_is_doubtful(root):
    fill(root, "val/images/rome/{}.png", "val/masks/rome/{}.png", range(4))
    fill(root, "train/images/london/{}.png", "train/masks/paris/{}.png", range(4))
    parts, notes = found(root)
    assert parts["train"] == {("train/images/london", "train/masks/paris")}
    assert "paths differ in 'london' and 'paris': train/images/london + train/masks/paris" in notes
    assert notes.count("Check that they belong together") == 1


def test_words_that_differ_in_all_pairs_are_how_the_data_set_names_its_folders(root):
    for city in ("rome", "paris", "london"):
        fill(root, f"raw/{city}/{{}}.png", f"hand-made/{city}/{{}}.png", range(4))
    parts, notes = found(root)
    assert len(parts["train"]) == 3 and notes == ""


def test_masks_of_another_place_are_no_second_kind_of_masks(root):
    for site, flight in (("north", 1), ("north", 2)):
        fill(root, f"images/{site}/{flight}/{{}}.png", f"masks/{site}/{flight}/{{}}.png", range(4))
    for name in range(4):
        image(root / f"images/south/1/{name}.png")
        mask(root / f"masks/south/2/{name}.png")
    parts, notes = found(root)
    places = ("north/1", "north/2")
    assert parts == {"train": {(f"images/{place}", f"masks/{place}") for place in places}}
    assert "not paired: images/south/1 + masks/south/2; " in notes


@pytest.mark.parametrize("kind", ["instances", "masks_colour", "object_masks", "edges"])
def test_a_split_without_class_masks_is_left_out_while_others_have_them(root, kind):
    fill(root, "train/images/{}.png", "train/masks/{}.png", range(4))
    fill(root, "val/images/{}.png", f"val/{kind}/{{}}.png", range(4))
    for name in range(4):
        mask(root / f"train/{kind}/{name}.png", (0, 1, 2, 3, 4))
    parts, notes = found(root)
    assert parts == {"train": {("train/images", "train/masks")}}
    assert f"not paired: val/images + val/{kind}; these do not seem to be class masks" in notes
    assert found(root, masks=kind)[0] == {
        split: {(f"{split}/images", f"{split}/{kind}")} for split in ("train", "val")
    }


def test_train_without_class_masks_is_an_error_that_says_so(root):
    fill(root, "val/images/{}.png", "val/masks/{}.png", range(4))
    fill(root, "train/images/{}.png", "train/instances/{}.png", range(4))
    with pytest.raises(DataError, match="no training images.*not paired: train/images [+] train/i"):
        folders.find(root)


def test_data_about_objects_may_have_only_such_masks(root):
    for split in ("train", "val"):
        fill(root, f"objects/{split}/rgb/{{}}.png", f"objects/{split}/edges/{{}}.png", range(4))
    assert list(found(root)[0]) == ["train", "val"]


def test_splits_whose_masks_have_different_names_are_told(root):
    fill(root, "train/images/{}.png", "train/masks/{}.png", range(4))
    fill(root, "val/images/{}.png", "val/lesions/{}.png", range(4))
    parts, notes = found(root)
    assert list(parts) == ["train", "val"]
    assert "different names: train/masks, val/lesions. Check that they hold the same c" in notes


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{}/images/{{}}.png", "{}/masks/{{}}.png"),
        ("{}/{{}}.png", "{}annot/{{}}.png"),
        ("images_{}/{{}}.png", "{}_labels/{{}}.png"),
        ("images/{}/{{}}_img.png", "gt/{}/{{}}_gt.png"),
    ],
)
def test_splits_with_the_same_kind_of_masks_give_no_notes(root, images, masks):
    for split in ("train", "val", "test"):
        fill(root, images.format(split), masks.format(split), range(4))
    parts, notes = found(root)
    assert list(parts) == ["train", "val", "test"] and notes == ""


def test_masks_in_parts_are_explained(root):
    for part, names in (("part1", range(4)), ("part2", range(4, 8))):
        fill(root, "images/{}.png", f"masks/{part}/{{}}.png", names)
    with pytest.raises(DataError) as error:
        folders.find(root)
    text = str(error.value)
    assert "masks of images are in several folders: masks/part1 (4), masks/part2 (4). Move" in text
    # The advice works.
    data = root.parent / "by_hand.yaml"
    pair = "{{images: data/images, masks: data/masks/{0}, list: {0}.txt}}"
    pairs = ", ".join(pair.format(part) for part in ("part1", "part2"))
    data.write_text(f"train: [{pairs}]\nclasses: [a, b, c]\n")
    (root.parent / "part1.txt").write_text("0\n1\n2\n3\n")
    (root.parent / "part2.txt").write_text("4\n5\n6\n7\n")
    assert len(pipelines.read(data, "train")) == 8
    assert "list: FILE.txt}, ...]`" in text


@pytest.mark.parametrize("counts", [(4, 4), (4, 4, 4), (9, 3), (1, 7, 2)])
@pytest.mark.parametrize("place", ["part{}", "{}/images"])
def test_images_in_parts_are_explained(root, counts, place):
    for part, count in enumerate(counts):
        names = [f"{part}-{name}" for name in range(count)]
        fill(root, f"images/{place.format(part)}/{{}}.png", "masks/{}.png", names)
    with pytest.raises(DataError) as error:
        folders.find(root)
    places = (f"images/{place.format(part)} ({count})" for part, count in enumerate(counts))
    assert f"images of masks are in several folders: {', '.join(places)}. M" in str(error.value)


def test_a_choice_among_folders_of_images_mentions_the_list_of_pairs(root):
    for camera in ("left", "right"):
        fill(root, f"{camera}/{{}}.png", "masks/{}.png", range(4))
    with pytest.raises(DataError, match=r"by hand.*`train: \[\{images: ..., masks: ...\}, ...\]`"):
        folders.find(root)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/{}", "masks/{}"),
        ("{}/images", "{}/masks"),
        ("images/{}/cam", "masks/{}/cam"),
    ],
)
@pytest.mark.parametrize(
    "places",
    [
        ("frame", "input", "photo"),
        ("A", "a"),
        ("e\u0301", "\xe8"),
        ("x label", "x mask"),
        ("day/left", "left/day"),
    ],
)
def test_each_folder_is_paired_by_its_own_path(root, images, masks, places):
    expected = set()
    for place in places:
        pair = images.format(place), masks.format(place)
        fill(root, f"{pair[0]}/{{}}.png", f"{pair[1]}/{{}}.png", range(3))
        expected.add(pair)
    assert found(root)[0] == {"train": expected}


def test_accents_may_be_stored_in_two_ways(root):
    for composed, decomposed in (("\xe9", "e\u0301"), ("\xe8", "e\u0300")):
        fill(root, f"images/{composed}/{{}}.png", f"masks/{decomposed}/{{}}.png", range(3))
    assert found(root)[0]["train"] == {
        ("images/\xe9", "masks/e\u0301"),
        ("images/\xe8", "masks/e\u0300"),
    }


def test_the_same_words_in_another_order_belong_together(root):
    expected = set()
    for time in ("day", "night"):
        for camera in ("left", "right"):
            pair = f"rgb/{time}/{camera}", f"gt/{camera}/{time}"
            fill(root, f"{pair[0]}/{{}}.png", f"{pair[1]}/{{}}.png", range(3))
            expected.add(pair)
    assert found(root)[0] == {"train": expected}


def test_a_chosen_suffix_does_not_turn_coloured_masks_into_images(root):
    expected = {}
    for split in ("train", "val"):
        stem = f"gtFine/{split}/rome/{{}}_gtFine"
        fill(
            root, f"leftImg8bit/{split}/rome/{{}}_leftImg8bit.png", f"{stem}_labelIds.png", range(3)
        )
        for name in range(3):
            mask(root / f"{stem.format(name)}_color.png", ((0, 0, 0), (9, 9, 9), (1, 2, 3)))
            mask(root / f"{stem.format(name)}_instanceIds.png", (0, 1, 9))
        expected[split] = {(f"leftImg8bit/{split}/rome", f"gtFine/{split}/rome")}
    for suffix in (None, "_gtFine_labelIds", "_gtFine_color"):
        assert found(root, mask_suffix=suffix)[0] == expected
        part = folders.find(root, mask_suffix=suffix).parts["val"][0]
        assert part.suffixes == ("_leftImg8bit", suffix or "_gtFine_labelIds")


@pytest.mark.parametrize("choice", [{}, {"images": "rgb"}])
def test_other_images_are_not_offered_as_masks(root, choice):
    fill(root, "rgb/{}.png", "masks/{}.png", range(4))
    fill(root, "nir/{}.png", "masks/{}.png", range(4))
    parts, notes = found(root, **choice)
    assert parts == {"train": {("rgb", "masks")}} and "not used: nir (4 files)" in notes
    assert found(root, images="nir")[0] == {"train": {("nir", "masks")}}


def test_what_was_not_searched_is_told_where_nothing_is_found(root, tmp_path):
    fill(tmp_path / "elsewhere", "images/{}.png", "masks/{}.png", range(3))
    (root / "images").symlink_to(tmp_path / "elsewhere/images")
    with pytest.raises(DataError, match=r"no image files.*not searched: images \(a link\)"):
        folders.find(root)
    fill(root, "a/{}.png", "masks/{}.png", range(3))
    with pytest.raises(DataError, match="--images images: holds no image files, or is a link or"):
        folders.find(root, images="images")
    (root / "images").unlink()
    shutil.rmtree(root / "masks")
    fill(root, "a/b/c/d/e/f/images/{}.png", "a/b/c/d/e/f/masks/{}.png", range(3))
    with pytest.raises(DataError, match=r"the folders below a/b/c/d \(more than 4 levels deep\)"):
        folders.find(root)
    assert len(made(root / "a/b/c/d")[1].classes) == 3
