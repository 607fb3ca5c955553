import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
import yaml
from PIL import Image

import pipelines
from pipelines import DataError
from pipelines.datasets import cityscapes, voc_tfds
from pipelines.datasets.tfds import read_with
from pipelines.examples import read_example

PICTURE = tfds.features.Image(encoding_format="jpeg")
LABELS = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
MAPPED = {0: 0, 20: 1, 255: 255}


def encoded(pixels, kind="PNG"):
    """The content of a file; masks are palette PNGs, whose colours differ from their indices."""
    image = Image.fromarray(np.asarray(pixels, "uint8"))
    if image.mode == "L":
        image = Image.fromarray(np.asarray(pixels, "uint8"), "P")
        image.putpalette(pipelines.distinct_palette(256).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def mask_of(number, values=(0, 20, 255)):
    return np.random.default_rng(number).choice(values, (6, 9))


def record(number, values=(0, 20, 255), image="image", mask="mask"):
    picture = np.full((6, 9, 3), 10 * number, "uint8")
    return {
        image: io.BytesIO(encoded(picture, "JPEG")),
        mask: io.BytesIO(encoded(mask_of(number, values))),
    }


def prepare(folder, name, splits, features=None, config=None, shards=None):
    """Lets TFDS write a data set; `splits` holds the records of each split."""

    class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            features_ = tfds.features.FeaturesDict(features or {"image": PICTURE, "mask": LABELS})
            return tfds.core.DatasetInfo(builder=self, features=features_)

        def _split_generators(self, _):
            return {split: enumerate(records) for split, records in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    Written.name = name
    options = tfds.download.DownloadConfig(num_shards=shards)
    Written(data_dir=folder).download_and_prepare(download_config=options)
    return folder


def described(name, folder, split):
    return read_with(name, folder, split, ("ground", "road"), np.eye(2, 3), MAPPED)


def numbers(split):
    """The number of each example's mask, as in `mask_of`."""
    made = {mask_of(n).tobytes(): n for n in range(25)}
    values = (split.read_mask(example.mask) for example in split.examples)
    return [made[v.astype(mask_of(0).dtype).tobytes()] for v in values]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """25 records in three files, with only a train split."""
    folder = tmp_path_factory.mktemp("tfds")
    return prepare(folder, "tiny", {"train": [record(n) for n in range(25)]}, shards=3)


def test_examples_are_read_exactly(tiny):
    split = described("tiny:1.2.0", tiny, "train")
    order = numbers(split)
    for index, number in enumerate(order):
        image, mask = read_example(split, index)
        values = mask_of(number)
        np.testing.assert_array_equal(mask, np.where(values == 20, 1, values))
        assert np.abs(image.astype(int) - 10 * number).max() <= 1


def test_tenth_of_train_is_held_out_without_a_validation_split(tiny):
    train, val = (described("tiny", tiny, split) for split in ("train", "val"))
    assert (train.name, val.name) == ("tfds:tiny train[:22]", "tfds:tiny train[22:]")
    assert sorted(numbers(train) + numbers(val)) == list(range(25)) and len(val) == 3
    assert numbers(described("tiny", tiny, "val")) == numbers(val)


def test_examples_are_read_in_any_order_and_thread(tiny):
    split = described("tiny", tiny, "train")
    expected = numbers(split)
    indices = np.random.default_rng(0).integers(22, size=200)
    with ThreadPoolExecutor(8) as pool:
        masks = list(pool.map(lambda i: split.read_mask(split.examples[i].mask), indices))
    for index, mask in zip(indices, masks, strict=True):
        np.testing.assert_array_equal(mask, mask_of(expected[index]))
    batches = list(pipelines.eval_dataset(split))
    assert len(batches) == 22 and batches[21][1].shape == (1, 6, 9)


def test_unknown_classes_give_the_yaml_to_write(tiny):
    with pytest.raises(DataError) as error:
        pipelines.read("tfds:tiny", "train", tiny)
    message, _, description = str(error.value).partition("\n\n")
    assert "The first 22 masks hold 0, 20, 255. Name the classes in a file" in message
    assert yaml.safe_load(description) == {
        "tfds": "tiny",
        "classes": [{"name": "CLASS_0", "value": 0}, {"name": "CLASS_1", "value": 20}],
        "ignore": [255],
    }


def test_yaml_file_names_the_classes(tiny, tmp_path):
    text = "classes: [ground, {name: road, value: 20, colour: [128, 64, 128]}]\nignore: [255]\n"
    for place in (tiny, os.path.relpath(tiny, tmp_path)):  # Relative to the YAML file.
        data = tmp_path / "data.yaml"
        data.write_text(f"tfds: tiny\ndata_dir: {place}\n{text}")
        for name, count in (("train", 22), ("val", 3)):
            split = pipelines.read(data, name)
            assert len(split) == count and split.class_names == ("ground", "road")
            assert split.palette.tolist() == [[0, 0, 0], [128, 64, 128]]
            for index, number in enumerate(numbers(split)):
                values = mask_of(number)
                np.testing.assert_array_equal(
                    read_example(split, index)[1], np.where(values == 20, 1, values)
                )
    with pytest.raises(DataError, match="tfds:tiny: no split 'extra'; choose one of val, train"):
        pipelines.read(data, "extra")


def test_colour_masks_are_described_by_colours(tmp_path):
    mask = encoded([[(1, 2, 3), (128, 64, 0)]])
    made = [dict(record(n), mask=io.BytesIO(mask)) for n in range(10)]
    prepare(tmp_path, "coloured", {"train": made}, {"image": PICTURE, "mask": PICTURE})
    with pytest.raises(DataError) as error:
        pipelines.read("tfds:coloured", "train", tmp_path)
    description = yaml.safe_load(str(error.value).partition("\n\n")[2])
    assert description["classes"][1] == {"name": "CLASS_1", "colour": [128, 64, 0]}
    split = read_with(
        "coloured", tmp_path, "train", "ab", np.eye(2, 3), {}, {(1, 2, 3): 0, (128, 64, 0): 1}
    )
    assert split.colour_table[[66051, 8404992]].tolist() == [0, 1]


def test_oxford_pets_classes_are_known(tmp_path):
    features = {"image": PICTURE, "file_name": tfds.features.Text(), "segmentation_mask": LABELS}
    made = [dict(record(n, (1, 2, 3), mask="segmentation_mask"), file_name="x") for n in range(11)]
    prepare(tmp_path, "oxford_iiit_pet", {"train": made[1:], "test": made[:1]}, features)
    split = pipelines.read("tfds:oxford_iiit_pet", "test", tmp_path)
    assert split.class_names == ("pet", "background", "border")
    np.testing.assert_array_equal(read_example(split, 0)[1], mask_of(0, (1, 2, 3)) - 1)
    assert len(pipelines.read("tfds:oxford_iiit_pet", "val", tmp_path)) == 1
    with pytest.raises(DataError, match="no split 'extra'; choose one of val, train, test"):
        pipelines.read("tfds:oxford_iiit_pet", "extra", tmp_path)


def test_cityscapes_has_its_own_label_ids_and_validation_split(tmp_path):
    features = {
        "image_id": tfds.features.Text(),
        "image_left": PICTURE,
        "disparity_map": LABELS,
        "segmentation_label": LABELS,
    }
    made = [
        record(n, range(34), image="image_left", mask="segmentation_label")
        | {"image_id": "x", "disparity_map": io.BytesIO(encoded([[0]]))}
        for n in range(2)
    ]
    config = "semantic_segmentation"
    splits = {"train": made[1:], "validation": made[:1]}
    prepare(tmp_path, "cityscapes", splits, features, config)
    for name in ("cityscapes", f"cityscapes/{config}", f"cityscapes/{config}:1.2.0"):
        split = pipelines.read(f"tfds:{name}", "val", tmp_path)
        assert split.name == f"tfds:{name} validation"
        wanted = np.vectorize(cityscapes.LABEL_IDS.get)(mask_of(0, range(34)))
        np.testing.assert_array_equal(read_example(split, 0)[1], wanted)


def test_mask_feature_names_its_classes(tmp_path):
    features = {"image": PICTURE, "any": tfds.features.LabeledImage(labels=["land", "sea"])}
    made = [record(n, (0, 1), mask="any") for n in range(10)]
    prepare(tmp_path, "named", {"train": made}, features)
    split = pipelines.read("tfds:named", "train", tmp_path)
    assert split.class_names == ("land", "sea")
    assert pipelines.check(split).sum() == 9 * 6 * 9


def test_newest_version_is_read_and_config_must_be_unique(tmp_path):
    made = {"train": [record(n) for n in range(3)]}
    for config in ("fine", "coarse"):
        prepare(tmp_path, "two", made, config=config)
    with pytest.raises(DataError, match="choose tfds:two/coarse or tfds:two/fine"):
        described("two", tmp_path, "train")
    versions = tmp_path / "two" / "fine"
    info = json.loads((versions / "1.2.0" / "dataset_info.json").read_text())
    (versions / "1.2.0").rename(versions / "1.10.0")
    (versions / "1.10.0" / "dataset_info.json").write_text(
        json.dumps({**info, "version": "1.10.0"})
    )
    prepare(tmp_path, "two", made, config="fine")
    assert "1.10.0" in str(described("two/fine", tmp_path, "train").examples[0].image)
    assert "1.2.0" in str(described("two/fine:1.2.0", tmp_path, "train").examples[0].image)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"image": PICTURE, "mask": tfds.features.Tensor(shape=(6, 9), dtype=np.uint8)},
            r"image \(image, 3 channels\), mask \(Tensor\)\. Numbers \(Tensor\) are not",
        ),
        (
            {"left": PICTURE, "right": PICTURE, "mask": LABELS},
            "must have one image with 3 channels",
        ),
        ({"image": PICTURE, "a": LABELS, "b": LABELS}, r"a \(image, 1 channel\), b \(image, 1"),
        ({"image": PICTURE}, "one mask, which is called segmentation_mask, segmentation_label"),
    ],
)
def test_ambiguous_features_are_listed(tmp_path, features, message):
    blank = {key: np.zeros([side or 1 for side in f.shape], "uint8") for key, f in features.items()}
    prepare(tmp_path, "odd", {"train": [blank]}, features)
    with pytest.raises(DataError, match=message):
        described("odd", tmp_path, "train")


