"""What `fcn-keras export` wrote predicts and is measured like the model that it was made from."""

import json
import shutil

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from nets import randomise_scores
from PIL import Image

import fcn_keras
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.models.saving import save_model
from fcn_keras.prediction import engines, tiles
from fcn_keras.prediction.engines import ENGINES, open_engine
from fcn_keras.prediction.facts import Facts

NAMES, VALUES = ("background", "road", "car"), [4, 0, 9]
COLOURS = [[9, 8, 7], [1, 2, 250], [3, 250, 7]]
FILES = [pytest.param(name, marks=pytest.mark.extra(name)) for name in ENGINES]
FORMATS = ["savedmodel", *FILES]
SIZES = {"a": (60, 81, 3), "b": (330, 347, 3)}
EXACT = {"openvino": ("--precision", "float32")}  # OpenVINO computes in bfloat16 where it can.


@pytest.fixture(scope="module")
def net():
    """A model that predicts each class about equally often."""
    keras.utils.set_random_seed(0)
    net = randomise_scores(fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=16))
    logits = net(smooth(np.random.default_rng(1), SIZES["b"])[None].astype("float32"))
    net.get_layer("score_fr").bias.assign_sub(np.median(logits, axis=(0, 1, 2)))
    return net


def smooth(rng, size):
    """Draws an image of patches, like a photograph."""
    coarse = rng.integers(0, 256, (6, 6, 3), "uint8")
    return cv2.resize(coarse, size[1::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    """A model file with the classes of a run beside it."""
    path = tmp_path_factory.mktemp("run") / "net.keras"
    save_model(net, path)
    parts = zip(NAMES, COLOURS, VALUES, strict=True)
    classes = [{"name": name, "colour": rgb, "value": value} for name, rgb, value in parts]
    path.with_name("config.yaml").write_text(yaml.safe_dump({"classes": classes}))
    return path


@pytest.fixture(scope="module")
def exported(saved, tmp_path_factory):
    """Exports the model to each format once."""
    done = {}

    def get(format):
        if format not in done:
            ending = ENGINES[format].ending if format in ENGINES else ""
            out = tmp_path_factory.mktemp(format) / f"street{ending}"
            done[format] = fcn_keras.export(fcn_keras.load(saved), out, format).path
        return done[format]

    return get


@pytest.fixture
def photos(tmp_path, rng):
    """Two images by name."""
    found = {name: smooth(rng, size) for name, size in SIZES.items()}
    (tmp_path / "photos").mkdir()
    for name, image in found.items():
        Image.fromarray(image).save(tmp_path / "photos" / f"{name}.png")
    return found


def pixels(path):
    with Image.open(path) as mask:
        return np.asarray(mask), np.array(mask.getpalette()).reshape(-1, 3)


@pytest.mark.parametrize("format", FORMATS)
def test_predict_writes_the_masks_of_the_model(
    format, exported, net, photos, tmp_path, fcn_keras_cli
):
    path, given, exact = exported(format), tmp_path / "photos", EXACT.get(format, ())
    for name, options in (("ids", ()), ("values", ("--values",)), ("tiled", ("--tile", 310))):
        out = tmp_path / name
        done = fcn_keras_cli("predict", path, given, "--out", out, *exact, *options)
        assert (done[0], done[2]) == (0, "")
        for photo, image in photos.items():
            mask, palette = pixels(out / f"{photo}.png")
            expected = fcn_keras.predict(net, image)
            stored = np.array(VALUES, "uint8")[expected] if name == "values" else expected
            assert (mask == stored).mean() >= 0.999
            ids = VALUES if name == "values" else range(3)
            assert palette[list(ids)].tolist() == COLOURS
    ids, overlaid = (pixels_of(tmp_path / "ids" / f"b{end}.png") for end in ("", "_overlay"))
    assert set(np.unique(ids)) == {0, 1, 2}
    is_as_photo = (overlaid == photos["b"]).all(axis=-1)
    assert is_as_photo[ids == 0].all()  # The class called background.
    assert is_as_photo[ids != 0].mean() < 0.1


def run_without_this_package(path):
    """Opens an export as other programs do: images -> class ids."""
    if path.is_dir():
        serve = tf.saved_model.load(str(path)).signatures["serving_default"]
        return lambda images: serve(image=tf.constant(images))["mask"].numpy()
    return open_engine(path)


@pytest.mark.parametrize("format", FORMATS)
def test_evaluate_counts_the_pixels_of_the_exported_masks(
    format, exported, two_folders, fcn_keras_cli
):
    path, data = exported(format), two_folders / "data.yaml"
    run, confusion = run_without_this_package(path), np.zeros((3, 3), int)
    for number in range(2):
        with Image.open(two_folders / "val" / "images" / f"{number}.jpg") as image:
            predicted = run(np.asarray(image)[None])[0]
        truth = pixels_of(two_folders / "val" / "masks" / f"{number}.png")
        known = truth != 255
        np.add.at(confusion, (truth[known], predicted[known]), 1)
    out = two_folders / "metrics.json"
    status, shown, err = fcn_keras_cli("evaluate", path, "--data", data, "--json", out)
    assert status == 0 and "classes are background, road, car" in err
    assert json.loads(out.read_text())["confusion"] == confusion.tolist()
    assert "mean IU" in shown


def pixels_of(path):
    with Image.open(path) as mask:
        return np.asarray(mask)


@pytest.mark.parametrize("format", FORMATS)
def test_load_knows_the_classes(format, exported):
    opened = fcn_keras.load(exported(format))
    assert opened.classes == NAMES and opened.num_classes == 3
    assert (opened.palette.tolist(), opened.values.tolist()) == (COLOURS, VALUES)


def test_test_time_augmentation_of_a_saved_model(exported, net, photos, tmp_path, fcn_keras_cli):
    given = tmp_path / "photos" / "a.png"
    done = fcn_keras_cli("predict", exported("savedmodel"), given, "--out", tmp_path, "--tta")
    assert (done[0], done[2]) == (0, "")
    expected = fcn_keras.predict(net, photos["a"], tta=True)
    assert (pixels(tmp_path / "a.png")[0] == expected).mean() >= 0.999


@pytest.mark.parametrize("format", FILES)
def test_options_without_a_meaning_are_refused(
    format, exported, photos, two_folders, fcn_keras_cli
):
    path, given, out = exported(format), two_folders / "photos", two_folders / "out"
    data = two_folders / "data.yaml"
    for command in (
        ("predict", path, given, "--out", out, "--tta"),
        ("evaluate", path, "--data", data, "--tta"),
    ):
        status, _, err = fcn_keras_cli(*command)
        assert status == 2 and f"tta (--tta): needs probabilities, but {path} returns" in err
        assert err.splitlines()[-1].startswith("error: ")
    assert not out.exists()
    status, _, err = fcn_keras_cli("predict", path, given, "--out", out, "--precision", "bfloat16")
    assert (status, "only OpenVINO files (.xml) take" in err) == ((0, False), (2, True))[
        format != "openvino"
    ]
    assert out.exists() == (format == "openvino")


def test_the_highest_version_is_taken(exported, tmp_path):
    for number in (2, 10):
        shutil.copytree(exported("savedmodel"), tmp_path / str(number))
    (tmp_path / "11").mkdir()  # An incomplete copy.
    assert fcn_keras.load(tmp_path).model.path == tmp_path / "10"
    assert fcn_keras.load(tmp_path / "2").model.path == tmp_path / "2"


def test_a_model_of_several_images_and_heads(tmp_path, rng, fcn_keras_cli):
    images = {"right": fcn_keras.Modality(), "left": fcn_keras.Modality()}
    heads = {"task": 4, "geometry": 3}
    options = {"backbone": "tiny", "weights": None, "head_width": 8}
    two = randomise_scores(fcn_keras.FCN32s(heads, inputs=images, **options))
    path = fcn_keras.export(two, tmp_path / "two").path
    given = {name: rng.integers(0, 256, (33, 41, 3), "uint8") for name in images}
    expected = fcn_keras.predict(two, given)
    found = fcn_keras.load(path).predict(given)
    for name, image in given.items():
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "a.png")
    sources = [f"{name}={tmp_path / name}" for name in given]
    status, _, err = fcn_keras_cli("predict", path, *sources, "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    assert sorted(found) == sorted(heads)
    for head, mask in expected.items():
        np.testing.assert_array_equal(found[head], mask)
        np.testing.assert_array_equal(pixels(tmp_path / "out" / f"a_{head}.png")[0], mask)
    with Image.open(tmp_path / "out" / "a_task_overlay.png") as overlay:  # Over the first image.
        shown, first = np.asarray(overlay, int), given["right"].astype(int)
    assert abs(shown[expected["task"] == 0] - 0.45 * first[expected["task"] == 0]).max() <= 1
    batch = {name: image[None] for name, image in given.items()}
    truth = {head: np.zeros((1, 33, 41), "uint8") for head in heads}
    measured = fcn_keras.evaluate(fcn_keras.load(path), [(batch, truth)])
    for head, count in heads.items():
        counted = np.bincount(np.ravel(expected[head]), minlength=count)
        assert measured[head].confusion[0].tolist() == counted.tolist()
    smaller = {**given, "left": given["left"][:20]}
    with pytest.raises(ConfigError, match="refuses an image: left: must have the height and width"):
        fcn_keras.load(path).predict(smaller)


@pytest.mark.extra("onnx")
def test_a_video_is_predicted(exported, net, tmp_path, fcn_keras_cli):
    film, frame = tmp_path / "film.avi", np.full((48, 64, 3), (10, 90, 200), "uint8")
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"MJPG"), 7.0, (64, 48))
    for _ in range(3):
        writer.write(frame)
    writer.release()
    for path in (exported("onnx"), exported("savedmodel")):
        out = tmp_path / f"{path.name}.avi"
        status, shown, err = fcn_keras_cli("predict", path, film, "--out", out, "--video", "mask")
        assert (status, err) == (0, "") and "3 frames predicted" in shown
        seen = cv2.VideoCapture(str(out)).read()[1][..., ::-1].astype(int)
        colours = np.array(COLOURS)[fcn_keras.predict(net, np.ascontiguousarray(frame[..., ::-1]))]
        assert np.median(abs(seen - colours)) < 20  # The codec is lossy.


