import errno
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores

import fcn_keras
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.layers import alignment, upsampling
from fcn_keras.prediction import engines
from fcn_keras.prediction.engines import ENGINES, open_engine
from fcn_keras.prediction.facts import facts_of
from fcn_keras.serving import publishing
from fcn_keras.serving.writers import engine_file
from fcn_keras.serving.writers.engine_file import write_engine

NAMES = ("road", "wall", "sky", "a car")
PALETTE = np.arange(12, dtype="uint8").reshape(4, 3)
VALUES = np.array([7, 0, 200, 3], "uint8")
FORMATS = [pytest.param(name, marks=pytest.mark.extra(name)) for name in ENGINES]
INT8 = FORMATS[1:]  # All but ONNX.
SIZES = [(1, 1), (31, 31), (337, 501), (3, 2000)]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return randomise_scores(fcn_keras.FCN8s(4, backbone="tiny", weights=None, head_width=16))


@pytest.fixture(scope="module")
def images():
    """Images of several sizes, smooth like photographs."""
    rng, found = np.random.default_rng(1), []
    for height, width in [(60, 80), (80, 61), (75, 75), (64, 97)] * 5:
        coarse = rng.integers(0, 256, (5, 5, 3)).astype("float32")
        found.append(tf.image.resize(coarse, (height, width)).numpy().astype("uint8"))
    return found


@pytest.fixture(scope="module")
def written(model, images, tmp_path_factory):
    """Writes each file once for all tests."""
    done = {}

    def get(format, precision="float32"):
        if (format, precision) not in done:
            out = tmp_path_factory.mktemp(format) / f"m{ENGINES[format].ending}"
            done[format, precision] = write_engine(
                model,
                out,
                format,
                precision=precision,
                calibration=images,
                facts=facts_of(model, NAMES, PALETTE, VALUES),
            )
        return done[format, precision]

    return get


@pytest.mark.parametrize("format", FORMATS)
def test_masks_equal_the_models_at_any_size(format, model, written, rng):
    done = written(format)
    assert done.error < 1e-5
    assert done.agreement > 0.9999
    run = open_engine(done.path, precision="f32" if format == "openvino" else None)
    for size in SIZES:
        image = rng.integers(0, 256, (*size, 3), "uint8")
        mask = run(image[None])
        assert mask.dtype == np.uint8
        assert mask.shape == (1, *size)
        assert (mask[0] == fcn_keras.predict(model, image)).mean() > 0.9999
    pair = rng.integers(0, 256, (2, 31, 45, 3), "uint8")
    np.testing.assert_array_equal(run(pair), np.concatenate([run(pair[:1]), run(pair[1:])]))


