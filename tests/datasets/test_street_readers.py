import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines import DataError
from pipelines.datasets import ade20k, camvid, cityscapes
from pipelines.examples import read_example


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, "uint8")).save(path)


def masks(split):
    return [read_example(split, index)[1] for index in range(len(split))]


FRAMES = {
    "train": ("0001TP_006690", "0001TP_008520", "0006R0_f00930", "0016E5_07920", "0016E5_07980"),
    "val": ("0016E5_07959", "0016E5_08159"),
    "test": ("0001TP_008550", "Seq05VD_f00000"),
}


@pytest.fixture
def original_camvid(tmp_path):
    """Each mask has one row per colour of the table, 32 in all."""
    colours = [colour for colour, _ in camvid.ORIGINAL.values()]
    for name in sum(FRAMES.values(), ()):
        save(tmp_path / "701_StillsRaw_full" / f"{name}.png", np.zeros((32, 3, 3)))
        rows = np.repeat(np.array(colours)[:, None], 3, axis=1)
        save(tmp_path / "LabeledApproved_full" / f"{name}_L.png", rows)
    return tmp_path


@pytest.mark.parametrize("split", FRAMES)
def test_original_camvid_has_segnets_splits_and_classes(original_camvid, split):
    found = pipelines.read("camvid", split, original_camvid)
    assert tuple(example.id for example in found.examples) == FRAMES[split]
    names = [(*camvid.CLASSES, "Void")[min(i, 11)] for i in masks(found)[0][:, 0]]
    assert names == [name or "Void" for _, name in camvid.ORIGINAL.values()]


def test_original_camvid_merges_its_classes_as_published():
    # The 11 classes of Sturgess et al. (2009), which SegNet uses; the rest follows from the names.
    merged = {
        "Pole": ["Column_Pole", "TrafficCone"],
        "SignSymbol": ["Misc_Text", "SignSymbol", "TrafficLight"],
        "Bicyclist": ["Bicyclist", "MotorcycleScooter"],
        "Tree": ["Tree", "VegetationMisc"],
        "Road": ["LaneMkgsDriv", "LaneMkgsNonDriv", "Road"],
        "Pavement": ["ParkingBlock", "RoadShoulder", "Sidewalk"],
        "Building": ["Archway", "Bridge", "Building", "Tunnel", "Wall"],
        "Car": ["Car", "OtherMoving", "SUVPickupTruck", "Train", "Truck_Bus"],
        "Pedestrian": ["Animal", "CartLuggagePram", "Child", "Pedestrian"],
        "Fence": ["Fence"],
        "Sky": ["Sky"],
        None: ["Void"],
    }
    found = {name: [] for name in merged}
    for original, (_, name) in sorted(camvid.ORIGINAL.items()):
        found[name].append(original)
    assert {name: sorted(group) for name, group in found.items()} == merged


def test_camvid_masks_of_only_void_and_sky_are_colours(original_camvid):
    mask = np.zeros((32, 3, 3))
    mask[:4] = 128
    save(original_camvid / "LabeledApproved_full" / "0016E5_07959_L.png", mask)
    first = masks(pipelines.read("camvid", "val", original_camvid))[0]
    assert first[:, 0].tolist() == 4 * [0] + 28 * [255]


def test_camvid_in_segnets_layout_reads_colour_masks(tmp_path):
    for name, pavement in (("a", (60, 40, 222)), ("b", (0, 0, 192))):
        save(tmp_path / "train" / f"{name}.png", np.zeros((2, 2, 3)))
        save(tmp_path / "trainannot" / f"{name}.png", [[pavement, (0, 0, 0)], 2 * [(64, 0, 128)]])
    lines = [f"/SegNet/train/{name}.png /SegNet/trainannot/{name}.png" for name in "ab"]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    for mask in masks(pipelines.read("camvid", "train", tmp_path)):
        assert mask.tolist() == [[4, 255], [8, 8]]


def test_camvid_split_rule_gives_the_published_lists(shared):
    for split in ("train", "val"):
        lines = (shared / "data" / "camvid" / f"{split}.txt").read_text().split()
        names = {line.rsplit("/", 1)[1].removesuffix(".png") for line in lines}
        assert {camvid.published_split(name) for name in names} == {split}
    assert camvid.published_split("0001TP_f") is camvid.published_split("holiday_01") is None


