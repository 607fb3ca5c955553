import hashlib

import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines import DataError
from pipelines.examples import read_example


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture
def segnet_layout(tmp_path, rng):
    """CamVid in SegNet's layout, with paths of another machine; one file is not listed."""
    for split, names in (("train", "abc"), ("val", "d")):
        for folder in (split, f"{split}annot"):
            (tmp_path / folder).mkdir()
        lines = []
        for name in names:
            image = rng.integers(0, 256, (36, 48, 3), "uint8")
            Image.fromarray(image).save(tmp_path / split / f"{name}.png")
            mask = rng.integers(0, 12, (36, 48), "uint8")
            Image.fromarray(mask).save(tmp_path / f"{split}annot" / f"{name}.png")
            if name != "b":
                lines.append(
                    f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png"
                )
        (tmp_path / f"{split}.txt").write_text("\r\n".join(lines))
    return tmp_path


def test_camvid_reads_the_listed_files(segnet_layout):
    split = pipelines.read("camvid", "train", segnet_layout)
    assert [example.id for example in split.examples] == ["a", "c"]
    assert split.num_classes == 11 and split.palette.shape == (11, 3)
    image, mask = read_example(split, 0)
    raw = pixels(segnet_layout / "trainannot" / "a.png")
    np.testing.assert_array_equal(mask, np.where(raw == 11, 255, raw))
    assert image.shape == (36, 48, 3)


def test_camvid_names_missing_files(segnet_layout):
    (segnet_layout / "train" / "c.png").unlink()
    for arguments, message in (
        (("train", segnet_layout), "lists"),
        (("test", segnet_layout), "has train, val"),
        (("train", segnet_layout / "nowhere"), "no such folder"),
        (("train", None), "SegNet"),
    ):
        with pytest.raises(DataError) as error:
            pipelines.read("camvid", *arguments)
        assert message in str(error.value)


def test_camvid_lists_stay_inside_the_folder(segnet_layout):
    (segnet_layout / "val.txt").write_text("/x/../../secret.png /x/valannot/d.png")
    with pytest.raises(DataError):
        pipelines.read("camvid", "val", segnet_layout)


def test_real_camvid_has_the_published_sizes(shared):
    root = shared / "data" / "camvid"
    assert [len(pipelines.read("camvid", s, root)) for s in ("train", "val")] == [367, 101]


def test_synthetic_images_are_always_the_same():
    first, again = (pipelines.read("synthetic", "val") for _ in range(2))
    assert len(first) == 40 and first.num_classes == 5
    for a, b in zip(first.examples, again.examples, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.mask, b.mask)
    labels = np.concatenate([example.mask.ravel() for example in first.examples])
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4, 255}
    assert not any(
        np.array_equal(a.image, first.examples[0].image)
        for a in pipelines.read("synthetic", "train").examples
    )


def test_unknown_data_set_lists_the_known_ones():
    with pytest.raises(DataError, match="one of camvid, voc2011, .*synthetic, or give the YAML"):
        pipelines.read("camvd", "train")


def test_check_counts_pixels(two_folders):
    split = pipelines.read(two_folders / "data.yaml", "train")
    counts = pipelines.check(split)
    masks = [pixels(e.mask) for e in split.examples]
    np.testing.assert_array_equal(counts, np.bincount(np.ravel(masks), minlength=256)[:3])


