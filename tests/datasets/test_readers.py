"""The paper's data sets: small folders in the distributed formats."""

import os

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import pipelines
from pipelines import DataError
from pipelines.datasets import nyudv2, pascal_context, siftflow
from pipelines.examples import class_ids, read_example
from pipelines.files.matlab import read_mat

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"


def picture(path, size=(6, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), (200, 100, 50), "uint8")).save(path)


def mat(path, content, version=5):
    """Writes variables like MATLAB's `save`, or `save -v7.3` for version 7.3."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if version == 5:
        savemat(path, content, do_compression=True)
        return path

    def put(group, values):
        for name, value in values.items():
            if isinstance(value, dict):
                put(group.create_group(name), value)
            else:
                group[name] = np.asarray(value).T  # HDF5 has MATLAB's axes in reverse order.

    with h5py.File(path, "w", userblock_size=512) as file:
        put(file, content)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path


def lines(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def ids(split):
    return [example.id for example in split.examples]


def mask_of(split, name):
    return read_example(split, ids(split).index(name))[1]


def ramp(low, high):
    """A 6 x 9 mask with every value of low..high; transposing it changes it."""
    return np.resize(np.arange(low, high + 1), (6, 9))


# ---- MATLAB files


@pytest.mark.parametrize("version", [5, 7.3])
@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "float64"])
def test_matrix_keeps_its_values_and_axes(tmp_path, version, kind):
    values = ramp(0, 53) * (8 if kind == "uint16" else 1)
    array = read_mat(mat(tmp_path / "a.txt", {"S": values.astype(kind)}, version), "S")
    assert array.dtype.kind in "iu"
    np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize("version", [5, 7.3])
def test_fields_of_structs_are_read(tmp_path, version):
    content = {"GTcls": {"Boundaries": np.ones((3, 1)), "Segmentation": ramp(0, 20)}}
    path = mat(tmp_path / "a.mat", content, version)
    np.testing.assert_array_equal(read_mat(path, "GTcls", "Segmentation"), ramp(0, 20))
    with pytest.raises(DataError, match="has no 'Mask'; it has Boundaries, Segmentation"):
        read_mat(path, "GTcls", "Mask")
    with pytest.raises(DataError, match="'GTcls' must be a matrix of numbers"):
        read_mat(path, "GTcls")


def test_struct_in_a_version_7_3_cell_is_read(tmp_path):
    path = mat(tmp_path / "a.mat", {"hidden": {"S": ramp(0, 5)}}, 7.3)
    with h5py.File(path, "r+") as file:
        file["cell"] = np.array([[file["hidden"].ref]], h5py.ref_dtype)
    np.testing.assert_array_equal(read_mat(path, "cell", "S"), ramp(0, 5))


@pytest.mark.parametrize("version", [5, 7.3])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((6, 9), 0.5), "'S' must hold integers, found 0.5"),
        (np.full((6, 9), np.nan), "'S' must hold integers, found nan"),
        (np.full((6, 9), np.inf), "'S' must hold integers, found inf"),
        (np.ones((2, 3, 4)), r"must have rows and columns, found an array of shape \(2, 3, 4\)"),
        (np.ones((6, 9), "complex64"), "'S' must be a matrix of numbers"),
    ],
)
def test_wrong_variables_are_rejected(tmp_path, version, value, message):
    path = mat(tmp_path / "a.mat", {"S": value}, version)
    with pytest.raises(DataError, match=message) as error:
        read_mat(path, "S")
    assert str(path) in str(error.value) and error.value.kind == "wrong content"


@pytest.mark.parametrize("version", [5, 7.3])
def test_damaged_files_are_named(tmp_path, rng, version):
    path = mat(tmp_path / "a.mat", {"S": rng.integers(0, 34, (60, 90))}, version)
    whole = path.read_bytes()
    for length in (600, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="a.mat: damaged or unreadable") as error:
            read_mat(path, "S")
        assert error.value.kind == "damaged file"


@pytest.mark.parametrize(
    ("content", "message", "kind"),
    [
        (b"", "the file is empty", "empty file"),
        (b"<html><body>404</body></html>", "it starts with '<html><body>'", "not a .mat"),
        (b"\x00\x01\x02\x03" * 99, "it starts with the bytes 00 01 02 03", "not a .mat"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", "not a .mat"),
    ],
)
def test_files_of_other_types_are_described(tmp_path, content, message, kind):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_mat(tmp_path / "a.mat", "S")
    assert error.value.kind == kind


def test_missing_files_folders_and_pipes_are_named(tmp_path):
    with pytest.raises(DataError, match="a.mat: no such file") as error:
        read_mat(tmp_path / "a.mat", "S")
    assert error.value.kind == "missing file"
    with pytest.raises(DataError, match="a folder"):
        read_mat(tmp_path, "S")
    os.mkfifo(tmp_path / "pipe.mat")
    with pytest.raises(DataError, match="not a regular file"):
        read_mat(tmp_path / "pipe.mat", "S")


def test_hdf5_links_to_other_files_are_not_followed(tmp_path):
    secret = mat(tmp_path / "secret.mat", {"S": ramp(0, 5)}, 7.3)
    for kind in ("link", "external", "virtual"):
        with h5py.File(tmp_path / f"{kind}.mat", "w") as file:
            if kind == "link":
                file["S"] = h5py.ExternalLink(secret, "S")
            elif kind == "external":
                file.create_dataset("S", (6, 9), "uint8", external=[(str(secret), 0, 54)])
            else:
                layout = h5py.VirtualLayout((9, 6), "int64")
                layout[:] = h5py.VirtualSource(secret, "S", (9, 6))
                file.create_virtual_dataset("S", layout)
        with pytest.raises(DataError, match=f"{kind}.mat: its data is in another file"):
            read_mat(tmp_path / f"{kind}.mat", "S")


def test_huge_matrix_is_rejected_by_its_header(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("S", (10**6, 10**6), "uint8", chunks=(100, 100))
    with pytest.raises(DataError, match="too large: 1000000 x 1000000"):
        read_mat(tmp_path / "a.mat", "S")


# ---- PASCAL VOC and SBD


@pytest.fixture
def voc_and_sbd(tmp_path):
    """VOC: train a b, val c d e, masks of 5. SBD: train a c f h, val d g, masks of 7."""
    for year in (2011, 2012):
        root = tmp_path / "VOCdevkit" / f"VOC{year}"
        for name in "abcde":
            picture(root / "JPEGImages" / f"{name}.jpg")
            mask = root / "SegmentationClass" / f"{name}.png"
            mask.parent.mkdir(exist_ok=True)
            Image.fromarray(np.where(np.eye(6, 9) > 0, 255, 5).astype("uint8")).save(mask)
        for split, names in (("train", "ab"), ("val", "cde"), ("trainval", "abcde")):
            lines(root / "ImageSets" / "Segmentation" / f"{split}.txt", names)
    sbd = tmp_path / "benchmark_RELEASE" / "dataset"
    for name in "acdfgh":
        picture(sbd / "img" / f"{name}.jpg")
        mask = np.full((6, 9), 7, "uint8")
        mat(sbd / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": mask, "Boundaries": 1}})
    lines(sbd / "train.txt", "acfh")
    lines(sbd / "val.txt", "dg")
    return tmp_path


@pytest.mark.parametrize(
    ("data", "split", "names"),
    [
        ("voc2011", "train", "ab"),
        ("voc2011", "val", "cde"),
        ("voc2011", "trainval", "abcde"),
        ("voc2011", "sbd", "acfh"),
        ("voc2011", "trainaug", "abfhg"),
        ("voc2011", "seg11valid", "de"),
        ("voc2012", "sbd", "acfh"),
        ("voc2012", "trainaug", "abfhg"),
    ],
)
def test_voc_splits_with_sbd(voc_and_sbd, data, split, names):
    assert ids(pipelines.read(data, split, voc_and_sbd)) == list(names)


def test_masks_come_from_the_same_data_set_as_the_list(voc_and_sbd):
    voc_mask = np.where(np.eye(6, 9) > 0, 255, 5)
    for split, of_voc, of_sbd in (("trainaug", "ab", "fhg"), ("sbd", "", "acfh")):
        examples = pipelines.read("voc2012", split, voc_and_sbd)
        for name in of_voc:
            np.testing.assert_array_equal(mask_of(examples, name), voc_mask)
        for name in of_sbd:
            assert (mask_of(examples, name) == 7).all()


def test_training_and_evaluation_splits_are_disjoint(voc_and_sbd):
    for trained, scored in (("sbd", "seg11valid"), ("trainaug", "val")):
        both = [ids(pipelines.read("voc2011", split, voc_and_sbd)) for split in (trained, scored)]
        assert not set(both[0]) & set(both[1])


@pytest.mark.parametrize("place", ["dataset", "SBD", "."])
def test_sbd_is_found_in_other_folders(voc_and_sbd, place):
    source, goal = voc_and_sbd / "benchmark_RELEASE" / "dataset", voc_and_sbd / place
    goal.mkdir(exist_ok=True)
    for path in source.iterdir():
        path.rename(goal / path.name)
    assert ids(pipelines.read("voc2012", "sbd", voc_and_sbd)) == list("acfh")


def test_missing_sbd_names_its_source(voc_and_sbd):
    (voc_and_sbd / "benchmark_RELEASE").rename(voc_and_sbd / "elsewhere")
    for split in ("sbd", "trainaug", "seg11valid"):
        with pytest.raises(DataError, match="benchmark.tgz from home.bharathh.info/home/sbd"):
            pipelines.read("voc2011", split, voc_and_sbd)
    with pytest.raises(DataError, match="seg11valid.txt: no such split; found train, val"):
        pipelines.read("voc2012", "seg11valid", voc_and_sbd)


def test_faults_of_both_lists_are_collected(voc_and_sbd):
    (voc_and_sbd / "VOCdevkit/VOC2012/JPEGImages/a.jpg").unlink()
    (voc_and_sbd / "benchmark_RELEASE/dataset/cls/f.mat").unlink()
    split = pipelines.read("voc2012", "trainaug", voc_and_sbd, keep_faults=True)
    assert ids(split) == ["b", "h", "g"]
    assert [fault.file.name for fault in split.faults] == ["a.jpg", "f.mat"]
    with pytest.raises(DataError, match="a.jpg.*\n.*f.mat"):
        pipelines.read("voc2012", "trainaug", voc_and_sbd)


# ---- NYUDv2


@pytest.fixture
def nyud(tmp_path):
    for number in (5001, 5002, 5003):
        name = f"img_{number}"
        for folder in ("images", "hha"):
            picture(tmp_path / "data" / folder / f"{name}.png")
        Image.fromarray(np.full((6, 9, 3), (1, 2, 3), "uint8")).save(
            tmp_path / "data" / "hha" / f"{name}.png"
        )
        depth = np.full((6, 9), 2550, "uint16")
        depth[0, 0] = 0
        (tmp_path / "data" / "depth").mkdir(exist_ok=True)
        Image.fromarray(depth).save(tmp_path / "data" / "depth" / f"{name}.png")
        mat(
            tmp_path / "segmentation" / f"{name}.mat", {"segmentation": ramp(0, 40).astype("uint8")}
        )
    lines(tmp_path / "train.txt", ["5001"])
    lines(tmp_path / "val.txt", ["img_5002"])
    lines(tmp_path / "trainval.txt", ["5001", "img_5002"])
    lines(tmp_path / "test.txt", ["5003"])
    return tmp_path


def test_nyudv2_has_four_splits_and_0_is_void(nyud):
    for split, names in (
        ("train", ["img_5001"]),
        ("val", ["img_5002"]),
        ("trainval", ["img_5001", "img_5002"]),
        ("test", ["img_5003"]),
    ):
        assert ids(pipelines.read("nyudv2", split, nyud)) == names
    raw = ramp(0, 40)
    mask = mask_of(pipelines.read("nyudv2", "train", nyud), "img_5001")
    np.testing.assert_array_equal(mask, np.where(raw == 0, 255, raw - 1))


def test_hha_keeps_the_channel_order_of_the_file(nyud):
    image, _ = read_example(pipelines.read("nyudv2-hha", "test", nyud), 0)
    assert image[0, 0].tolist() == [1, 2, 3]
    image, _ = read_example(pipelines.read("nyudv2", "test", nyud), 0)
    assert image[0, 0].tolist() == [200, 100, 50]


def test_log_depth_uses_the_stored_values(nyud):
    path = nyud / "data" / "depth" / "img_5001.png"
    metres, values = nyudv2.read_depth(path), nyudv2.read_depth(path, unit=1)
    assert metres.dtype == values.dtype == np.float32 and metres.shape == (6, 9)
    assert values[0, 0] == 0 and (values.ravel()[1:] == 2550).all()
    np.testing.assert_allclose(metres, 0.001 * values, rtol=1e-6)
    logs = nyudv2.log_depth(values)
    assert logs.dtype == np.float32 and logs[0, 0] == 0
    np.testing.assert_allclose(logs.ravel()[1:], np.log(2550) - 7.844, atol=1e-6)
    with pytest.raises(DataError, match="not a 16-bit grey PNG"):
        nyudv2.read_depth(nyud / "data" / "images" / "img_5001.png")


def test_with_depth_adds_a_fourth_channel(nyud):
    split = nyudv2.with_depth(pipelines.read("nyudv2", "train", nyud))
    image = split.read_image(split.examples[0].image)
    assert image.dtype == np.float32 and image.shape == (6, 9, 4)
    assert (image[..., :3] == (200, 100, 50)).all()
    np.testing.assert_allclose(image[1:, :, 3], np.log(2550) - 7.844, atol=1e-6)
    Image.fromarray(np.ones((3, 4), "uint16")).save(nyud / "data" / "depth" / "img_5001.png")
    with pytest.raises(DataError, match="img_5001.png: the depth map is 3 x 4 .*, but its image"):
        split.read_image(split.examples[0].image)


# ---- SIFT Flow


@pytest.fixture
def sift_flow(tmp_path):
    """30 labelled images, 10 of them in the test set, and the two without annotation."""
    names = [f"{kind}_{i:02d}" for kind in ("coast", "street") for i in range(15)]
    for name in [*names, "highway_bost181", "street_urb506"]:
        picture(tmp_path / "Images" / SCENES / f"{name}.jpg")
    for name in names:
        mat(tmp_path / "SemanticLabels" / SCENES / f"{name}.mat", {"S": ramp(0, 33)})
        geometric = ramp(-1, 3).astype("float64" if name == "coast_14" else "int8")
        mat(tmp_path / "GeoLabels" / SCENES / f"{name}.mat", {"S": geometric})
    lines(tmp_path / "TestSet1.txt", [f"{SCENES}\\{name}.jpg\r" for name in names[::3]])
    return tmp_path


def test_sift_flow_splits_are_disjoint_and_mixed(sift_flow):
    names = {s: ids(pipelines.read("siftflow", s, sift_flow)) for s in siftflow.SPLITS}
    assert [len(names[s]) for s in ("train", "val", "trainval", "test")] == [18, 2, 20, 10]
    assert sorted(names["train"] + names["val"]) == names["trainval"]
    assert not set(names["trainval"]) & set(names["test"])
    assert [name.split("_")[0] for name in names["val"]] == ["coast", "street"]
    assert not {"highway_bost181", "street_urb506"} & {*names["trainval"], *names["test"]}


def test_the_means_on_sift_flow_leave_out_classes_that_its_masks_lack(sift_flow):
    for data in ("siftflow", "siftflow-geometric"):
        assert pipelines.read(data, "test", sift_flow).skip_absent
    assert not pipelines.read("synthetic", "val").skip_absent


def test_sift_flow_has_two_kinds_of_masks(sift_flow):
    for data, low, void in (("siftflow", 0, 0), ("siftflow-geometric", -1, 0)):
        raw = ramp(low, {"siftflow": 33, "siftflow-geometric": 3}[data])
        split = pipelines.read(data, "trainval", sift_flow)
        for name in ("coast_01", "coast_14"):
            mask = mask_of(split, name)
            np.testing.assert_array_equal(mask, np.where(raw <= void, 255, raw - 1))


def test_lists_of_ids_replace_the_original_lists(sift_flow):
    lines(sift_flow / "test.txt", ["coast_01"])
    lines(sift_flow / "trainval.txt", ["street_02", "coast_02", "highway_bost181"])
    assert ids(pipelines.read("siftflow", "test", sift_flow)) == ["coast_01"]
    assert ids(pipelines.read("siftflow", "trainval", sift_flow)) == ["coast_02", "street_02"]


def test_sift_flow_requires_the_test_list(sift_flow):
    (sift_flow / "TestSet1.txt").unlink()
    for split in siftflow.SPLITS:
        with pytest.raises(DataError, match="neither TestSet1.txt nor test.txt"):
            pipelines.read("siftflow", split, sift_flow)


# ---- PASCAL-Context

# Labels that are not classes; some contain the name of a class.
OTHERS = ("accordion", "bedside table", "cat house", "cloth tree", "table cloth", "unknown")


def in_labels(name):
    """A class's name in labels.txt."""
    renamed = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
    return renamed.get(name, {"pottedplant": "potted plant"}.get(name, name))


