import importlib
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
from fcn_keras.evaluation.calibration import best_offsets
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


@pytest.fixture(scope="module")
def bright():
    """A model whose logits are the pixels of the image: class 0 where red is brightest, ..."""
    image = keras.Input((None, None, 3), name="image")
    return keras.Model(image, keras.layers.Rescaling(1.0, dtype="float32")(image), name="bright")


IMAGES = np.full((1, 2, 3, 3), [250, 10, 10], "uint8")
MASKS = np.array([[[0, 0, 1], [0, 255, 255]]], "uint8")


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "int32"])
@pytest.mark.parametrize("mask_kind", ["uint8", "int64", "float32"])
def test_images_and_masks_of_any_type_are_evaluated_alike(bright, kind, mask_kind):
    batch = IMAGES.astype(kind), MASKS.astype(mask_kind)
    for masks in (batch[1], batch[1][..., None]):
        found = fcn_keras.evaluate(bright, [(batch[0], masks)])
        assert found.confusion.tolist() == [[3, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_images_scaled_to_one_are_warned_about_once():
    net = fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=8)
    scaled = tf.data.Dataset.from_tensors((IMAGES / 255, MASKS)).repeat(2)
    for function in (fcn_keras.evaluate, fcn_keras.calibrate):
        with pytest.warns(UserWarning, match="found 0.0392 to 0.98039.*multiplied by") as told:
            function(net, scaled)
        assert len(told) == 1 and told[0].filename == __file__


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((IMAGES, MASKS, MASKS), "a pair of images and masks, found tuple of 3"),
        (IMAGES, "a pair of images and masks, found ndarray"),
        (({"image": IMAGES}, MASKS), "images: must be an array of numbers, found object"),
        ((IMAGES[0], MASKS), r"images: must be batches \[b, height, width, 3\]"),
        ((IMAGES[..., :2], MASKS), r"images: must be .* found the shape \(1, 2, 3, 2\)"),
        ((IMAGES[:0], MASKS[:0]), r"images: must be .* found the shape \(0, 2, 3, 3\)"),
        ((IMAGES, MASKS[0]), r"masks: must be class ids \[b, height, width\]"),
        ((IMAGES, np.eye(3)[MASKS % 3]), r"masks: .* found the shape \(1, 2, 3, 3\)"),
        ((IMAGES, MASKS.transpose(0, 2, 1)), r"masks: must have the s.*\(1, 3, 2\)"),
        ((IMAGES, MASKS / 2), "masks: class ids must be whole numbers"),
    ],
)
def test_batches_of_another_form_are_an_error(batch, message):
    net = fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=8)
    with pytest.raises(ConfigError, match=message):
        fcn_keras.evaluate(net, [batch])


def test_labels_beyond_the_classes_are_an_error(bright):
    masks = np.where(MASKS == 1, 3, MASKS)
    with pytest.raises(ConfigError, match=r"masks: class ids must be 0 to 2, or 255.* found 3"):
        fcn_keras.evaluate(bright, [(IMAGES, masks)])
    net = fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=8)
    before = net.get_weights()
    with pytest.raises(ConfigError, match="masks: class ids must be 0 to 2, found 3"):
        fcn_keras.calibrate(net, tf.data.Dataset.from_tensors((IMAGES, masks)))
    for old, new in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_heads_missing_from_a_batch_are_named(two_tasks):
    images = {"left": IMAGES, "right": IMAGES}
    for batch, message in (
        ((images, {"semantic": MASKS}), "the masks of a batch must be a dict of .* found semantic"),
        ((IMAGES, {}), "the images of a batch must be a dict of left, right, found ndarray"),
    ):
        with pytest.raises(ConfigError, match=message):
            fcn_keras.evaluate(two_tasks, [batch])