@pytest.mark.parametrize("format", FORMATS)
def test_threads_get_the_masks_of_their_own_images(format, written, rng):
    run = open_engine(written(format).path)
    images = [rng.integers(0, 256, (1, 8 + 9 * n, 80 - 7 * n, 3), "uint8") for n in range(8)]
    expected = [run(image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        masks = list(threads.map(run, 25 * images))
    for mask, right in zip(masks, 25 * expected, strict=True):
        np.testing.assert_array_equal(mask, right)


def test_silenced_threads_leave_the_output_as_it_was():
    before = [os.fstat(number).st_ino for number in (1, 2)], sys.stdout, os.environ.get("CI")
    first, second = threading.Event(), threading.Event()

    def convert(entered, until):
        with engines.quiet():
            entered.set()
            until.wait(0.5)

    # Without taking turns, the second would keep the first one's output and restore it last.
    threads = [threading.Thread(target=convert, args=(first, second))]
    threads.append(threading.Thread(target=convert, args=(second, threading.Event())))
    threads[0].start()
    first.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    after = [os.fstat(number).st_ino for number in (1, 2)], sys.stdout, os.environ.get("CI")
    assert after == before


@pytest.mark.parametrize("format", FORMATS)
def test_opening_leaves_the_output_alone(format, written, monkeypatch):
    path, changed = written(format).path, []
    monkeypatch.setattr(os, "dup2", lambda *given: changed.append(given))
    open_engine(path)
    assert not changed


LOADERS = {
    "onnx": (
        "import onnxruntime\n"
        "session = onnxruntime.InferenceSession({path!r})\n"
        "assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == "
        "[('image', 'tensor(uint8)', ['n', 'h', 'w', 3])]\n"
        "assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == "
        "[('mask', 'tensor(uint8)', ['n', 'h', 'w'])]\n"
        "mask = session.run(['mask'], {{'image': image}})[0]\n"
        "assert 'tensorflow' not in sys.modules\n"
    ),
    "openvino": (
        "import openvino\n"
        "options = {{'INFERENCE_PRECISION_HINT': 'f32'}}\n"
        "net = openvino.Core().compile_model({path!r}, 'CPU', options)\n"
        "assert net.input('image').partial_shape.to_string() == '[?,?,?,3]'\n"
        "assert len(net.outputs) == 1\n"
        "mask = net({{'image': image}})['mask']\n"
        "assert 'tensorflow' not in sys.modules\n"
    ),
    "litert": (
        "from ai_edge_litert.interpreter import Interpreter\n"
        "net = Interpreter({path!r})\n"
        "assert list(net.get_signature_list().values()) == "
        "[{{'inputs': ['image'], 'outputs': ['mask']}}]\n"
        "mask = net.get_signature_runner()(image=image)['mask']\n"
        "assert 'tensorflow' not in sys.modules\n"
    ),
}


@pytest.mark.parametrize("format", FORMATS)
def test_engines_without_this_package_return_the_same_masks(format, model, written, rng, tmp_path):
    path = written(format).path
    image = rng.integers(0, 256, (1, 45, 67, 3), "uint8")
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys, numpy as np\n"
        "image = np.load('image.npy')\n"
        + LOADERS[format].format(path=str(path))
        + "np.save('mask.npy', mask)\n"
        "assert 'fcn_keras' not in sys.modules and 'keras' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    mask = np.load(tmp_path / "mask.npy")[0]
    assert (mask == fcn_keras.predict(model, image[0])).mean() > 0.999


@pytest.mark.parametrize("format", FORMATS)
def test_the_facts_of_the_model_are_stored(format, written):
    path = written(format).path
    if format == "onnx":
        import onnx

        found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        found = {key: json.loads(value) for key, value in found.items()}
    elif format == "openvino":
        import openvino

        info = openvino.Core().read_model(path).get_rt_info()["fcn_keras"]
        found = {key: json.loads(text.astype(str)) for key, text in info.items()}
    else:
        found = json.loads(path.with_suffix(".labels.json").read_text("utf-8"))
    assert found.pop("tiling")["stride"] == [32, 32]
    assert found == {
        "num_classes": 4,
        "class_names": list(NAMES),
        "palette": PALETTE.tolist(),
        "values": VALUES.tolist(),
    }


@pytest.mark.parametrize("format", INT8)
def test_int8_masks_are_close_to_the_models(format, model, written, images):
    done = written(format, "int8")
    assert done.error is None
    assert done.agreement > 0.9
    run = open_engine(done.path)
    same = [(run(image[None])[0] == fcn_keras.predict(model, image)).mean() for image in images]
    assert np.mean(same) > 0.9


@pytest.mark.extra("openvino")
def test_float16_weights_are_smaller(written):
    done, full = written("openvino", "float16"), written("openvino")
    sizes = [w.path.with_suffix(".bin").stat().st_size for w in (done, full)]
    assert sizes[0] < 0.6 * sizes[1]
    assert done.agreement > 0.99


@pytest.mark.parametrize("format", FORMATS)
def test_no_other_files_are_left(format, written):
    path = written(format).path
    companions = engine_file.FORMATS[format].companions
    assert {p.name for p in path.parent.iterdir()} == {"m" + path.suffix} | {
        "m" + ending for ending in companions
    }


@pytest.mark.parametrize("format", FORMATS)
def test_converters_print_nothing(format, model, tmp_path, capfd):
    write_engine(model, tmp_path / f"m{ENGINES[format].ending}", format)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format", FORMATS)
def test_the_reference_geometry_is_kept(format, tmp_path):
    # A constant padding of the image, and resizes whose edges fade. OpenVINO merged the padding
    # with the following convolution, two pixels short.
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.ZeroPadding2D(10)(x)
    x = keras.layers.Conv2D(4, 3, padding="same")(x)
    x = keras.layers.MaxPooling2D(padding="same")(x)
    x = upsampling.BilinearUpsampling(2, fade=True)(x)
    small = keras.Model(image, alignment.CropLike(7)(x, image), name="padded")
    done = write_engine(small, tmp_path / f"m{ENGINES[format].ending}", format)
    assert done.error < 1e-5


@pytest.mark.extra("onnx")
@pytest.mark.extra("openvino")
@pytest.mark.extra("litert")
def test_wrong_arguments_are_refused(model, tmp_path, images):
    taken = tmp_path / "taken.onnx"
    taken.touch()
    two = fcn_keras.FCN32s({"a": 2, "b": 3}, backbone="tiny", weights=None, head_width=16)
    wrong = [images[0].astype("float32")]
    for error, text, arguments, options in [
        (
            ConfigError,
            "must be one of savedmodel, onnx, openvino, litert",
            (model, taken, "torch"),
            {},
        ),
        (ConfigError, "must end in .onnx", (model, tmp_path / "m.xml", "onnx"), {}),
        (
            ConfigError,
            "Create it first",
            (model, tmp_path / "no" / "m.onnx", "onnx"),
            {},
        ),
        (ConfigError, "exists already", (model, taken, "onnx"), {}),
        (
            ConfigError,
            "onnx supports only float32. For int8 use openvino or litert",
            (model, tmp_path / "m.onnx", "onnx"),
            {"precision": "int8"},
        ),
        (
            ConfigError,
            "int8 needs images",
            (model, tmp_path / "m.xml", "openvino"),
            {"precision": "int8"},
        ),
        (
            ConfigError,
            "image 0 must be uint8",
            (model, tmp_path / "m.tflite", "litert"),
            {"precision": "int8", "calibration": wrong},
        ),
        (ModelError, "one map of logits", (two, tmp_path / "m.onnx", "onnx"), {}),
    ]:
        with pytest.raises(error, match=text):
            write_engine(*arguments, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["taken.onnx"]
    assert taken.stat().st_size == 0


@pytest.mark.parametrize("format", ["savedmodel", *FORMATS])
def test_weights_that_are_not_numbers_are_refused(format, tmp_path):
    out = tmp_path / ("served" if format == "savedmodel" else f"m{ENGINES[format].ending}")
    broken = fcn_keras.FCN32s(4, backbone="tiny", weights=None, head_width=16)
    bias = broken.get_layer("score_fr").bias
    for value in (np.nan, np.inf):
        bias.assign([0, value, 0, 0])
        with pytest.raises(ModelError, match="score_fr/bias has infinite or NaN values") as told:
            fcn_keras.export(broken, out, format)
        assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_engines_refuse_what_is_no_batch_of_images(format, written):
    run = open_engine(written(format).path)
    for images, found in (
        (np.zeros((0, 5, 6, 3), "uint8"), r"uint8 \[0, 5, 6, 3\]"),
        (np.zeros((1, 0, 6, 3), "uint8"), r"uint8 \[1, 0, 6, 3\]"),
        (np.zeros((5, 6, 3), "uint8"), r"uint8 \[5, 6, 3\]"),
        (np.zeros((1, 5, 6, 4), "uint8"), r"uint8 \[1, 5, 6, 4\]"),
        (np.zeros((1, 5, 6, 3), "float32"), r"float32 \[1, 5, 6, 3\]"),
        ([[1]], "list"),
    ):
        with pytest.raises(ConfigError, match=rf"images: must be .* found {found}\.") as told:
            run(images)
        assert "\n" not in str(told.value)


def test_an_engine_that_is_not_installed_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'fcn_keras\[litert\]'"):
        write_engine(model, tmp_path / "m.tflite", "litert")


@pytest.mark.parametrize("format", FORMATS)
def test_any_name_can_be_exported(format, model, tmp_path):
    ending = ENGINES[format].ending
    done = write_engine(model, tmp_path / f"checked{ending}", format)
    assert done.path == tmp_path / f"checked{ending}" and open_engine(done.path) is not None
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"checked"}


@pytest.mark.extra("openvino")
@pytest.mark.parametrize("has_links", [True, False])
def test_a_name_that_is_taken_meanwhile_is_kept(model, tmp_path, monkeypatch, has_links):
    def compare(*args):
        (tmp_path / "m.xml").write_text("mine")
        return 0.0, 1.0

    def no_link(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(engine_file, "_compare", compare)
    if not has_links:
        monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(ConfigError, match="m.xml: exists already. Choose another name"):
        write_engine(model, tmp_path / "m.xml", "openvino")
    assert [path.name for path in tmp_path.iterdir()] == ["m.xml"]
    assert (tmp_path / "m.xml").read_text() == "mine"


def killed(tmp_path, named):
    """What a killed export of m.xml leaves, when it had given its files some names."""
    left = tmp_path / ".0a1b2c3d-99999999-0.fcn-keras-tmp"
    (left / "checked").mkdir(parents=True)
    for name in ("m.xml", "m.bin", "checked/m.xml"):
        (left / name).write_text("half")
    for name in named:
        os.link(left / name, tmp_path / name)


@pytest.mark.parametrize("named", [(), ("m.bin",), ("m.bin", "m.xml")])
def test_what_a_killed_export_leaves_is_removed(tmp_path, named):
    killed(tmp_path, named)
    (tmp_path / "mine.bin").write_text("half")
    publishing.remove_unfinished(tmp_path)
    complete = set(named) if len(named) == 2 else set()
    assert {path.name for path in tmp_path.iterdir()} == {"mine.bin"} | complete


@pytest.mark.parametrize("format", FORMATS)
def test_the_next_export_replaces_a_killed_one(format, model, tmp_path):
    killed(tmp_path, ["m.bin"])
    path = tmp_path / f"m{ENGINES[format].ending}"
    write_engine(model, path, format)
    open_engine(path)
    names = {"openvino": {"m.xml", "m.bin"}, "litert": {"m.tflite", "m.labels.json"}}
    assert {one.name for one in tmp_path.iterdir()} == names.get(format, {path.name})


@pytest.mark.extra("openvino")
def test_a_file_with_wrong_logits_is_not_published(model, tmp_path, monkeypatch):
    monkeypatch.setitem(engine_file.BOUNDS, "float32", 0.0)
    with pytest.raises(ModelError, match="by .* of the largest magnitude; at most 0 is"):
        write_engine(model, tmp_path / "m.xml", "openvino")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="must be an existing file"):
        open_engine(tmp_path / "no.onnx")


@pytest.mark.extra("onnx")
def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "bad.onnx").write_text("no model")
    with pytest.raises(ModelError, match="bad.onnx: cannot be opened"):
        open_engine(tmp_path / "bad.onnx")


@pytest.mark.extra("openvino")
def test_what_openvino_says_is_told(tmp_path):
    (tmp_path / "m.xml").write_text("<net")
    with pytest.raises(ModelError, match=r"m.xml: cannot be opened \(Unable to read the model"):
        open_engine(tmp_path / "m.xml")
    with pytest.raises(ConfigError, match="precision='f64': must be one of f32, bf16, f16"):
        open_engine(tmp_path / "m.xml", precision="f64")