@pytest.fixture
def context(tmp_path):
    """459 labels; the classes are scattered among them, mostly above 255."""
    names = [f"{OTHERS[i % 6]} {i}" for i in range(459)]
    for i, name in enumerate(pascal_context.CLASSES[1:]):
        names[7 * i + 20] = in_labels(name)
    root = tmp_path / "pascal-context"
    lines(root / "labels.txt", [f"{i}: {name}" for i, name in enumerate(names, 1)])
    voc = tmp_path / "VOCdevkit" / "VOC2010"
    for name in ("2008_000001", "2008_000002"):
        picture(voc / "JPEGImages" / f"{name}.jpg", (18, 27))
        label_map = np.resize(np.arange(460), (18, 27)).astype("uint16")
        mat(root / "trainval" / f"{name}.mat", {"LabelMap": label_map})
    lines(voc / "ImageSets" / "Main" / "train.txt", ["2008_000001"])
    lines(voc / "ImageSets" / "Main" / "val.txt", ["2008_000002"])
    return tmp_path


def test_459_labels_map_to_60_classes_by_name(context):
    split = pipelines.read("pascal_context", "train", context)
    assert ids(split) == ["2008_000001"]
    mask = mask_of(split, "2008_000001").ravel()[:460]
    for class_id in range(1, 60):
        assert np.flatnonzero(mask == class_id).tolist() == [7 * (class_id - 1) + 21]
    assert (mask == 0).sum() == 460 - 59