def test_a_split_declares_the_rule_for_absent_classes(bright):
    # Brightest are red, green, red, green; the truth has classes 0 and 2.
    image = np.array([[[9, 0, 0], [0, 9, 0], [9, 0, 0], [0, 0, 9]]], "uint8")
    mask = np.array([[0, 0, 0, 2]], "uint8")
    examples = (pipelines.Example("0", image, mask),)
    values = {0: 0, 1: 1, 2: 2}
    split = pipelines.Split("mine", examples, tuple("abc"), pipelines.distinct_palette(3), values)
    assert fcn_keras.evaluate(bright, split).mean_iou == pytest.approx((2 / 3 + 0 + 1) / 3)
    skipping = replace(split, skip_absent=True)
    for data in (skipping, [(image[None], mask[None])]):
        options = {} if data is skipping else {"skip_absent": True}
        found = fcn_keras.evaluate(bright, data, **options)
        assert found.mean_iou == pytest.approx((2 / 3 + 1) / 2) and found.skip_absent
    assert fcn_keras.evaluate(bright, skipping, skip_absent=False).mean_iou < 0.6


@pytest.fixture(scope="module")
def large():
    """A net, and batches of images above and below the limit of `small_tiles`."""
    keras.utils.set_random_seed(0)
    options = {"backbone": "tiny", "weights": None, "head_width": 16}
    net = randomise_scores(fcn_keras.FCN8s(4, **options))
    rng = np.random.default_rng(0)
    batches = []
    for shape in ((1, 391, 450), (2, 400, 333), (1, 40, 56)):
        masks = rng.integers(0, 4, shape, "uint8")
        masks[rng.random(shape) < 0.2] = 255
        batches.append((rng.integers(0, 256, (*shape, 3), "uint8"), masks))
    return net, batches


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_PIXELS", 100_000)
    monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_TILE", 320)


@pytest.fixture
def seen(monkeypatch):
    """The shapes of the images that a net gets while its class ids are computed."""
    shapes = []

    def note(images):
        shapes.extend(tuple(image.shape) for image in keras.tree.flatten(images))

    for module in ("prediction.net", "evaluation.calibration"):
        name = f"fcn_keras.{module}.traced"
        function = importlib.import_module(f"fcn_keras.{module}").traced

        def noted(*options, function=function):
            run = function(*options)
            return lambda images: (note(images), run(images))[1]

        monkeypatch.setattr(name, noted)
    return shapes


@pytest.mark.parametrize("tile", ["auto", 320, (360, 310), None])
def test_tiles_have_the_confusion_of_whole_images(large, small_tiles, seen, tile):
    net, batches = large
    counted = np.zeros((4, 4), "int64")
    for images, masks in batches:
        found = net(images, training=False).numpy().argmax(axis=-1)
        np.add.at(counted, (masks[masks != 255], found[masks != 255]), 1)
    progress = []
    result = fcn_keras.evaluate(net, batches, tile=tile, progress=lambda: progress.append(0))
    np.testing.assert_array_equal(result.confusion, counted)
    assert len(progress) == len(batches)
    rows, columns = (max(shape[axis] for shape in seen) for axis in (1, 2))
    limit = {"auto": (320, 320), None: (400, 450)}.get(tile, (tile, tile) if tile == 320 else tile)
    assert rows <= limit[0] and columns <= limit[1]
    assert len(seen) == 3 if tile is None else len(seen) > 10


def test_augmented_views_of_tiles_are_nearly_those_of_whole_images(large, small_tiles, seen):
    net, batches = large
    tiled = fcn_keras.evaluate(net, batches[:1], tta=True)
    assert max(max(shape[1:3]) for shape in seen) <= 480  # 1.5 times a tile.
    whole = fcn_keras.evaluate(net, batches[:1], tta=True, tile=None)
    predicted = fcn_keras.predict(net, batches[0][0][0], tile=320, tta=True)
    valid = batches[0][1][0] != 255
    assert tiled.confusion.sum() == whole.confusion.sum() == valid.sum()
    right = (predicted == batches[0][1][0])[valid].mean()
    assert tiled.pixel_accuracy == pytest.approx(right)
    assert abs(tiled.confusion - whole.confusion).sum() < 0.1 * valid.sum()


