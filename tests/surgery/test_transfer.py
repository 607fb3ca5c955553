"""Initialising finer models from coarser ones."""

import keras
import numpy as np
import pytest

import fcn_keras
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.layers.upsampling import BilinearUpsampling
from fcn_keras.models.saving import save_model
from fcn_keras.surgery.transfer import start_from

TINY = {"backbone": "tiny", "weights": None, "head_width": 16}
FINER = [("fcn32s", "fcn16s", "upscore2"), ("fcn16s", "fcn8s", "upscore_pool4")]


def trained(name, rng, num_classes=3, **options):
    """Builds a model with random weights, including score layers and moving averages."""
    model = fcn_keras.MODELS[name](num_classes, **{**TINY, **options})
    model.set_weights([w + 0.1 * np.abs(rng.normal(size=w.shape)) for w in model.get_weights()])
    return model


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (1, 61, 93, 3)).astype("uint8")


def scores(model, layer, image):
    return np.asarray(keras.Model(model.input, model.get_layer(layer).output)(image))


@pytest.mark.parametrize(("coarse", "fine", "upsampling"), FINER)
def test_finer_model_starts_with_upsampled_scores(rng, tmp_path, image, coarse, fine, upsampling):
    theirs = trained(coarse, rng)
    ours = trained(fine, rng)  # Its skip scores must become zero.
    save_model(theirs, tmp_path / "model.keras")
    start = start_from(ours, tmp_path)

    last = {"fcn32s": "score_fr", "fcn16s": "fuse_pool4"}[coarse]
    fused = {"fcn16s": "fuse_pool4", "fcn8s": "fuse_pool3"}[fine]
    coarse_scores = scores(theirs, last, image)
    assert np.abs(coarse_scores).max() > 0.01
    upsampled = np.asarray(BilinearUpsampling(2)(coarse_scores))
    np.testing.assert_array_equal(scores(ours, fused, image), upsampled)
    np.testing.assert_array_equal(scores(ours, upsampling, image), upsampled)

    with_weights = {layer.name for layer in ours.layers if layer.weights}
    assert {*start.copied, *start.zero, *start.bilinear} == with_weights
    assert start.zero == ({"fcn16s": "score_pool4", "fcn8s": "score_pool3"}[fine],)
    assert not start.left


def test_logits_differ_only_by_two_step_upsampling(rng, tmp_path, image):
    # Upsampling by 2 and 16 differs from 32: a single bright cell keeps 9/16 of its height.
    theirs, ours = trained("fcn32s", rng), trained("fcn16s", rng)
    save_model(theirs, tmp_path / "model.keras")
    start_from(ours, tmp_path)
    coarse, fine = np.asarray(theirs(image)), np.asarray(ours(image))
    spread = np.ptp(scores(theirs, "score_fr", image), axis=(1, 2)).max()
    assert 0 < np.abs(fine - coarse).max() < 7 / 16 * spread


