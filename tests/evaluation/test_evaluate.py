from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores
from PIL import Image

import fcn_keras
import pipelines
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.evaluation.confusion_picture import confusion_picture


def colours(picture):
    return set(map(tuple, picture.reshape(-1, 3).tolist()))


def test_confusion_picture_greys_missing_classes():
    confusion = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 0]])
    grey, darkest = (217, 217, 217), (8, 48, 107)  # The darkest colour of Matplotlib's "Blues".
    picture = confusion_picture(confusion, ["a", "b", "missing"])
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert {grey, darkest} <= colours(picture)
    present = confusion_picture(confusion[:2, :2], ["a", "b"])
    assert darkest in colours(present)


def test_confusion_picture_of_many_classes_has_moderate_size():
    picture = confusion_picture(np.eye(150, dtype=int), [f"class {i}" for i in range(150)])
    assert max(picture.shape) < 4000


@pytest.fixture(scope="module")
def two_tasks():
    keras.utils.set_random_seed(0)
    images = {"left": fcn_keras.Modality(), "right": fcn_keras.Modality()}
    heads = {"semantic": 4, "geometric": 3}
    options = {"backbone": "tiny", "weights": None, "head_width": 8}
    return randomise_scores(fcn_keras.FCN16s(heads, inputs=images, **options))


def test_evaluate_measures_several_images_and_heads_by_name(two_tasks, rng):
    images = {name: rng.integers(0, 256, (1, 33, 41, 3), "uint8") for name in ("left", "right")}
    masks = {
        name: rng.integers(0, count, (1, 33, 41)).astype("uint8")
        for name, count in (("semantic", 4), ("geometric", 3))
    }
    masks["semantic"][:, :5] = 255
    data = tf.data.Dataset.from_tensors((images, masks))
    names = {"geometric": ("flat", "upright", "sky")}
    found = fcn_keras.evaluate(two_tasks, data, class_names=names)
    assert set(found) == {"semantic", "geometric"}
    predicted = fcn_keras.predict(two_tasks, {name: one[0] for name, one in images.items()})
    for head, evaluation in found.items():
        labelled = masks[head][0] != 255
        right = (predicted[head] == masks[head][0])[labelled].mean()
        assert evaluation.pixel_accuracy == pytest.approx(right)
    assert found["geometric"].class_names == names["geometric"]
    assert found["semantic"].class_names == ("0", "1", "2", "3")


def test_loaded_model_works_like_a_keras_model(two_tasks, tmp_path, rng):
    two_tasks.save(tmp_path / "two.keras")
    loaded = fcn_keras.load(tmp_path / "two.keras")
    assert loaded.num_classes == {"semantic": 4, "geometric": 3} and loaded.classes is None
    image = {name: rng.integers(0, 256, (20, 30, 3), "uint8") for name in ("left", "right")}
    ours, keras_own = loaded.predict(image), fcn_keras.predict(two_tasks, image)
    assert all((ours[head] == keras_own[head]).all() for head in keras_own)
    assert fcn_keras.export(loaded, tmp_path / "served").agreement == 1


def test_path_instead_of_model_or_data_is_an_error(two_tasks):
    for function in (fcn_keras.evaluate, fcn_keras.predict, fcn_keras.export, fcn_keras.calibrate):
        with pytest.raises(ConfigError, match="the result of fcn_keras.load, found str"):
            function("runs/mine", "photo.jpg")
    with pytest.raises(ConfigError, match=r"Give pipelines.read\('data.yaml', 'val'\)"):
        fcn_keras.evaluate(two_tasks, "data.yaml")


def test_splits_by_name_give_the_same_metrics_as_joint_batches(two_tasks, tmp_path, rng):
    classes = {"semantic": list("abcd"), "geometric": list("abc")}
    splits = {}
    for name, names in classes.items():
        for folder in ("left", "right", name):
            (tmp_path / folder).mkdir(exist_ok=True)
        for number in range(2):
            mask = rng.integers(0, len(names), (40, 56), "uint8")
            Image.fromarray(mask).save(tmp_path / name / f"{number}.png")
    for side in ("left", "right"):
        for number in range(2):
            image = rng.integers(0, 256, (40, 56, 3), "uint8")
            Image.fromarray(image).save(tmp_path / side / f"{number}.png")
    for part, images, masks in (
        ("left", "left", "semantic"),
        ("right", "right", "semantic"),
        ("semantic", "left", "semantic"),
        ("geometric", "left", "geometric"),
    ):
        path = tmp_path / f"{part}.yaml"
        path.write_text(f"val: {{images: {images}, masks: {masks}}}\nclasses: {classes[masks]}\n")
        splits[part] = pipelines.read(path, "val")
    found = fcn_keras.evaluate(two_tasks, splits)
    images = {side: splits[side] for side in ("left", "right")}
    masks = {head: splits[head] for head in classes}
    batches = fcn_keras.evaluate(two_tasks, pipelines.joint_dataset(images, masks))
    assert found["geometric"].class_names == ("a", "b", "c")
    for head in classes:
        np.testing.assert_array_equal(found[head].confusion, batches[head].confusion)
        assert found[head].confusion.sum() == 2 * 40 * 56
    for change, message in (
        ({"right": None}, "data: right: missing; "),
        ({"depth": splits["left"]}, "data: depth: unknown; .* images left, right"),
        ({"geometric": splits["semantic"]}, "the head 'geometric' .* has 3 classes, .* has 4"),
    ):
        wrong = {name: one for name, one in {**splits, **change}.items() if one is not None}
        with pytest.raises(ConfigError, match=message):
            fcn_keras.evaluate(two_tasks, wrong)
    with pytest.raises(ConfigError, match="Give a dict with a split for each"):
        fcn_keras.evaluate(two_tasks, splits["left"])


def test_what_is_no_data_is_told(two_tasks):
    net = fcn_keras.FCN32s(5, backbone="tiny", weights=None, head_width=8)
    split = pipelines.read("synthetic", "val")
    for data, message in (
        (None, "must be a split .* found NoneType"),
        ([split], "must be a split .* found list"),
        ({"a": 3}, "must be a split .* found dict"),
    ):
        for function in (fcn_keras.evaluate, fcn_keras.calibrate):
            with pytest.raises(ConfigError, match=message):
                function(net, data)
    with pytest.raises(ConfigError, match="batch_size=0: must be"):
        fcn_keras.evaluate(net, split, batch_size=0)
    with pytest.raises(ConfigError, match="a name for each of the 5 classes, found 1"):
        fcn_keras.evaluate(net, replace(split, examples=split.examples[:1]), class_names=["a"])
    with pytest.raises(ModelError, match="has several images or heads; only models of one"):
        fcn_keras.calibrate(two_tasks, split)


def test_models_that_a_split_does_not_fit_are_told():
    split = pipelines.read("synthetic", "val")
    options = {"backbone": "tiny", "weights": None, "head_width": 8}
    fixed = fcn_keras.FCN32s(5, input_shape=(64, 96, 3), **options)
    with pytest.raises(ConfigError, match="takes images of 64 x 96 pixels only"):
        fcn_keras.evaluate(fixed, split)
    four = fcn_keras.FCN32s(5, inputs={"rgbd": fcn_keras.Modality(channels=4)}, **options)
    with pytest.raises(ConfigError, match="takes images of 4 channels; a split has RGB"):
        fcn_keras.evaluate(four, split)
