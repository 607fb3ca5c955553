import hashlib
import io
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import randomise_scores
from PIL import Image, ImageOps

import fcn_keras
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.prediction import frozen, precision
from fcn_keras.serving import encoded, model_card
from fcn_keras.training.watching import Silence


@pytest.fixture(scope="module")
def model():
    return randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None))


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Exports the model, once for each set of options."""
    done = {}

    def get(**options):
        key = tuple(options.items())
        if key not in done:
            done[key] = fcn_keras.export(
                model, tmp_path_factory.mktemp("models") / "m", **options
            ).path
        return done[key]

    return get


def test_versions_are_numbered_and_never_replaced(model, tmp_path):
    (tmp_path / "street" / "7").mkdir(parents=True)
    (tmp_path / "street" / "7" / "keep").touch()
    assert fcn_keras.export(model, tmp_path / "street").path == tmp_path / "street" / "8"
    assert fcn_keras.export(model, tmp_path / "street").path == tmp_path / "street" / "9"
    assert sorted(p.name for p in (tmp_path / "street").iterdir()) == ["7", "8", "9"]
    assert (tmp_path / "street" / "7" / "keep").exists()


def test_the_default_signature_has_the_documented_types(exported):
    signature = load(exported())["serving_default"]
    (image,) = signature.structured_input_signature[1].values()
    assert (image.name, image.dtype, image.shape.as_list()) == (
        "image",
        tf.uint8,
        [None, None, None, 3],
    )
    assert signature.structured_outputs["mask"].dtype == tf.uint8
    assert signature.structured_outputs["mask"].shape.as_list() == [None, None, None]


@pytest.mark.slow
def test_a_process_without_this_package_returns_the_same_masks(model, exported, tmp_path, rng):
    version = exported()
    images = rng.integers(0, 256, (2, 45, 67, 3), "uint8")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        f"serve = tf.saved_model.load({str(version)!r}).signatures['serving_default']\n"
        f"images = tf.constant(np.load({str(tmp_path / 'images.npy')!r}))\n"
        f"np.save({str(tmp_path / 'masks.npy')!r}, serve(image=images)['mask'].numpy())\n"
        "assert 'fcn_keras' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    expected = [fcn_keras.predict(model, image) for image in images]
    np.testing.assert_array_equal(np.load(tmp_path / "masks.npy"), expected)


def test_a_folder_that_cannot_be_created_is_named(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file is a file, not a folder"):
        fcn_keras.export(model, tmp_path / "file" / "m")
    (tmp_path / "link").symlink_to("nowhere/m")
    with pytest.raises(ConfigError, match="link: is a broken link"):
        fcn_keras.export(model, tmp_path / "link")


def load(version):
    return tf.saved_model.load(str(version)).signatures


def decode(masks):
    kind = tf.uint16 if masks[0].numpy()[24] == 16 else tf.uint8
    return [tf.io.decode_png(mask, 1, kind).numpy()[..., 0] for mask in masks]


@pytest.mark.parametrize("options", [{}, {"freeze": True}, {"precision": "bfloat16"}])
def test_all_signatures_agree_on_the_masks(model, exported, rng, options):
    served = load(exported(**options))
    assert set(served) == {"serving_default", "encoded", "logits", "confidence"}
    images = tf.constant(rng.integers(0, 256, (2, 45, 67, 3), "uint8"))
    mask = served["serving_default"](image=images)["mask"]
    logits = served["logits"](image=images)["logits"]
    assert logits.dtype == tf.float32
    np.testing.assert_array_equal(mask, np.argmax(logits, axis=-1))
    both = served["confidence"](image=images)
    np.testing.assert_array_equal(both["mask"], mask)
    highest = np.exp(logits).max(axis=-1) / np.exp(logits).sum(axis=-1)
    assert both["confidence"].dtype == tf.uint8
    assert abs(both["confidence"].numpy() / 255 - highest).max() < 0.51 / 255
    files = tf.stack([tf.io.encode_png(image) for image in images])
    np.testing.assert_array_equal(decode(served["encoded"](image_bytes=files)["mask_bytes"]), mask)
    reference = precision.in_precision(model, options.get("precision", "float32"))
    expected = [fcn_keras.predict(reference, image) for image in images.numpy()]
    np.testing.assert_array_equal(mask, expected)


def test_a_frozen_version_has_no_variables(model, exported):
    for options, count in (({"freeze": True}, 0), ({}, len(model.variables))):
        loaded = tf.saved_model.load(str(exported(**options)))
        assert len(getattr(loaded, "variables_of_the_model", ())) == count
        assert bool(loaded.signatures["serving_default"].variables) == bool(count)


def test_images_in_one_request_may_differ_in_size(model, exported, rng):
    served = load(exported())["encoded"]
    images = [rng.integers(0, 256, (*size, 3), "uint8") for size in ((1, 1), (31, 31), (3, 200))]
    files = tf.stack([tf.io.encode_png(image) for image in images])
    for mask, image in zip(decode(served(image_bytes=files)["mask_bytes"]), images, strict=True):
        np.testing.assert_array_equal(mask, fcn_keras.predict(model, image))


def test_empty_and_too_large_images_are_refused(model, tmp_path):
    served = load(fcn_keras.export(model, tmp_path / "m", max_pixels=100).path)
    for shape in ((0, 3, 4, 3), (1, 0, 4, 3)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="image: its shape .* no pixel"):
            served["logits"](image=tf.zeros(shape, tf.uint8))
    files = tf.stack([tf.io.encode_png(tf.zeros((10, n, 3), tf.uint8)) for n in (10, 11)])
    assert len(served["encoded"](image_bytes=files[:1])["mask_bytes"]) == 1
    message = r"image_bytes\[1\]: 10 x 11 pixels; at most 100"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served["encoded"](image_bytes=files)
    for name in ("serving_default", "logits", "confidence"):
        assert served[name](image=tf.zeros((2, 5, 10, 3), tf.uint8))
        message = r"image: shape \[2 3 17 3\]; at most 100 pixels in total are allowed"
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            served[name](image=tf.zeros((2, 3, 17, 3), tf.uint8))


def test_an_image_above_the_limit_is_refused_in_a_line(model, tmp_path):
    opened = fcn_keras.load(fcn_keras.export(model, tmp_path / "m", max_pixels=100).path)
    assert opened.predict(np.zeros((10, 10, 3), "uint8")).shape == (10, 10)
    with pytest.raises(ConfigError, match=r"1: refuses an image: .*--max-pixels\.$") as error:
        opened.predict(np.zeros((10, 11, 3), "uint8"))
    assert "\n" not in str(error.value)


def test_images_that_padding_makes_huge_are_refused(exported):
    served = load(exported())
    for shape in ((1, 1, 65537, 3), (257, 1, 1, 3)):
        message = "16777216 pixels in total are allowed, and sides below 256 count as 256"
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            served["serving_default"](image=tf.zeros(shape, tf.uint8))
    files = [tf.io.encode_png(tf.zeros((65537, 1, 3), tf.uint8))]
    message = (
        r"image_bytes\[0\]: 65537 x 1 pixels; at most 16777216 are allowed, and sides below 256"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served["encoded"](image_bytes=tf.stack(files))


def test_images_of_one_request_must_be_as_many(tmp_path):
    given = {name: keras.Input((None, None, 3), name=name) for name in ("left", "right")}
    both = keras.layers.Concatenate()([keras.layers.Rescaling(1 / 255)(x) for x in given.values()])
    net = keras.Model(given, keras.layers.Conv2D(2, 1)(both))
    served = load(fcn_keras.export(net, tmp_path / "m").path)["serving_default"]
    two, three = (tf.zeros((n, 4, 5, 3), tf.uint8) for n in (2, 3))
    assert served(left=two, right=two)["mask"].shape == (2, 4, 5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="right: must be as many images as in"):
        served(left=two, right=three)


def test_masks_above_255_classes_have_16_bits(tmp_path, rng):
    net = randomise_scores(fcn_keras.FCN32s(300, backbone="tiny", head_width=8, weights=None))
    net.get_layer("score_fr").bias.assign(np.arange(300) == 280)
    served = load(fcn_keras.export(net, tmp_path / "m").path)
    image = rng.integers(0, 256, (40, 50, 3), "uint8")
    (mask,) = decode(served["encoded"](image_bytes=[tf.io.encode_png(image)])["mask_bytes"])
    assert mask.dtype == np.uint16 and mask.max() > 255
    np.testing.assert_array_equal(mask, fcn_keras.predict(net, image))


def test_labels_checksums_and_model_card(model, tmp_path):
    palette = [[0, 0, 0], [128, 64, 128], [1, 2, 3]]
    names = ("ground", "Straße", "car")
    version = fcn_keras.export(model, tmp_path / "street", class_names=names, palette=palette).path
    labels = json.loads((version / "assets" / "labels.json").read_text("utf-8"))
    assert labels["classes"][1] == {"id": 1, "name": "Straße", "colour": [128, 64, 128]}
    lines = (version / "SHA256SUMS").read_text().splitlines()
    listed = {line.split("  ")[1]: line.split("  ")[0] for line in lines}
    files = {p.relative_to(version).as_posix(): p for p in version.rglob("*") if p.is_file()}
    assert listed.keys() == files.keys() - {"SHA256SUMS"}
    assert {"saved_model.pb", "model_card.md", "assets/labels.json"} <= listed.keys()
    for name, digest in listed.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest
    card = (version / "model_card.md").read_text("utf-8")
    for said in ("# street", "float32", "ground, Straße, car", "| `image_bytes` string [n] |"):
        assert said in card


def test_the_model_card_describes_the_run(fcn_keras_cli, two_folders):
    run, options = two_folders / "run", ("--backbone", "tiny", "--weights", "none")
    arguments = ("--data", two_folders / "data.yaml", "--out", run, "--crop", "32x32")
    status, _, err = fcn_keras_cli("train", *arguments, *options, "--epochs", 1)
    assert status == 0, err
    status, out, err = fcn_keras_cli("export", run, "--out", two_folders / "m")
    assert status == 0, err
    card = (two_folders / "m" / "1" / "model_card.md").read_text("utf-8")
    metrics = json.loads((run / "metrics.json").read_text())
    assert f"| {metrics['mean_iou']:.3f} |" in card
    for said in ("| train | ", "| 4 |", "| road |", "head_width: ", "Trained with `"):
        assert said in card
    assert "Unknown" not in card


def test_the_model_card_has_no_metrics_of_another_model(fcn_keras_cli, two_folders):
    run, options = two_folders / "run", {"backbone": "tiny", "weights": None, "head_width": 8}
    trained = fcn_keras.train(
        data=str(two_folders / "data.yaml"), out=run, crop=(32, 32), batch_size=2, epochs=1,
        watch=Silence(), **options,
    )  # fmt: skip
    other = fcn_keras.load(run).model
    other.set_weights([1.5 * weight for weight in other.get_weights()])
    other.save(run / "other.keras")
    shutil.copy(run / "model.keras", run / "same.keras")
    row = f"| {trained.evaluation.pixel_accuracy:.3f} | {trained.evaluation.mean_accuracy:.3f} |"
    status, _, err = fcn_keras_cli(
        *("export", run / "other.keras", "--out", two_folders / "m", "--precision", "bfloat16")
    )
    assert status == 0, err
    card = (two_folders / "m" / "1" / "model_card.md").read_text("utf-8")
    assert row not in card and "which has other weights" in card and "| train | " in card

    def card_of(name):
        model_card.write(run / "card.md", fcn_keras.load(run / name).model, "m", {}, {}, None, run)
        return (run / "card.md").read_text("utf-8")

    content = json.loads((run / "metrics.json").read_text())
    for _ in range(2):
        assert row in card_of("model.keras") and row in card_of("same.keras")
        assert row not in card_of("other.keras")
        content.pop("weights_sha256", None)  # As version 0.1 wrote it.
        (run / "metrics.json").write_text(json.dumps(content))


def test_a_killed_export_is_removed_by_the_next(model, tmp_path):
    left = tmp_path / "m" / ".0a1b2c3d-99999999-0.fcn-keras-tmp"
    (left / "saved_model" / "variables").mkdir(parents=True)
    (left / "saved_model" / "saved_model.pb").write_bytes(b"half")
    fcn_keras.export(model, tmp_path / "m")
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["1"]


def test_a_failed_export_leaves_no_folders(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["fcn_keras.serving.writers.savedmodel"], "LARGEST_GRAPH", 1000)
    with pytest.raises(ModelError, match="Leave out --freeze"):
        fcn_keras.export(model, tmp_path / "new" / "m", freeze=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"precision": "int8"},
            r"precision='int8' \(--precision\): a SavedModel must be float32",
        ),
        ({"max_pixels": 0}, "max_pixels=0: must be a whole number from 1 to 500000000"),
        ({"max_pixels": 10**14}, "max_pixels=100000000000000: must be a whole number from 1 to"),
        ({"class_names": ("a", "b")}, r"class_names: must have one entry per class \(3\), found 2"),
        ({"palette": [[0, 0, 0]]}, r"palette: must have one entry per class \(3\), found 1"),
    ],
)
def test_wrong_options_are_named_and_leave_no_files(model, tmp_path, options, message):
    with pytest.raises((ConfigError, ModelError), match=message):
        fcn_keras.export(model, tmp_path / "m", **options)
    assert not list(tmp_path.rglob("*.pb"))


def test_a_version_is_not_the_folder_of_versions(model, tmp_path):
    version = fcn_keras.export(model, tmp_path / "m").path
    with pytest.raises(ConfigError, match=r"/m/1: is a version .* Give .*/m\.$"):
        fcn_keras.export(model, version)
    assert not (version / "1").exists()


def test_weights_too_large_for_a_graph_are_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["fcn_keras.serving.writers.savedmodel"], "LARGEST_GRAPH", 1000)
    with pytest.raises(ModelError, match="Leave out --freeze"):
        fcn_keras.export(model, tmp_path / "m", freeze=True)
    assert not (tmp_path / "m").exists()
    fcn_keras.export(model, tmp_path / "m")


def test_a_model_with_wrong_logits_is_not_published(model, tmp_path, monkeypatch):
    other, fill = keras.models.clone_model(model), frozen.insert_weights
    other.set_weights([1.1 * weight for weight in model.get_weights()])
    monkeypatch.setattr(frozen, "insert_weights", lambda graph, model: fill(graph, other))
    with pytest.raises(ModelError, match="not written: the exported logits differ"):
        fcn_keras.export(model, tmp_path / "m", freeze=True)
    assert not (tmp_path / "m").exists()


def test_the_largest_max_pixels_can_be_served(model, tmp_path):
    served = load(fcn_keras.export(model, tmp_path / "m", max_pixels=500_000_000).path)
    png = tf.io.encode_png(np.zeros((5, 7, 3), "uint8"))
    (mask,) = served["encoded"](image_bytes=tf.stack([png]))["mask_bytes"].numpy()
    assert tf.io.decode_png(mask).shape == (5, 7, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_sent_as_bytes_are_segmented_upright(model, exported, rng, orientation):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(rng.integers(0, 256, (31, 45, 3), "uint8")).save(file, "JPEG", exif=exif)
    with Image.open(file) as photo:
        upright = np.asarray(ImageOps.exif_transpose(photo))
    served = load(exported())["encoded"]
    (mask,) = decode(served(image_bytes=tf.constant([file.getvalue()]))["mask_bytes"])
    np.testing.assert_array_equal(mask, fcn_keras.predict(model, upright))


def wrong(name):
    """Returns an inverting copy of one of the steps of `decode`."""
    right = getattr(encoded, name)
    return lambda *given: 255 - right(*given)


@pytest.mark.parametrize("name", ["_turned_upright", "_png", "_jpeg"])
def test_an_export_that_decodes_wrongly_is_not_published(tmp_path, monkeypatch, name):
    # Each pixel's brightness decides its class.
    image = keras.Input((None, None, 3), name="image")
    score = keras.layers.Conv2D(2, 1, name="score")
    net = keras.Model(image, score(keras.layers.Rescaling(1 / 255)(image)))
    score.set_weights([np.tile([[[[1.0, -1.0]]]], (1, 1, 3, 1)), np.array([-1.5, 1.5])])
    assert fcn_keras.export(net, tmp_path / "right").agreement > 0.99
    without = name == "_turned_upright"
    monkeypatch.setattr(encoded, name, (lambda image, _: image) if without else wrong(name))
    with pytest.raises(ModelError, match="not written"):
        fcn_keras.export(net, tmp_path / "m")
    assert not (tmp_path / "m").exists()
