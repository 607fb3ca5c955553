import json
import re
import resource
import struct
import tracemalloc
import zipfile
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

import fcn_keras
from fcn_keras.errors import ModelError
from fcn_keras.models import keras_file
from fcn_keras.models.saving import save_model


def test_model_file_loads_without_run(tmp_path):
    model = fcn_keras.FCN32s(3, backbone="tiny", weights=None)
    save_model(model, tmp_path / "mine.keras")
    loaded = fcn_keras.load(tmp_path / "mine.keras")
    assert loaded.num_classes == 3 and loaded.classes is None and loaded.palette is None
    image = np.zeros((1, 20, 20, 3), "uint8")
    np.testing.assert_array_equal(loaded.model(image), model(image))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.keras"]


def test_invalid_model_files_are_rejected(tmp_path):
    model = fcn_keras.FCN32s(3, backbone="tiny", weights=None)
    save_model(model, tmp_path / "model.keras")
    whole = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty").mkdir()
    flat = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    flat.save(tmp_path / "flat.keras")
    for name, message in (
        ("nothing.keras", "no such file or folder"),
        ("empty", "the folder has no model.keras"),
        ("cut.keras", "corrupt"),
        ("flat.keras", "must contain a segmentation model"),
    ):
        with pytest.raises(ModelError) as error:
            fcn_keras.load(tmp_path / name)
        assert name in str(error.value) and message in str(error.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7, 200, 9], [7, 200, 9]),
        ([0, 2.5, 3], None),
        ([0, 1, 1], None),
        ([254, 255, 256], None),
        ([-1, 0, 1], None),
        ([0, 1, "2"], None),
        ([0, 1, True], None),
        ([0, 1, None], None),
    ],
)
def test_values_of_an_edited_run_count_only_if_each_class_has_its_own(tmp_path, values, expected):
    save_model(fcn_keras.FCN32s(3, backbone="tiny", weights=None), tmp_path / "model.keras")
    entries = [
        {"name": name, "colour": [0, 0, number], "value": value}
        for number, (name, value) in enumerate(zip("abc", values, strict=True))
    ]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"classes": entries}))
    loaded = fcn_keras.load(tmp_path)
    assert loaded.classes == ("a", "b", "c") and loaded.palette[:, 2].tolist() == [0, 1, 2]
    assert (loaded.values if expected is None else loaded.values.tolist()) == expected


def test_code_in_model_file_is_not_run(tmp_path):
    image = keras.Input((None, None, 3))
    trap = keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image))
    trap.save(tmp_path / "trap.keras")
    with pytest.raises(ModelError, match="cannot be loaded"):
        fcn_keras.load(tmp_path / "trap.keras")


def test_model_file_that_loads_another_is_rejected(tmp_path):
    (tmp_path / "saved").mkdir()
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"))
    net = fcn_keras.FCN32s(2, backbone="tiny", weights=None)
    net.save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    layer = config["config"]["layers"][1]
    layer["class_name"], layer["module"], layer["registered_name"] = (
        "TFSMLayer",
        "keras.layers",
        None,
    )
    layer["config"] = {
        "name": layer["config"]["name"],
        "filepath": str(tmp_path / "saved"),
        "call_endpoint": "serve",
    }
    with zipfile.ZipFile(tmp_path / "trap.keras", "w") as archive:
        for name, content in {**parts, "config.json": json.dumps(config)}.items():
            archive.writestr(name, content)
    with pytest.raises(ModelError, match=r"trap\.keras: cannot be loaded .*TFSMLayer"):
        fcn_keras.load(tmp_path / "trap.keras")


LARGE = 30_000_000  # Bytes of a configuration; it compresses to 30 kB.