def test_learned_upsampling_is_copied_or_starts_bilinear(rng, tmp_path):
    theirs = trained("fcn16s", rng, learn_upsampling=True)
    ours = trained("fcn8s", rng, learn_upsampling=True)  # Its new upsampling must become bilinear.
    tent = np.array([1, 3, 3, 1]) / 4
    bilinear = np.einsum("i,j,ab->ijab", tent, tent, np.eye(3))
    assert np.abs(ours.get_layer("upscore_pool4").get_weights()[0] - bilinear).max() > 0.1
    save_model(theirs, tmp_path / "model.keras")
    start = start_from(ours, tmp_path)
    assert start.bilinear == ("upscore_pool4", "upscore8") and start.left == ("upscore16",)
    for name, expected in (
        ("upscore2", theirs.get_layer("upscore2").get_weights()[0]),
        ("upscore_pool4", bilinear),
    ):
        np.testing.assert_array_equal(ours.get_layer(name).get_weights()[0], expected)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (
            ("fcn32s", {"num_classes": 21}),
            "fcn16s",
            "fcn32s_tiny has 21 classes, but fcn16s_tiny has 3. Use --reset-scores",
        ),
        (
            ("fcn32s", {"head_width": 8}),
            "fcn16s",
            "(3, 3, 64, 8) in the source and (3, 3, 64, 16) here",
        ),
        (("fcn8s", {}), "fcn16s", "the source is the finer model, with score_pool3"),
        (
            ("fcn16s", {"skip_scales": (0.5,)}),
            "fcn8s",
            "the input of 'score_pool4' is scaled by 0.5",
        ),
    ],
)
def test_incompatible_models_are_rejected(rng, tmp_path, source, target, message):
    name, options = source
    save_model(trained(name, rng, **options), tmp_path / "model.keras")
    ours = trained(target, rng)
    before = ours.get_weights()
    with pytest.raises(ConfigError) as error:
        start_from(ours, tmp_path)
    text = str(error.value)
    assert message in text and f"{name}_tiny" in text and f"{target}_tiny" in text
    assert text.startswith(str(tmp_path))
    for old, new in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("source", ["fcn32s", "fcn8s"])
def test_reset_scores_allows_other_classes(rng, tmp_path, image, source):
    theirs = trained(source, rng, num_classes=21, learn_upsampling=True)
    save_model(theirs, tmp_path / "model.keras")
    ours = fcn_keras.FCN16s(5, learn_upsampling=True, **TINY)
    bilinear = ours.get_layer("upscore16").get_weights()[0]
    ours.get_layer("score_fr").set_weights([np.ones((1, 1, 16, 5)), np.ones(5)])
    ours.get_layer("upscore16").set_weights([bilinear + 1])
    start = start_from(ours, tmp_path, reset_scores=np.bool_(True))
    assert start.zero == ("score_fr", "score_pool4") and start.bilinear == ("upscore2", "upscore16")
    np.testing.assert_array_equal(scores(ours, "fc7", image), scores(theirs, "fc7", image))
    assert not np.any(ours(image))
    np.testing.assert_array_equal(ours.get_layer("upscore16").get_weights()[0], bilinear)


def test_another_backbone_is_rejected(tmp_path):
    image = keras.Input((None, None, 3))
    other = keras.Model(image, keras.layers.Conv2D(3, 1, name="scores")(image), name="other")
    other.save(tmp_path / "other.keras")
    with pytest.raises(ConfigError, match="from other: fcn16s_tiny has no scores"):
        start_from(fcn_keras.FCN16s(3, **TINY), tmp_path / "other.keras")
    with pytest.raises(ConfigError, match="^source: fcn32s_tiny has 2 classes"):
        start_from(fcn_keras.FCN16s(3, **TINY), fcn_keras.FCN32s(2, **TINY))


@pytest.mark.parametrize("source", [None, 5, ["fcn"]])
def test_sources_of_other_types_are_rejected(source):
    ours = fcn_keras.FCN16s(3, **TINY)
    with pytest.raises(ConfigError, match="^source: must be a Keras model or the result of"):
        start_from(ours, source)
    with pytest.raises(ConfigError, match="^model: must be a Keras model or the result of"):
        start_from(source, ours)
    with pytest.raises(ConfigError, match="^reset_scores='no': must be True or False"):
        start_from(ours, ours, reset_scores="no")


def test_different_geometries_are_rejected(tmp_path):
    options = {"weights": None, "head_width": 2}
    fcn_keras.FCN32s(2, geometry="reference", **options).save(tmp_path / "coarse.keras")
    with pytest.raises(ConfigError, match="only one of them has the reference geometry"):
        start_from(fcn_keras.FCN16s(2, **options), tmp_path / "coarse.keras")


def test_run_without_model_is_rejected(tmp_path):
    with pytest.raises(ModelError, match="the folder has no model.keras"):
        start_from(fcn_keras.FCN16s(3, **TINY), tmp_path)