@pytest.fixture
def old(exported, tmp_path):
    """A SavedModel as earlier versions wrote it: without geometry, here without classes too."""
    shutil.copytree(exported("savedmodel"), tmp_path / "old")
    (tmp_path / "old" / "assets" / "labels.json").unlink()
    return tmp_path / "old"


def test_what_an_export_does_not_say_falls_back(
    old, net, photos, tmp_path, monkeypatch, fcn_keras_cli
):
    given, out = tmp_path / "photos", tmp_path / "out"
    monkeypatch.setattr(tiles, "AUTO_PIXELS", 1000)
    status, shown, err = fcn_keras_cli("predict", old, given, "--out", out)
    assert (status, err) == (0, "")
    assert shown.count("predicted whole, because") == 1 and f"{old} cannot be tiled" in shown
    mask, palette = pixels(out / "a.png")
    assert (mask == fcn_keras.predict(net, photos["a"])).mean() >= 0.999
    assert palette[:3].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]  # PASCAL VOC's.
    for option, message in ((("--tile", 310), "how far a pixel sees"), (("--values",), "--values")):
        status, _, err = fcn_keras_cli("predict", old, given, "--out", tmp_path / "no", *option)
        assert status == 2 and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "no").exists()


@pytest.mark.extra("litert")
def test_a_file_without_its_labels_is_predicted_but_not_measured(
    exported, net, photos, two_folders, fcn_keras_cli
):
    path = shutil.copy(exported("litert"), two_folders / "alone.tflite")
    given, out = two_folders / "photos", two_folders / "out"
    status, _, err = fcn_keras_cli("predict", path, given, "--out", out)
    assert (status, err) == (0, "")
    assert (pixels(out / "a.png")[0] == fcn_keras.predict(net, photos["a"])).mean() >= 0.999
    status, _, err = fcn_keras_cli("evaluate", path, "--data", two_folders / "data.yaml")
    assert status == 2 and "does not say how many classes it has. Keep the .labels.json" in err