def test_lists_may_be_in_the_context_folder(context):
    (context / "VOCdevkit/VOC2010/ImageSets/Main/val.txt").unlink()
    with pytest.raises(DataError, match="val.txt: no such split; choose one of train, val"):
        pipelines.read("pascal_context", "val", context)
    lines(context / "pascal-context" / "val.txt", ["2008_000001"])
    assert ids(pipelines.read("pascal_context", "val", context)) == ["2008_000001"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(": table\n", ": desk\n"), "has no label 'table' .class 11"),
        (lambda text: "1: aeroplane\n2: bicycle\n", "has no label 'bird'.*not the list of 59"),
        (lambda text: "aeroplane\n", "lines must be like `1: accordion`, found 'aeroplane'"),
    ],
)
def test_wrong_label_list_is_rejected(context, change, message):
    path = context / "pascal-context" / "labels.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message):
        pipelines.read("pascal_context", "train", context)


@pytest.mark.parametrize("value", [460, 256 + 255, 65535])
def test_label_without_a_name_is_an_error_and_never_wraps(context, value):
    path = context / "pascal-context" / "trainval" / "2008_000001.mat"
    label_map = np.zeros((18, 27), "uint16")
    label_map[3, 4] = value
    mat(path, {"LabelMap": label_map})
    with pytest.raises(DataError, match=rf"label value {value} \(1 pixel\), first at row 3"):
        read_example(pipelines.read("pascal_context", "train", context), 0)