def test_damage_is_reported(tmp_path):
    prepare(tmp_path, "tiny", {"train": [record(n) for n in range(2)]})
    (file,) = tmp_path.rglob("*.tfrecord-*")
    split = described("tiny", tmp_path, "train")
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(DataError, match="truncated or damaged at byte"):
        described("tiny", tmp_path, "train")
    file.write_bytes(content[: 16 + split.examples[0].image.length])
    with pytest.raises(DataError, match="must have 2 records, found 1. Prepare the data set ag"):
        described("tiny", tmp_path, "train")
    file.write_bytes(content[:12] + bytes(200) + content[212:])
    with pytest.raises(DataError, match="byte 12, image: the record is damaged"):
        read_example(split, 0)
    file.unlink()
    with pytest.raises(DataError, match=r"byte 12, image: cannot be read \(No such file"):
        read_example(split, 0)
    with pytest.raises(DataError, match=r"00000-of-00001: cannot be read \(No such file"):
        described("tiny", tmp_path, "train")


def test_other_file_formats_are_rejected(tmp_path):
    prepare(tmp_path, "tiny", {"train": [record(0)]})
    (info,) = tmp_path.rglob("dataset_info.json")
    info.write_text(json.dumps({**json.loads(info.read_text()), "fileFormat": "array_record"}))
    with pytest.raises(DataError, match="array_record; only TFRecord files are supported"):
        described("tiny", tmp_path, "train")
    info.write_text("{")
    with pytest.raises(DataError, match="TFDS cannot open it"):
        described("tiny", tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x/..", "tfds:x/..: not the name of a data set; write tfds:NAME, tfds:NAME/CONFIG or"),
        ("x:1.0.0", 'Prepare it, which may download a lot: python -c "import tensorflow_datasets'),
        ("voc_segmentation/2011", "import prepare; prepare('VOC_DIR', '2011', data_dir='"),
        ("scene_parse150", "Use `--data ade20k`"),
    ],
)
def test_missing_data_set_is_explained(tmp_path, name, message):
    with pytest.raises(DataError) as error:
        pipelines.read(f"tfds:{name}", "train", tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_default_folder_is_that_of_tfds(tiny, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tiny))
    assert len(described("tiny", None, "train")) == 22