def refused(path):
    with pytest.raises((ConfigError, ModelError)) as told:
        fcn_keras.load(path)
    assert "\n" not in str(told.value) and str(path) in str(told.value)
    return str(told.value)


def test_folders_that_are_no_export_are_named(exported, tmp_path):
    (tmp_path / "empty" / "1").mkdir(parents=True)
    assert "no saved_model.pb in it or in a version folder" in refused(tmp_path / "empty")
    double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec((None, 3))])
    module = tf.Module()
    module.double = double
    tf.saved_model.save(module, str(tmp_path / "other"), {"serving_default": double})
    assert "must have the signatures serving_default and logits" in refused(tmp_path / "other")
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001"):
        damaged = tmp_path / f"damaged-{len(name)}"
        shutil.copytree(exported("savedmodel"), damaged)
        (damaged / name).write_bytes((damaged / name).read_bytes()[:100])
        assert "cannot be opened (" in refused(damaged)


@pytest.mark.extra("onnx")
def test_files_that_are_no_export_are_named(tmp_path):
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", 3, 8, 8]) for x in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 18)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "other.onnx")
    assert "found `x` float [?, 3, 8, 8] and `y` float" in refused(tmp_path / "other.onnx")
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    assert "cannot be opened (" in refused(tmp_path / "damaged.onnx")


