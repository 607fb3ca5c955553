"""Models with several inputs and several heads."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import fcn_keras
from fcn_keras import FCN8s, FCN16s, FCN32s, Modality
from fcn_keras.errors import ConfigError, ModelError

TINY = {"backbone": "tiny", "weights": None, "head_width": 8}
RGB_AND_HHA = {"color": Modality(), "hha": Modality()}


def randomise(model):
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.startswith("score") and layer.weights:
            layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return model


def test_heads_share_one_trunk(rng):
    image = rng.integers(0, 256, (1, 45, 70, 3), "uint8")
    both = randomise(FCN8s({"semantic": 5, "geometric": 3}, **TINY))
    logits = both(image)
    assert logits["semantic"].shape == (1, 45, 70, 5)
    assert logits["geometric"].shape == (1, 45, 70, 3)
    for task, count in (("semantic", 5), ("geometric", 3)):
        alone = FCN8s(count, **TINY)
        for layer in alone.layers:
            if layer.weights:
                names = {layer.name, f"{layer.name}_{task}"} & {x.name for x in both.layers}
                layer.set_weights(both.get_layer(names.pop()).get_weights())
        np.testing.assert_array_equal(alone(image), logits[task])


@pytest.mark.parametrize("build", [FCN32s, FCN16s, FCN8s])
def test_late_fusion_averages_two_models(build, rng):
    images = {name: rng.integers(0, 256, (1, 33, 50, 3), "uint8") for name in RGB_AND_HHA}
    fused = randomise(build(4, inputs=RGB_AND_HHA, **TINY))
    total = 0
    for name, image in images.items():
        alone = build(4, **TINY)
        trunk = fused.get_layer(f"stream_{name}")
        for layer in alone.layers:
            if layer.name.startswith("score"):
                layer.set_weights(fused.get_layer(f"{layer.name}_{name}").get_weights())
            elif layer.weights:
                layer.set_weights(trunk.get_layer(layer.name).get_weights())
        total = total + 0.5 * np.asarray(alone(image))
    np.testing.assert_allclose(fused(images), total, atol=1e-3)


def test_late_fusion_rejects_images_of_different_sizes(rng, tmp_path):
    # Both sizes give maps of 2 x 2 cells, so the scores could be added without an error.
    model = randomise(FCN8s(4, inputs=RGB_AND_HHA, **TINY))
    small, large = (rng.integers(0, 256, (1, *size, 3), "uint8") for size in ((40, 50), (50, 60)))
    mixed, equal = {"color": small, "hha": large}, {"color": small, "hha": small}
    line = "hha: must have the height and width of color. Resize one of them; found 50 x 60 and 40"
    with pytest.raises(ModelError, match=line):
        model(mixed)
    graph = tf.function(
        model,
        reduce_retracing=True,
        input_signature=[{name: tf.TensorSpec((None, None, None, 3)) for name in RGB_AND_HHA}],
    )
    floats = {name: image.astype("float32") for name, image in mixed.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"found \[50 60\] and \[40 50\]"):
        graph(floats)
    with pytest.raises(
        ConfigError, match="same height and width, found color 40 x 50, hha 50 x 60"
    ):
        fcn_keras.predict(model, {name: image[0] for name, image in mixed.items()})
    version = fcn_keras.export(model, tmp_path / "served").path
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have the height and width of"):
        serve(**{name: tf.constant(image) for name, image in mixed.items()})
    mask = fcn_keras.predict(model, {name: image[0] for name, image in equal.items()})
    served = serve(**{name: tf.constant(image) for name, image in equal.items()})["mask"]
    np.testing.assert_array_equal(served[0], mask)


def test_filters_of_extra_channels_start_as_mean_of_colours(tmp_path, rng):
    classifier = keras.applications.VGG16(include_top=False, weights=None)
    classifier.save_weights(tmp_path / "vgg16.weights.h5")
    kernel = classifier.get_layer("block1_conv1").get_weights()[0]
    for channels, kept in ((5, 3), (1, 0)):
        model = FCN32s(
            3,
            weights=tmp_path / "vgg16.weights.h5",
            head_width=4,
            inputs={"image": Modality(channels)},
        )
        widened = model.get_layer("block1_conv1").get_weights()[0]
        np.testing.assert_array_equal(widened[:, :, :kept], kernel[:, :, :kept])
        for extra in range(kept, channels):
            np.testing.assert_allclose(widened[:, :, extra], kernel.mean(axis=2), rtol=1e-5)


def test_modality_sets_its_preprocessing(rng):
    image = rng.uniform(0, 255, (1, 3, 4, 5)).astype("float32")
    mean = fcn_keras.MEANS["nyudv2_hha"]
    model = FCN32s(
        2, weights=None, head_width=2, inputs={"hha": Modality(5, mean=mean, swap=False)}
    )
    scaled = np.asarray(model.get_layer("preprocessing")(image))
    np.testing.assert_allclose(scaled[..., :3], image[..., :3] - np.array(mean), rtol=1e-5)
    np.testing.assert_array_equal(scaled[..., 3:], image[..., 3:])


# What the authors' data layers subtract, in the order of the channels they pass on: BGR of the
# image files, but HHA as it is stored. Keras' own is that of keras.applications.
REFERENCE_MEANS = {
    "imagenet": (103.939, 116.779, 123.68),
    "voc": (104.00699, 116.66877, 122.67892),
    "nyudv2": (116.190, 97.203, 92.318),
    "nyudv2_hha": (132.431, 94.076, 118.477),
    "siftflow": (114.578, 115.294, 108.353),
}


def test_with_mean_of_preprocesses_like_the_reference(rng):
    assert set(fcn_keras.MEANS) == set(REFERENCE_MEANS)
    image = rng.uniform(0, 255, (1, 3, 4, 3)).astype("float32")
    for name, mean in REFERENCE_MEANS.items():
        inputs = {"image": Modality.with_mean_of(name)}
        model = FCN32s(2, backbone="alexnet", weights=None, head_width=2, inputs=inputs)
        seen = image if name == "nyudv2_hha" else image[..., ::-1]
        scaled = np.asarray(model.get_layer("preprocessing")(image))
        np.testing.assert_allclose(scaled, seen - np.array(mean), atol=1e-4, err_msg=name)


def test_two_tasks_with_two_inputs_train_save_and_export(tmp_path, rng):
    heads = {"semantic": 4, "geometric": 3}
    model = FCN16s(heads, inputs=RGB_AND_HHA, **TINY)
    model.compile(
        keras.optimizers.Adam(1e-2),
        loss={task: fcn_keras.MaskedCrossentropy() for task in heads},
        metrics={
            task: [fcn_keras.ConfusionMatrix(n, prefix=f"{task}_")] for task, n in heads.items()
        },
    )
    images = {name: rng.integers(0, 256, (4, 32, 48, 3), "uint8") for name in RGB_AND_HHA}
    masks = {task: np.zeros((4, 32, 48), "uint8") + n - 1 for task, n in heads.items()}
    data = tf.data.Dataset.from_tensor_slices((images, masks)).batch(2)
    history = model.fit(data, epochs=8, shuffle=False, verbose=0).history
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    assert history["semantic_pixel_accuracy"][-1] == history["geometric_pixel_accuracy"][-1] == 1

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")(images)
    for task, logits in model(images).items():
        np.testing.assert_array_equal(again[task], logits)

    version = fcn_keras.export(model, tmp_path / "served").path
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    served = serve(**{name: tf.constant(pixels) for name, pixels in images.items()})
    first = fcn_keras.predict(model, {name: pixels[0] for name, pixels in images.items()})
    for task, mask in first.items():
        np.testing.assert_array_equal(served[f"mask_{task}"][0], mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": {}}, "num_classes={}: must be a number, or a dict of head and number"),
        ({"num_classes": {"sky": 3, "Sky": 4}}, "num_classes: 'sky' and 'Sky' are the same name"),
        ({"num_classes": {"sky": 1}}, "num_classes['sky']=1: must be an integer of at least 2"),
        ({"num_classes": {"the sky": 3}}, "'the sky' is not a valid name"),
        ({"num_classes": [3]}, "num_classes=[3]: must be an integer"),
        ({"num_classes": None}, "num_classes=None: must be an integer"),
        ({"num_classes": 3, "inputs": {"rgb": 3}}, "inputs['rgb']=3: must be a fcn_keras.Modality"),
        ({"num_classes": 3, "inputs": {}}, "inputs={}: must be a dict"),
        ({"num_classes": 3, "inputs": {"rgb": Modality(0)}}, "channels=0: must be an integer"),
        (
            {"num_classes": 3, "inputs": {"rgb": Modality(mean=(1, 2, 3))}},
            "mean=(1.0, 2.0, 3.0): the",
        ),
    ],
)
def test_invalid_arguments_are_rejected(options, message):
    with pytest.raises(ModelError) as error:
        FCN8s(**{**TINY, **options})
    assert message in str(error.value)


@pytest.mark.parametrize("backbone", ["alexnet", "googlenet"])
def test_missing_skip_features_are_rejected(backbone):
    with pytest.raises(ModelError, match=f"backbone='{backbone}': has no features of stride 16"):
        FCN16s(3, backbone=backbone, weights=None, head_width=2)


def test_modality_takes_arrays_and_numpy_numbers(rng):
    image = rng.uniform(0, 255, (1, 3, 4, 3)).astype("float32")
    stream = Modality(np.int64(3), np.array([1.0, 2.0, 3.0]), np.bool_(False))
    model = FCN32s(2, weights=None, head_width=2, inputs={"image": stream})
    scaled = model.get_layer("preprocessing")(image)
    np.testing.assert_allclose(scaled, image - np.array([1, 2, 3]), rtol=1e-5)


@pytest.mark.parametrize("name", ["vok", None, 5, ["voc"]])
def test_unknown_means_are_rejected(name):
    with pytest.raises(ModelError, match="unknown; choose one of imagenet, voc"):
        Modality.with_mean_of(name)