@pytest.mark.parametrize("value", [-2, 4, 255, 2**31, -(2**63), 2**64 - 1])
def test_integers_of_any_width_never_wrap(sift_flow, value):
    split = pipelines.read("siftflow-geometric", "test", sift_flow)
    values = np.full((6, 9), value, "uint64" if value >= 2**63 else "int64")
    with pytest.raises(DataError, match=f"label value {value} "):
        class_ids(split, split.examples[0], values)


@pytest.mark.parametrize(
    "view", [np.asarray, np.asfortranarray, lambda a: a[:, ::-1], lambda a: a[::2, 1::2]]
)
def test_bytes_in_any_order_in_memory_become_class_ids(rng, view):
    values = view(rng.choice([0, 7, 200, 255], (12, 14)).astype("uint8"))
    values.setflags(write=False)
    meaning = {0: 2, 7: 255, 200: 0, 255: 1}
    split = pipelines.Split("s", (), ("a", "b", "c"), pipelines.distinct_palette(3), meaning)
    found = class_ids(split, pipelines.Example("e", values, values), values)
    np.testing.assert_array_equal(found, np.vectorize(meaning.get)(values))
    wrong = values.copy()
    wrong[3, 2] = 8
    with pytest.raises(DataError, match=r"label value 8 \(1 pixel\), first at row 3, column 2"):
        class_ids(split, pipelines.Example("e", wrong, wrong), wrong)