def packed(path, parts, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The parts of a model file, by name."""
    path = tmp_path_factory.mktemp("parts") / "model.keras"
    save_model(fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=8), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def large_config(parts):
    return {**parts, "config.json": parts["config.json"] + b" " * LARGE}


def many(parts):
    return parts | {f"assets/{number}": b"" for number in range(1001)}


def zeros(parts):
    return {**parts, "model.weights.h5": bytes(LARGE)}


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    "change, message",
    [
        (large_config, "'config.json' has 30,"),
        (many, "has 1,004 parts, but a .keras file has at most 1,000"),
    ],
)
def test_a_hostile_archive_is_one_line(tmp_path, parts, kind, change, message):
    packed(tmp_path / "trap.keras", change(parts), kind)
    with pytest.raises(ModelError, match=rf"trap\.keras: .*{re.escape(message)}") as error:
        fcn_keras.load(tmp_path / "trap.keras")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, parts, kind):
    packed(tmp_path / "trap.keras", parts, kind)
    with pytest.raises(ModelError, match="is compressed with method"):
        fcn_keras.load(tmp_path / "trap.keras")


def test_weights_that_expand_a_thousandfold_are_refused(tmp_path, parts):
    packed(tmp_path / "trap.keras", zeros(parts), zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match=r"'model.weights.h5' has 30,000,000 bytes in \d\d,"):
        fcn_keras.load(tmp_path / "trap.keras")


def test_a_config_larger_than_it_declares_takes_no_memory(tmp_path, parts):
    path = tmp_path / "trap.keras"
    packed(path, large_config(parts), zipfile.ZIP_DEFLATED)
    length, checksum = 100_000, zlib.crc32((parts["config.json"] + b" " * LARGE)[:100_000])
    content = bytearray(path.read_bytes())
    # The central directory, whose entry says 100 kB with the checksum of these.
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"config.json"))
    content[entry + 16 : entry + 20] = struct.pack("<I", checksum)
    content[entry + 24 : entry + 28] = struct.pack("<I", length)
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ModelError, match=r"corrupt \(the checksum of 'config.json' is wrong\)"):
        fcn_keras.load(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def changed_layers(parts, **values):
    """The parts with other settings of every Conv2D."""
    config = json.loads(parts["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Conv2D":
            layer["config"].update(values)
            layer.pop("build_config", None)
    return {**parts, "config.json": json.dumps(config)}


@pytest.mark.parametrize("values", [{"filters": 10**7}, {"kernel_size": [3000, 3000]}])
def test_a_config_with_larger_weights_than_the_file_takes_no_memory(tmp_path, parts, values):
    packed(tmp_path / "trap.keras", changed_layers(parts, **values))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=r"trap\.keras: its configuration asks for more weights"):
        fcn_keras.load(tmp_path / "trap.keras")
    # The first kernel alone has 3 * 3 * 3 * 1e7 or 3000 * 3000 * 3 * 8 numbers: 1 GB or 0.9 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_that_do_not_fit_name_the_layer_and_the_shapes(tmp_path, parts):
    packed(tmp_path / "other.keras", changed_layers(parts, kernel_size=[5, 5]))
    with pytest.raises(ModelError, match=r"<Conv2D name=\w+.*>: .*[Ss]hape"):
        fcn_keras.load(tmp_path / "other.keras")


@pytest.mark.parametrize("text", ["null", "[]", "3", '"x"'])
def test_a_config_that_is_no_object_is_told(tmp_path, parts, text):
    packed(tmp_path / "model.keras", {**parts, "config.json": text})
    message = rf"config\.json must hold an object that describes a model, found {re.escape(text)}\."
    with pytest.raises(ModelError, match=message):
        fcn_keras.load(tmp_path / "model.keras")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_with_infinite_or_nan_weights_is_refused(tmp_path, value):
    net = fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=8)
    weight = net.trainable_variables[-1]
    weight.assign(np.full(weight.shape, value))
    net.save(tmp_path / "model.keras")
    with pytest.raises(
        ModelError, match=rf"model\.keras: {weight.path} has infinite or NaN values"
    ):
        fcn_keras.load(tmp_path / "model.keras")


def test_a_compressed_model_file_loads(tmp_path, parts):
    packed(tmp_path / "model.keras", parts, zipfile.ZIP_DEFLATED)
    assert fcn_keras.load(tmp_path / "model.keras").num_classes == 3


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_changed_byte_of_the_weights_is_told(tmp_path, parts, kind):
    packed(tmp_path / "model.keras", parts, kind)
    content = bytearray((tmp_path / "model.keras").read_bytes())
    place = content.index(b"model.weights.h5") + 16
    for position in np.linspace(place, place + 100_000, 7).astype(int):
        damaged = content.copy()
        damaged[position] ^= 0x10
        (tmp_path / "damaged.keras").write_bytes(damaged)
        with pytest.raises(ModelError, match=r"damaged\.keras: .*Copy it again, or train again"):
            fcn_keras.load(tmp_path / "damaged.keras")


def test_an_encrypted_part_is_told(tmp_path, parts):
    packed(tmp_path / "model.keras", parts)
    content = bytearray((tmp_path / "model.keras").read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := content.find(mark, start)) >= 0:
            content[start + flags] |= 1
            start += 4
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(ModelError, match="is encrypted. Use a model saved by fcn-keras"):
        fcn_keras.load(tmp_path / "model.keras")


def test_any_damaged_byte_of_the_directory_is_one_line(tmp_path, parts):
    packed(tmp_path / "model.keras", parts)
    content = bytearray((tmp_path / "model.keras").read_bytes())
    start = content.index(b"PK\x01\x02")
    for position in range(start, len(content), 5):
        damaged = content.copy()
        damaged[position] ^= 0x11
        (tmp_path / "damaged.keras").write_bytes(damaged)
        try:
            keras_file.check(tmp_path / "damaged.keras")  # Some bytes, such as dates, are free.
        except ModelError as error:
            assert "\n" not in str(error)


def mutations(config):
    """Yields a strange configuration for each of its values: a value of another type."""

    def places(node, at=()):
        yield at
        if isinstance(node, dict | list):
            for key in node if isinstance(node, dict) else range(len(node)):
                yield from places(node[key], (*at, key))

    for number, at in enumerate(places(config)):
        if at and number % 97 == 0:
            other = json.loads(json.dumps(config))
            node = other
            for key in at[:-1]:
                node = node[key]
            node[at[-1]] = ([], {}, "x", None, -7)[number % 5]
            yield other


def test_a_strange_configuration_is_one_line(tmp_path, parts):
    config = json.loads(parts["config.json"])
    texts = [json.dumps(other) for other in mutations(config)]
    texts += ["[" * 100_000, "{}", "[]", "null", "", "\udcff"]
    for text in texts:
        content = text.encode("utf-8", "surrogateescape")
        packed(tmp_path / "strange.keras", {**parts, "config.json": content})
        try:
            fcn_keras.load(tmp_path / "strange.keras")
        except ModelError as error:
            assert "\n" not in str(error)