def test_check_reports_all_faults_and_changes_no_file(two_folders):
    masks, images = two_folders / "train" / "masks", two_folders / "train" / "images"
    wrong = pixels(masks / "0.png")
    wrong[7, 5:9] = 34
    Image.fromarray(wrong).save(masks / "0.png")
    (images / "1.jpg").write_bytes((images / "1.jpg").read_bytes()[:300])
    Image.fromarray(np.zeros((40, 57), "uint8")).save(masks / "2.png")
    Image.fromarray(np.where(np.eye(40, 56) > 0, 255, 0).astype("uint8")).save(masks / "3.png")
    (two_folders / "data.yaml").write_text(
        (two_folders / "data.yaml").read_text() + "ignore: [254]\n"
    )

    def digest():
        files = sorted(p for p in two_folders.rglob("*") if p.is_file())
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = digest()
    split = pipelines.read(two_folders / "data.yaml", "train")
    with pytest.raises(DataError) as error:
        pipelines.check(split)
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    assert "0.png: label value 34 (4 pixels), 255 (56 pixels), first at row 0" in lines[0]
    assert "1.jpg: damaged" in lines[1]
    assert "1.png: label value 255 (56 pixels)" in lines[2]
    assert "2.png: the mask is 40 x 57 (height x width), but its image" in lines[3]
    assert "255 is class 1" in lines[4]
    assert digest() == before


def test_check_rejects_a_split_without_labels(two_folders):
    for path in (two_folders / "val" / "masks").iterdir():
        Image.fromarray(np.full((40, 56), 255, "uint8")).save(path)
    with pytest.raises(DataError, match="every pixel of every mask is void"):
        pipelines.check(pipelines.read(two_folders / "data.yaml", "val"))


@pytest.fixture
def voc_layout(tmp_path, rng):
    """Two VOC 2012 images, one per split; palette masks with void borders."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name in ("2007_000001", "2007_000002"):
        image = rng.integers(0, 256, (30, 40, 3), "uint8")
        Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg")
        mask = Image.fromarray(rng.choice([0, 15, 20, 255], (30, 40)).astype("uint8"), "P")
        mask.putpalette(pipelines.distinct_palette(256).tobytes())
        mask.save(root / "SegmentationClass" / f"{name}.png")
    for split, names in (("train", "2007_000001\n"), ("val", "2007_000002\n")):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(names)
    return tmp_path


def test_voc_is_read_from_the_devkit_or_its_parent(voc_layout):
    for folder in (voc_layout, voc_layout / "VOCdevkit"):
        split = pipelines.read("voc2012", "val", folder)
        assert [example.id for example in split.examples] == ["2007_000002"]
        assert split.num_classes == 21
        _, mask = read_example(split, 0)
        assert set(np.unique(mask)) == {0, 15, 20, 255}


def test_voc_names_missing_files(voc_layout):
    (voc_layout / "VOCdevkit/VOC2012/SegmentationClass/2007_000001.png").unlink()
    for data, split, folder, message in (
        ("voc2012", "train", voc_layout, "the first missing file is"),
        ("voc2012", "test", voc_layout, "no such split; found train, val"),
        ("voc2011", "train", voc_layout, "has no folder VOCdevkit/VOC2011. PASCAL VOC 2011"),
        ("voc2012", "train", None, "host.robots.ox.ac.uk/pascal/VOC/voc2012/"),
    ):
        with pytest.raises(DataError) as error:
            pipelines.read(data, split, folder)
        assert message in str(error.value)


def test_the_palette_is_that_of_pascal_voc():
    """The colours of the VOC 2012 development kit (VOCcolormap.m)."""
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        4: (0, 0, 128),
        7: (128, 128, 128),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    palette = pipelines.distinct_palette(256)
    assert {class_id: tuple(palette[class_id]) for class_id in known} == known
    assert len(np.unique(palette, axis=0)) == 256


def test_real_voc_masks_have_their_classes_and_colours(shared):
    split = pipelines.read("voc2012", "trainval", shared / "data" / "voc_sample")
    names = (shared / "data" / "splits" / "pascal_classes.txt").read_text().split()
    assert list(split.class_names) == names[:21]
    for index, example in enumerate(split.examples):
        image, mask = read_example(split, index)
        assert image.shape[:2] == mask.shape and 255 in mask
        with Image.open(example.mask) as picture:
            colours = np.array(picture.convert("RGB"))
        inside = mask != 255
        np.testing.assert_array_equal(split.palette[mask[inside]], colours[inside])