def test_calibration_in_tiles_has_the_logits_of_whole_images(large, small_tiles, seen):
    net, batches = large
    weights = net.get_weights()
    signature = (tf.TensorSpec((None, None, None, 3), "uint8"), tf.TensorSpec([None] * 3, "uint8"))
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)
    data = data.apply(tf.data.experimental.assert_cardinality(len(batches)))
    whole = fcn_keras.evaluate(net, batches, tile=None).mean_iou
    seen.clear()
    found = fcn_keras.calibrate(net, data)
    net.set_weights(weights)
    assert max(max(shape[1:3]) for shape in seen) <= 320
    # There are fewer pixels than the sample size, so the sample contains all of them.
    assert found.before == pytest.approx(whole, abs=1e-9)
    logits = [net(images, training=False).numpy()[masks != 255] for images, masks in batches]
    labels = np.concatenate([masks[masks != 255] for _, masks in batches])
    offsets = best_offsets(np.concatenate(logits), labels)
    np.testing.assert_allclose(found.offsets, offsets, atol=0.25)


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        ("huge", "tile='huge': must be 'auto', None or a whole number of pixels"),
        (0, "tile=0: must be a whole number of pixels, at least 1"),
        (99, "tile: must be at least 295 for 391 pixels .* see 244 pixels.*, found 99. Choose a l"),
    ],
)
def test_wrong_tiles_are_refused(large, tile, message):
    with pytest.raises(ConfigError, match=message):
        fcn_keras.evaluate(large[0], large[1][:1], tile=tile)


def test_models_that_cannot_be_tiled_are_evaluated_whole(two_tasks, small_tiles, seen):
    options = {"backbone": "tiny", "weights": None, "head_width": 8, "zoom": 1.5}
    zoomed = fcn_keras.FCN32s(4, **options)
    batch = np.zeros((1, 400, 330, 3), "uint8"), np.zeros((1, 400, 330), "uint8")
    assert fcn_keras.evaluate(zoomed, [batch]).confusion.sum() == 400 * 330
    assert seen == [(1, 400, 330, 3)]
    with pytest.raises(ModelError, match="tile: .*Zoom.*Leave tile out"):
        fcn_keras.evaluate(zoomed, [batch], tile=320)
    both = (
        dict.fromkeys(("left", "right"), batch[0]),
        dict.fromkeys(("semantic", "geometric"), batch[1]),
    )
    found = fcn_keras.evaluate(two_tasks, [both])
    assert found["semantic"].confusion.sum() == 400 * 330
    with pytest.raises(ConfigError, match="tile: .* has several images or heads"):
        fcn_keras.evaluate(two_tasks, [both], tile=320)


UNFIT = {
    "never built": keras.Sequential,
    "no input": lambda: keras.Sequential([keras.layers.Conv2D(3, 1)]),
    "subclass": lambda: type("Net", (keras.Model,), {"call": lambda self, x: x})(),
    "flat": lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]),
}


@pytest.mark.parametrize("build", UNFIT.values(), ids=UNFIT)
def test_models_of_unknown_or_other_outputs_are_one_line(build, tmp_path):
    for use in (
        lambda model: fcn_keras.evaluate(model, [(IMAGES, MASKS)]),
        lambda model: fcn_keras.calibrate(model, tf.data.Dataset.from_tensors((IMAGES, MASKS))),
        lambda model: fcn_keras.predict(model, IMAGES[0]),
        lambda model: fcn_keras.export(model, tmp_path / "out"),
        lambda model: fcn_keras.start_from(model, model),
    ):
        with pytest.raises(ConfigError, match="model: .*must (be a functional|map images)") as told:
            use(build())
        assert "\n" not in str(told.value)


def test_a_sequential_model_that_was_never_called_is_evaluated():
    net = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    assert fcn_keras.evaluate(net, [(IMAGES, MASKS)]).confusion.sum() == 4
    assert fcn_keras.predict(net, IMAGES[0]).shape == (2, 3)


def test_models_that_a_split_does_not_fit_are_told():
    split = pipelines.read("synthetic", "val")
    options = {"backbone": "tiny", "weights": None, "head_width": 8}
    fixed = fcn_keras.FCN32s(5, input_shape=(64, 96, 3), **options)
    with pytest.raises(ConfigError, match="takes images of 64 x 96 pixels only"):
        fcn_keras.evaluate(fixed, split)
    four = fcn_keras.FCN32s(5, inputs={"rgbd": fcn_keras.Modality(channels=4)}, **options)
    with pytest.raises(ConfigError, match="takes images of 4 channels; a split has RGB"):
        fcn_keras.evaluate(four, split)