def test_missing_tfds_names_the_install_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match="pip install tensorflow-datasets importlib_resources"):
        pipelines.read("tfds:oxford_iiit_pet", "train", tmp_path)


@pytest.fixture
def devkit(tmp_path, rng):
    root = tmp_path / "raw" / "VOCdevkit" / "VOC2011"
    lists = root / "ImageSets" / "Segmentation"
    for folder in (lists, root / "JPEGImages", root / "SegmentationClass"):
        folder.mkdir(parents=True)
    for split, names in (("train", ("2007_000001", "2007_000002")), ("val", ("2007_000003",))):
        (lists / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            picture = rng.integers(0, 256, (30, 40, 3))
            (root / "JPEGImages" / f"{name}.jpg").write_bytes(encoded(picture, "JPEG"))
            mask = rng.choice([0, 15, 20, 255], (30, 40))
            (root / "SegmentationClass" / f"{name}.png").write_bytes(encoded(mask))
    return tmp_path / "raw"


def same_examples(prepared, raw):
    """Whether two splits have the same image files and masks in any order; TFDS shuffles them."""

    def content(split):
        for index, example in enumerate(split.examples):
            yield example.image.read_bytes(), read_example(split, index)[1].tobytes()

    return sorted(content(prepared)) == sorted(content(raw))


def test_voc_passes_through_tfds_unchanged(devkit, tmp_path):
    voc_tfds.prepare(devkit, 2011, tmp_path / "tfds")
    for name in ("train", "val"):
        split = pipelines.read("tfds:voc_segmentation/2011", name, tmp_path / "tfds")
        raw = pipelines.read("voc2011", name, devkit)
        assert same_examples(split, raw) and split.class_names == raw.class_names
        assert split.mask_values == raw.mask_values


def test_voc_with_faults_is_not_prepared(devkit, tmp_path):
    (devkit / "VOCdevkit/VOC2011/SegmentationClass/2007_000003.png").write_bytes(encoded([[21]]))
    with pytest.raises(DataError, match="2007_000003.png: label value 21"):
        voc_tfds.prepare(devkit, 2011, tmp_path / "tfds")
    with pytest.raises(DataError, match="not prepared in"):
        pipelines.read("tfds:voc_segmentation/2011", "val", tmp_path / "tfds")


def test_real_voc_passes_through_tfds_unchanged(shared, tmp_path):
    sample = shared / "data" / "voc_sample"
    voc_tfds.prepare(sample, data_dir=tmp_path)
    for name in ("train", "val"):
        split = pipelines.read("tfds:voc_segmentation/2012", name, tmp_path)
        assert same_examples(split, pipelines.read("voc2012", name, sample))
