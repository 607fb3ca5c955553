import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

import fcn_keras
from fcn_keras.errors import ModelError
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