def test_camvid_reports_unpaired_files(original_camvid):
    (original_camvid / "LabeledApproved_full" / "0016E5_07959_L.png").unlink()
    (original_camvid / "701_StillsRaw_full" / "Seq05VD_f00000.png").unlink()
    with pytest.raises(DataError, match="0016E5_07959.png: has no mask. Add it, or remove"):
        pipelines.read("camvid", "val", original_camvid)
    with pytest.raises(DataError, match="Seq05VD_f00000_L.png: has no image"):
        pipelines.read("camvid", "test", original_camvid)
    kept = pipelines.read("camvid", "val", original_camvid, keep_faults=True)
    assert [example.id for example in kept.examples] == ["0016E5_08159"]
    assert [fault.kind for fault in kept.faults] == ["unpaired"]


@pytest.fixture
def streets(tmp_path):
    """Cityscapes: train with label ids 0..33, val with only train ids, test all void."""
    for split, kind, row in (
        ("train", "labelIds", range(34)),
        ("val", "labelTrainIds", [*range(19), 255]),
        ("test", "labelIds", [3, 3]),
    ):
        for city in ("aachen", "bochum"):
            name = f"{city}_000000_000019"
            image = tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
            save(image, np.zeros((1, len(row), 3)))
            save(tmp_path / "gtFine" / split / city / f"{name}_gtFine_{kind}.png", [list(row)])
            save(tmp_path / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png", [[7]])
    return tmp_path


def test_cityscapes_scores_19_of_34_labels(streets):
    split = pipelines.read("cityscapes", "train", streets)
    assert [e.id for e in split.examples] == ["aachen_000000_000019", "bochum_000000_000019"]
    row = masks(split)[1][0]
    scored = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert np.flatnonzero(row != 255).tolist() == scored
    assert row[scored].tolist() == list(range(19))
    assert split.class_names[13] == "car" and split.palette[13].tolist() == [0, 0, 142]


def test_cityscapes_reads_train_ids_if_label_ids_are_missing(streets):
    assert masks(pipelines.read("cityscapes", "val", streets))[0].tolist() == [[*range(19), 255]]


def test_ade20k_has_the_benchmarks_classes():
    known = {  # Numbers and names in the benchmark's objectInfo150.txt.
        1: "wall", 2: "building", 3: "sky", 5: "tree", 7: "road", 13: "person", 21: "car",
        22: "water", 25: "shelf", 26: "house", 27: "sea", 28: "mirror", 77: "boat", 81: "bus",
        84: "truck", 91: "airplane", 103: "van", 128: "bicycle", 137: "traffic light", 150: "flag",
    }  # fmt: skip
    assert {number: ade20k.CLASSES[number - 1] for number in known} == known
    assert len(set(ade20k.CLASSES)) == 150


def test_ade20k_numbers_its_classes_from_1(tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    for folder, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        save(root / "images" / folder / f"{name}.jpg", np.zeros((1, 151, 3)))
        save(root / "annotations" / folder / f"{name}.png", [list(range(151))])
    for given in (tmp_path, root):
        for name in ("train", "val"):
            split = pipelines.read("ade20k", name, given)
            assert [e.id for e in split.examples] == [f"ADE_{name}_00000001"]
            assert masks(split)[0].tolist() == [[255, *range(150)]]
    names = split.class_names
    assert len(set(names)) == 150 and len({tuple(colour) for colour in split.palette}) == 150
    assert (names[0], names[89], names[130], names[149]) == ("wall", "television", "screen", "flag")


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [
        ("cityscapes", "test", "its labels are not published"),
        ("cityscapes", "extra", "no split 'extra'; choose one of train, val"),
        ("cityscapes", "train", "0 images and 0 masks of the split, but no pair. City"),
        ("ade20k", "test", "The test split's masks are not published"),
        ("ade20k", "val", "no pair. ADE20K's scene parsing benchmark is ADEChallengeData2016.zip"),
        ("camvid", "val", "The original is at mi.eng.cam.ac.uk"),
    ],
)
def test_missing_data_names_its_source(tmp_path, data, split, message):
    with pytest.raises(DataError) as error:
        pipelines.read(data, split, tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("module", [camvid, cityscapes, ade20k])
def test_missing_data_dir_names_the_source(module):
    with pytest.raises(DataError) as error:
        pipelines.read(module.__name__.rsplit(".")[-1], "train")
    assert str(error.value).endswith(module.WHERE) and "--data-dir" in module.WHERE
