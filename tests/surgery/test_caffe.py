import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from scipy.ndimage import zoom
from scipy.signal import correlate
from sklearn.datasets import load_digits

import fcn_keras
from fcn_keras.errors import ConfigError, ModelError, WeightsError
from fcn_keras.layers.upsampling import bilinear_filter
from fcn_keras.surgery.caffe import convert, load_weights

CLASSES, WIDTH = 4, 8
VGG16 = {
    **{"conv1_1": (64, 3), "conv1_2": (64, 64), "conv2_1": (128, 64), "conv2_2": (128, 128)},
    **{"conv3_1": (256, 128), "conv3_2": (256, 256), "conv3_3": (256, 256)},
    **{"conv4_1": (512, 256), "conv4_2": (512, 512), "conv4_3": (512, 512)},
    **{"conv5_1": (512, 512), "conv5_2": (512, 512), "conv5_3": (512, 512)},
}


def bilinear(classes, size):
    """Returns the blob of a bilinear deconvolution: [in, out, h, w]."""
    return np.einsum("ab,ij->abij", np.eye(classes), bilinear_filter(size)).astype("float32")


@pytest.fixture(scope="module")
def blobs():
    """Weights of an FCN-8s in Caffe's axis order, with the reference's names."""
    rng = np.random.default_rng(0)
    kernels = {name: (*axes, 3, 3) for name, axes in VGG16.items()} | {
        "fc6": (WIDTH, 512, 7, 7),
        "fc7": (WIDTH, WIDTH, 1, 1),
        "score_fr": (CLASSES, WIDTH, 1, 1),
        "score_pool4": (CLASSES, 512, 1, 1),
        "score_pool3": (CLASSES, 256, 1, 1),
    }

    def draw(*shape):
        return rng.standard_normal(shape, "float32") / np.sqrt(np.prod(shape[1:]) / 2, dtype="f4")

    net = {name: [draw(*shape), draw(shape[0], 200)[:, 0]] for name, shape in kernels.items()}
    upscore = {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16}
    return net | {name: [bilinear(CLASSES, size)] for name, size in upscore.items()}


def build(name="fcn8s", classes=CLASSES, width=WIDTH, **options):
    return fcn_keras.MODELS[name](classes, weights=None, head_width=width, **options)


@pytest.fixture(scope="module")
def learned(blobs):
    """An FCN-8s with all of the blobs and random upsampling kernels."""
    rng = np.random.default_rng(1)
    up = {name: [rng.normal(size=blobs[name][0].shape)] for name in blobs if "up" in name}
    model = build(learn_upsampling=True)
    report = load_weights(model, blobs | up)
    assert set(report.loaded) == set(blobs) and not report.missing and not report.left_over
    return model, blobs | up


def between(model, first, last):
    """Returns the part of the model between the outputs of two layers."""
    return keras.Model(model.get_layer(first).output, model.get_layer(last).output)