# ---- All of them


@pytest.mark.parametrize(
    ("data", "file", "names"),
    [
        ("nyudv2", "nyud_classes.txt", nyudv2.CLASSES),
        ("pascal_context", "pascal-context_classes-59.txt", pascal_context.CLASSES),
        ("siftflow", "sift-flow_classes.txt", siftflow.SEMANTIC + siftflow.GEOMETRIC),
    ],
)
def test_class_names_match_the_reference(shared, data, file, names):
    text = (shared / "data" / "splits" / file).read_text()
    if data == "pascal_context":
        assert text.splitlines() == [f"{i}: {name}" for i, name in enumerate(names)]
    elif data == "nyudv2":
        assert text.splitlines()[:41] == [*names, ""]
    else:
        found = [line[3:] for line in text.splitlines() if line[:2].isdigit()]
        assert found == list(names)


def test_sift_flow_reads_the_reference_test_list(shared, tmp_path):
    names = (shared / "data" / "splits" / "sift-flow_test.txt").read_text().split()
    for name in names:
        path = tmp_path / "Images" / SCENES / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        mask = tmp_path / "SemanticLabels" / SCENES / f"{name}.mat"
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.touch()
    lines(tmp_path / "TestSet1.txt", [f"{SCENES}\\{name}.jpg" for name in names])
    assert ids(pipelines.read("siftflow", "test", tmp_path)) == names
    assert len(names) == 200