@pytest.mark.extra("openvino")
def test_a_part_of_an_export_is_not_the_model(exported):
    path = exported("openvino").with_suffix(".bin")
    assert f"Give {path.with_suffix('.xml')}." in refused(path)
    version = exported("savedmodel")
    assert f"Give the folder {version}." in refused(version / "saved_model.pb")


def test_an_engine_that_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "m.tflite").touch()
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'fcn_keras[litert]'" in refused(tmp_path / "m.tflite")


def test_only_predict_and_evaluate_take_an_export(exported, tmp_path, two_folders, fcn_keras_cli):
    path, data = exported("savedmodel"), two_folders / "data.yaml"
    for command in (
        ("export", path, "--out", tmp_path / "again"),
        ("calibrate", path, "--data", data, "--out", tmp_path / "m.keras"),
    ):
        status, _, err = fcn_keras_cli(*command)
        assert status == 2 and f"{path} is an exported model, which only predict and" in err
        assert len(err.splitlines()) == 1


def test_an_image_above_the_limit_is_skipped_or_tiled(saved, photos, tmp_path, fcn_keras_cli):
    version = fcn_keras.export(fcn_keras.load(saved), tmp_path / "small", max_pixels=100_000).path
    given, out = tmp_path / "photos", tmp_path / "out"  # b has 330 x 347 = 114,510 pixels.
    status, shown, err = fcn_keras_cli("predict", version, given, "--out", out, "--tile", "none")
    assert status == 2 and "1 of 2 images predicted" in shown
    assert f"b.png: {version}: refuses an image: image: shape [1 330 347 3]" in err
    assert len(err.splitlines()) == 1 and err.rstrip().endswith("--max-pixels.")
    status, _, err = fcn_keras_cli("predict", version, given, "--out", out, "--tile", 310)
    assert (status, err) == (0, "") and (out / "b.png").exists()


@pytest.mark.extra("onnx")
def test_a_training_does_not_start_from_an_export(exported, net):
    for path in (exported("onnx"), exported("savedmodel")):
        with pytest.raises(ModelError, match="which only predict and evaluate accept. Choose"):
            fcn_keras.start_from(net, path)


def test_images_that_are_not_bytes_are_refused(exported):
    opened = fcn_keras.load(exported("savedmodel"))
    with pytest.raises(ConfigError, match="takes pixels of uint8, found float32"):
        opened.predict(np.full((9, 9, 3), 100.0))


@pytest.mark.parametrize(
    "content",
    [
        {"num_classes": 0, "class_names": [], "palette": [], "values": [], "tiling": {}},
        {"num_classes": True, "class_names": [1, 2], "palette": "red", "values": 3, "images": 5},
        {"num_classes": "2", "palette": [[1, 2]], "values": [1, 1], "tiling": [32]},
        {"num_classes": None, "palette": [[1, 2, 256]], "values": [-1], "tiling": None},
        {"tiling": {"stride": [0, 32], "before": [1, 1], "after": [1, 1], "pads": True}},
        {"tiling": {"stride": [32, 32], "before": [1], "after": [1, 1], "pads": True}},
        {"tiling": {"stride": [32, 32], "before": [1, 1], "after": [1, 1], "pads": "yes"}},
    ],
)
def test_facts_that_do_not_fit_are_unknown(content):
    assert vars(Facts.from_json(content)) == vars(Facts())


def test_the_facts_of_earlier_versions_are_read():
    found = Facts.from_json({"class_names": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]]})
    assert found.num_classes == 2 and found.class_names == ("a", "b")
    assert found.palette.tolist() == [[1, 2, 3], [4, 5, 6]] and found.tiling is None