def test_conv1_1_correlates_the_bgr_image(learned, rng):
    model, blobs = learned
    kernel, bias = blobs["conv1_1"]
    image = rng.uniform(0, 255, (32, 64, 3))
    actual = keras.Model(model.input, model.get_layer("block1_conv1").output)(image[None])[0]
    bgr = np.pad(image[..., ::-1] - [103.939, 116.779, 123.68], [(1, 1), (1, 1), (0, 0)])
    for out in range(0, 64, 7):
        maps = [correlate(bgr[..., c], kernel[out, c].astype(float), "valid") for c in range(3)]
        expected = np.maximum(sum(maps) + bias[out], 0)
        np.testing.assert_allclose(actual[..., out], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("stored", ["convolution", "V2 inner product", "V1 inner product"])
def test_fc6_loads_from_convolutions_and_inner_products(blobs, stored, rng):
    kernel, bias = blobs["fc6"]
    fc6 = {
        "convolution": [kernel, bias],
        "V2 inner product": [kernel.reshape(WIDTH, -1), bias],
        "V1 inner product": [kernel.reshape(1, 1, WIDTH, -1), bias.reshape(1, 1, 1, -1)],
    }[stored]
    model = build("fcn32s")
    report = load_weights(model, {"fc6": fc6})
    assert report.loaded == {"fc6": "fc6"} and "score_fr" in report.missing
    pool5 = rng.normal(size=(1, 9, 8, 512))
    actual = between(model, "block5_pool", "fc6")(pool5)
    # Cell (4, 3) sees rows 1..7 and columns 0..6. Caffe's inner product has channels first.
    seen = pool5[0, 1:8, 0:7].transpose(2, 0, 1)
    expected = np.maximum(kernel.reshape(WIDTH, -1).astype(float) @ seen.ravel() + bias, 0)
    np.testing.assert_allclose(actual[0, 4, 3], expected, rtol=1e-4, atol=1e-4)


def test_upscore_matches_caffes_deconvolution(learned, rng):
    model, blobs = learned
    scores = rng.normal(size=(3, 5, CLASSES))
    actual = between(model, "score_fr", "upscore2")(scores[None])[0]
    x = np.pad(scores, [(1, 1), (1, 1), (0, 0)], "edge")
    (kernel,) = blobs["upscore2"]  # [in, out, h, w]
    out = np.zeros((2 * 5 + 2, 2 * 7 + 2, CLASSES))
    for i, j in np.ndindex(5, 7):  # Each cell adds its filters, two pixels apart.
        out[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("a,abij->ijb", x[i, j], kernel)
    np.testing.assert_allclose(actual, out[3:-3, 3:-3], rtol=1e-4, atol=1e-4)


def test_filter_groups_match_caffe(rng):
    image = keras.Input((6, 7, 4))
    net = keras.Model(image, layers.Conv2D(6, 3, groups=2, use_bias=False, name="conv2")(image))
    kernel = rng.normal(size=(6, 2, 3, 3))  # [out, in / groups, h, w]
    load_weights(net, {"conv2": [kernel]})
    x = rng.normal(size=(6, 7, 4))
    actual = net(x[None])[0]
    for out in range(6):
        inputs = x[..., :2] if out < 3 else x[..., 2:]
        maps = [correlate(inputs[..., c], kernel[out, c], "valid") for c in range(2)]
        np.testing.assert_allclose(actual[..., out], sum(maps), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stored", ["V1", "V2"])
def test_inner_products_after_a_map_have_caffes_order(stored, rng):
    image = keras.Input((4, 6, 5))
    x = layers.Dropout(0.5)(layers.Flatten()(layers.MaxPooling2D()(image)))
    hidden = layers.Dense(7, name="ip1")(x)
    net = keras.Model(image, layers.Dense(3, name="ip2")(hidden))
    first, second = rng.normal(size=(7, 5 * 2 * 3)), rng.normal(size=(3, 7))
    blobs = {"ip1": [first, rng.normal(size=7)], "ip2": [second, rng.normal(size=3)]}
    if stored == "V1":
        blobs = {
            name: [array.reshape((1,) * (4 - array.ndim) + array.shape) for array in arrays]
            for name, arrays in blobs.items()
        }
    load_weights(net, blobs)
    pixels = rng.normal(size=(4, 6, 5))
    pooled = pixels.reshape(2, 2, 3, 2, 5).max(axis=(1, 3))
    vector = pooled.transpose(2, 0, 1).ravel()  # Caffe flattens channels, rows, columns.
    expected = second @ (first @ vector + blobs["ip1"][1].ravel()) + blobs["ip2"][1].ravel()
    np.testing.assert_allclose(net(pixels[None])[0], expected, rtol=1e-4, atol=1e-5)


def test_lenet_trained_in_caffe_reads_digits(shared):
    net = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(20, 5, name="conv1"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, name="conv2"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, activation="relu", name="ip1"),
            layers.Dropout(0.5),
            layers.Dense(10, name="ip2"),
        ]
    )
    report = load_weights(net, shared / "data" / "caffe" / "lenet_iter_10000.caffemodel")
    assert list(report.loaded) == ["conv1", "conv2", "ip1", "ip2"]
    assert not report.missing and not report.left_over
    # Digits of other writers than MNIST's, enlarged from 8 x 8 to MNIST's 20 x 20 pixels: accuracy
    # 0.84. With transposed or flipped kernels, or another flattening order: 0.12 to 0.30.
    digits = load_digits(n_class=10)
    x = np.zeros((len(digits.images), 28, 28, 1), "float32")
    x[:, 4:24, 4:24, 0] = zoom(digits.images / 16, (1, 2.5, 2.5), order=1)
    assert np.mean(np.argmax(net(x), -1) == digits.target) > 0.75


def test_every_layer_is_loaded_missing_or_left_over(blobs):
    report = load_weights(build(), blobs)
    assert set(report.loaded) == set(blobs) and not report.missing and not report.left_over
    assert report.loaded["conv3_2"] == "block3_conv2" and report.loaded["upscore8"] == "upscore8"

    report = load_weights(build("fcn32s"), blobs)
    assert not report.missing
    up = {"upscore2", "upscore_pool4", "upscore8"}
    assert set(report.left_over) == {"score_pool4", "score_pool3", *up}
    assert set(report.left_over.values()) == {"the model has no such layer"}

    less = {name: arrays for name, arrays in blobs.items() if name not in ("fc7", "score_pool3")}
    model = build()
    report = load_weights(model, less | {"fc8": blobs["fc7"]})
    assert report.missing == ("fc7", "score_pool3") and list(report.left_over) == ["fc8"]
    assert set(report.loaded) == set(less)
    assert not model.get_layer("score_pool3").get_weights()[0].any()


def test_upsampling_that_is_not_bilinear_is_left_over(blobs):
    model = build()
    for change in ("value", "channels", "bias", "size"):
        (kernel,) = blobs["upscore2"]
        kernel = kernel.copy()
        if change == "value":
            kernel[0, 0, 1, 1] += 1e-4
        if change == "channels":
            kernel[0, 1] = kernel[0, 0]
        arrays = [bilinear(CLASSES, 3)[..., :2]] if change == "size" else [kernel]
        arrays += [np.ones(CLASSES)] if change == "bias" else []
        report = load_weights(model, blobs | {"upscore2": arrays})
        assert set(report.loaded) == set(blobs) - {"upscore2"} and not report.missing
        assert "learn_upsampling=True" in report.left_over["upscore2"]


def test_alexnets_upsampling_loads_whether_bilinear_or_trained(rng):
    options = {"backbone": "alexnet", "geometry": "reference"}
    score = [rng.normal(size=(CLASSES, WIDTH, 1, 1)), rng.normal(size=CLASSES)]
    trained = bilinear(CLASSES, 63)
    trained[0, 1] = 0.5 * trained[0, 0]  # The scores of one class feed another.
    fixed, learned = (build("fcn32s", learn_upsampling=learn, **options) for learn in (False, True))
    report = load_weights(fixed, {"score_fr": score, "upscore": [bilinear(CLASSES, 63)]})
    assert set(report.loaded) == {"score_fr", "upscore"} and not report.left_over
    report = load_weights(fixed, {"score_fr": score, "upscore": [trained]})
    assert list(report.left_over) == ["upscore"]
    assert "not bilinear: use a model with learn_upsampling=True" in report.left_over["upscore"]
    report = load_weights(learned, {"score_fr": score, "upscore": [trained]})
    assert set(report.loaded) == {"score_fr", "upscore"}
    scores = rng.normal(size=(2, 3, CLASSES))
    actual = between(learned, "score_fr", "upscore")(scores[None])[0]
    out = np.zeros((32 + 63, 64 + 63, CLASSES))
    for i, j in np.ndindex(2, 3):
        window = out[32 * i : 32 * i + 63, 32 * j : 32 * j + 63]
        window += np.einsum("a,abij->ijb", scores[i, j], trained)
    np.testing.assert_allclose(actual, out, rtol=1e-4, atol=1e-4)


def test_skip_scales_are_compared(blobs):
    scales = {"scale_pool4": [np.full(512, 0.01, "f4")], "scale_pool3": [np.full(256, 1e-4, "f4")]}
    at_once = build(skip_scales=(0.01, 0.0001))
    report = load_weights(at_once, blobs | scales)
    assert set(scales) <= set(report.loaded) and not report.missing and not report.left_over
    assert load_weights(at_once, blobs).missing == ("scale_pool4", "scale_pool3")
    report = load_weights(build(), blobs | scales)
    assert report.left_over["scale_pool4"].startswith("scales by 0.01, the model does not scale")
    report = load_weights(build(skip_scales=(0.05, 0.0001)), blobs | scales)
    assert report.left_over["scale_pool4"].startswith("scales by 0.01, the model by 0.05")


def test_suffix_selects_a_head(blobs):
    trunk = {name: arrays for name, arrays in blobs.items() if "score" not in name}
    heads = {}
    for ending, offset in (("_sem", 1), ("_geo", 2)):
        for name in blobs.keys() - trunk.keys():
            heads[name + ending] = [array + offset for array in blobs[name]]
    heads["upscore2_geo"] = blobs["upscore2"]
    model = build()
    report = load_weights(model, trunk | heads, suffix="_geo")
    assert report.loaded["score_fr_geo"] == "score_fr" and not report.missing
    assert "upscore2_geo" in report.loaded and "upscore8_geo" in report.left_over
    assert {name for name in heads if name.endswith("_sem")} <= set(report.left_over)
    bias = model.get_layer("score_fr").get_weights()[1]
    np.testing.assert_allclose(bias, blobs["score_fr"][1] + 2, rtol=1e-6)

    report = load_weights(model, trunk | heads)
    assert report.missing == ("score_fr", "score_pool4", "score_pool3")
    assert "did you mean suffix '_geo'?" in report.left_over["score_fr_geo"]


def test_slashes_in_names_become_underscores(rng):
    image = keras.Input((5, 5, 2))
    net = keras.Model(image, layers.Conv2D(3, 1, name="inception_3a_1x1")(image))
    kernel, bias = rng.normal(size=(3, 2, 1, 1)), rng.normal(size=3)
    report = load_weights(net, {"inception_3a/1x1": [kernel, bias.reshape(1, 1, 1, 3)]})
    assert report.loaded == {"inception_3a/1x1": "inception_3a_1x1"}
    x = rng.normal(size=(5, 5, 2))
    np.testing.assert_allclose(net(x[None])[0], x @ kernel[:, :, 0, 0].T + bias, rtol=1e-4)


def test_weights_that_do_not_fit_change_nothing(blobs):
    model = build("fcn32s", classes=5)
    before = model.get_weights()
    kernel, bias = blobs["fc7"]
    for change, message in (
        (
            {},
            "the weights: 'score_fr' has shape [4, 8, 1, 1], the model's 'score_fr' takes "
            "[5, 8, 1, 1]. Build the model with num_classes=4 and head_width=8 to match the file, "
            "or choose another file.",
        ),
        ({"fc7": [kernel]}, "'fc7' has 1 arrays, the model's 'fc7' takes 2."),
        ({"fc7": [kernel, bias[:-1]]}, "'fc7' has shape [7], the model's 'fc7' takes [8]."),
        ({"fc7": [kernel, bias * np.nan]}, "'fc7' contains infinite or NaN values"),
        ({"conv1_1": [blobs["conv1_1"][0][:, :1], bias]}, "'conv1_1' has shape [64, 1, 3, 3]"),
    ):
        with pytest.raises(WeightsError) as error:
            load_weights(model, blobs | change)
        assert message in str(error.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_weights_of_another_model_are_rejected(shared):
    path = shared / "data" / "caffe" / "lenet_iter_10000.caffemodel"
    model = build("fcn32s")
    with pytest.raises(WeightsError) as error:
        load_weights(model, path)
    assert str(error.value).startswith(
        f"{path}: has no layer of fcn32s_vgg16. It has conv1, conv2, ip1, ip2; the model has "
        "conv1_1, conv1_2,"
    )
    with pytest.raises(WeightsError, match="must contain a whole FCN, but has no layer 'score_fr'"):
        convert(path, "fcn8s")
    with pytest.raises(ModelError, match="model='fcn4s': unknown; choose one of fcn32s"):
        convert(path, "fcn4s")


def test_wrong_arguments_are_rejected(blobs):
    model = build("fcn32s")
    for wrong in (None, 5, "fcn32s"):
        with pytest.raises(ConfigError, match="^model: must be a Keras model"):
            load_weights(wrong, blobs)
    for wrong in (None, 5, "", ["a"]):
        with pytest.raises(ConfigError, match="^path=.*: must be a path"):
            load_weights(model, wrong)
    with pytest.raises(ModelError, match="^suffix=5: must be a text"):
        load_weights(model, blobs, suffix=5)
    for wrong in (None, ["fcn32s"]):
        with pytest.raises(ModelError, match="^model=.*: unknown; choose one of fcn32s"):
            convert("net.caffemodel", wrong)
    with pytest.raises(ModelError, match="^mean=.*: unknown; choose one of imagenet"):
        convert("net.caffemodel", "fcn8s", mean=["voc"])


def test_convert_builds_the_model_of_the_file(blobs, caffe_file, learned, rng):
    up = {"upscore2": [blobs["upscore2"][0] + rng.normal(size=(4, 4, 4, 4))]}
    scales = {"scale_pool4": [np.full(512, 0.01, "f4")], "scale_pool3": [np.full(256, 1e-4, "f4")]}
    net, report = convert(caffe_file(blobs | up | scales), "fcn8s")
    assert not report.missing and not report.left_over
    assert net.get_layer("scale_pool4").scale == 0.01
    assert net.get_layer("scale_pool3").scale == 0.0001
    assert net.get_layer("upscore2").learn

    net, report = convert(caffe_file(blobs, "V1"), "fcn8s")
    assert not report.missing and not report.left_over
    for layer in net.layers:
        if layer.weights:
            for ours, theirs in zip(
                layer.get_weights(), learned[0].get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)


def test_converted_model_predicts(fcn_keras_cli, blobs, caffe_file, tmp_path, rng):
    source, out = caffe_file(blobs, "V1"), tmp_path / "new" / "fcn8s.keras"
    status, shown, err = fcn_keras_cli("convert", source, "--model", "fcn8s", "--out", out)
    assert status == 0, err
    assert "block1_conv1" in shown and "missing" not in shown and "left over" not in shown
    assert [path.name for path in out.parent.iterdir()] == ["fcn8s.keras"]

    image = rng.integers(0, 256, (40, 56, 3), "uint8")
    Image.fromarray(image).save(tmp_path / "image.png")
    status, _, err = fcn_keras_cli(
        "predict", out, tmp_path / "image.png", "--out", tmp_path / "masks"
    )
    assert status == 0, err
    voc = fcn_keras.Modality(mean=fcn_keras.MEANS["voc"])
    model = build(geometry="reference", inputs={"image": voc})
    load_weights(model, blobs)
    logits = np.asarray(model(image[None])[0])
    with Image.open(tmp_path / "masks" / "image.png") as mask:
        np.testing.assert_array_equal(mask, logits.argmax(-1))
    np.testing.assert_array_equal(fcn_keras.load(out).model(image[None])[0], logits)

    status, _, err = fcn_keras_cli("convert", source, "--model", "fcn8s", "--out", out)
    assert status == 2
    assert err == f"error: --out {out}: exists already. Choose another name, or delete it.\n"


def test_convert_rejects_incomplete_files(fcn_keras_cli, blobs, caffe_file, tmp_path):
    out = tmp_path / "fcn8s.keras"
    source = caffe_file({n: a for n, a in blobs.items() if n != "score_pool3"})
    status, shown, err = fcn_keras_cli("convert", source, "--model", "fcn8s", "--out", out)
    assert status == 2 and "missing from the file" in shown and not out.exists()
    assert err == (
        f"error: {source}: has no weights for score_pool3 of fcn8s. Choose another --model or "
        "--suffix, or leave them untrained with --partial.\n"
    )
    status, _, err = fcn_keras_cli("convert", source, "--model", "fcn8s", "--partial", "--out", out)
    assert status == 0, err
    assert not fcn_keras.load(out).model.get_layer("score_pool3").get_weights()[0].any()

    source.write_text("<html>404</html>")
    out = tmp_path / "none.keras"
    status, _, err = fcn_keras_cli("convert", source, "--model", "fcn8s", "--out", out)
    assert status == 2 and len(err.splitlines()) == 1 and "starts with '<html>" in err
    status, _, err = fcn_keras_cli(
        "convert", source, "--model", "fcn8s", "--out", tmp_path / "x.h5"
    )
    assert status == 2 and "must end in .keras" in err
    assert not out.exists()