@pytest.mark.parametrize(
    ("data", "split", "source"),
    [
        ("nyudv2", "train", "nyud.tar.gz"),
        ("nyudv2-hha", "train", "nyud.tar.gz"),
        ("siftflow", "train", "SiftFlowDataset.zip"),
        ("siftflow-geometric", "train", "SiftFlowDataset.zip"),
        ("pascal_context", "train", "cs.stanford.edu/~roozbeh/pascal-context"),
        ("voc2011", "sbd", "host.robots.ox.ac.uk"),
    ],
)
def test_missing_data_names_its_source(tmp_path, data, split, source):
    for folder in (None, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=source):
            pipelines.read(data, split, folder)
    if split == "train":
        with pytest.raises(DataError, match=source) as error:
            pipelines.read(data, split, tmp_path)
        assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("data", "layout", "listing"),
    [
        ("nyudv2", "nyud", "test.txt"),
        ("siftflow", "sift_flow", "TestSet1.txt"),
        ("pascal_context", "context", "VOCdevkit/VOC2010/ImageSets/Main/val.txt"),
    ],
)
def test_list_faults_are_collected_and_unknown_splits_rejected(request, data, layout, listing):
    root = request.getfixturevalue(layout)
    split = {"siftflow": "test", "nyudv2": "test"}.get(data, "val")
    count = len(pipelines.read(data, split, root))
    with (root / listing).open("a") as file:
        file.write("absent\n")
    examples = pipelines.read(data, split, root, keep_faults=True)
    assert len(examples) == count
    assert {fault.kind for fault in examples.faults} == {"missing file"}
    with pytest.raises(DataError, match="absent"):
        pipelines.read(data, split, root)
    with pytest.raises(DataError, match="no such split|no split"):
        pipelines.read(data, "nonsense", root)


@pytest.mark.parametrize(
    ("data", "layout"),
    [("nyudv2", "nyud"), ("siftflow", "sift_flow"), ("pascal_context", "context")],
)
def test_every_class_has_its_own_colour(request, data, layout):
    split = pipelines.read(data, "train", request.getfixturevalue(layout))
    assert len(np.unique(split.palette, axis=0)) == split.num_classes == len(split.class_names)
    assert pipelines.check(split).sum() > 0
