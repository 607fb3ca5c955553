import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import randomise_scores

import fcn_keras
from fcn_keras.errors import ModelError


@pytest.fixture(scope="module")
def tiny_fcn8s():
    keras.utils.set_random_seed(0)
    return randomise_scores(fcn_keras.FCN8s(4, backbone="tiny", weights=None, head_width=16))


@pytest.mark.parametrize("build", fcn_keras.MODELS.values())
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_logits_have_the_image_size(build, kind):
    model = build(5, backbone="tiny", weights=None)
    logits = model(np.zeros((2, 61, 93, 3), kind))
    assert logits.shape == (2, 61, 93, 5)
    assert logits.dtype == "float32"


def test_uint8_and_float_images_give_the_same_logits(tiny_fcn8s, rng):
    image = rng.integers(0, 256, (1, 40, 50, 3), "uint8")
    np.testing.assert_array_equal(tiny_fcn8s(image), tiny_fcn8s(image.astype("float32")))


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 200))
def test_image_is_centred_on_the_grid(tiny_fcn8s, height, width):
    # Padding the image with the mean colour by hand must not change the logits.
    rng = np.random.default_rng(height * 1000 + width)
    image = rng.uniform(0, 255, (1, height, width, 3)).astype("float32")
    top, left = (-height % 32) // 2, (-width % 32) // 2
    canvas = np.full((1, height + -height % 32, width + -width % 32, 3), 127.5, "float32")
    canvas[:, top : top + height, left : left + width] = image
    expected = np.asarray(tiny_fcn8s(canvas))[:, top : top + height, left : left + width]
    logits = np.asarray(tiny_fcn8s(image))
    assert logits.shape == (1, height, width, 4)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", fcn_keras.MODELS)
@pytest.mark.parametrize("backbone", ["tiny", "vgg16"])
def test_mirroring_kernels_and_image_mirrors_logits(name, backbone, rng):
    build = fcn_keras.MODELS[name]
    model = randomise_scores(build(3, backbone=backbone, weights=None, head_width=8))
    image = rng.uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    logits = np.asarray(model(image))
    for axis in (0, 1):
        mirrored = keras.models.clone_model(model)
        mirrored.set_weights([np.flip(w, axis) if w.ndim == 4 else w for w in model.get_weights()])
        flipped = np.asarray(mirrored(np.flip(image, axis + 1)))
        np.testing.assert_allclose(
            np.flip(flipped, axis + 1), logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max()
        )


def test_score_layers_start_at_zero(rng):
    image = rng.uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    coarse = fcn_keras.FCN32s(3, backbone="tiny", weights=None)
    assert not np.asarray(coarse(image)).any()
    fine = fcn_keras.FCN8s(3, backbone="tiny", weights=None)
    for layer in coarse.layers:
        if layer.weights:
            fine.get_layer(layer.name).set_weights(layer.get_weights())
    randomise_scores(coarse)
    fine.get_layer("score_fr").set_weights(coarse.get_layer("score_fr").get_weights())
    scores = keras.Model(fine.input, fine.get_layer("fuse_pool3").output)(image)
    only_coarse = keras.Model(fine.input, fine.get_layer("upscore_pool4").output)(image)
    np.testing.assert_array_equal(scores, only_coarse)
    assert np.asarray(fine(image)).any()


def test_top_layers_are_named_as_in_the_reference(weightless):
    names = {layer.name for layer in fcn_keras.FCN8s(3, backbone="vgg16", weights=None).layers}
    assert {"fc6", "fc7", "score_fr", "score_pool4", "score_pool3"} <= names
    assert {"upscore2", "upscore_pool4", "upscore8", "block1_conv1", "block5_conv3"} <= names


def test_fcn_vgg16_has_134_million_parameters(weightless):
    model = fcn_keras.FCN32s(21, weights=None)
    assert round(model.count_params() / 1e6) == 134  # Table 1


def test_upsampling_is_fixed_by_default(rng):
    frozen = fcn_keras.FCN8s(3, backbone="tiny", weights=None)
    learned = fcn_keras.FCN8s(3, backbone="tiny", weights=None, learn_upsampling=True)
    assert not any(layer.weights for layer in frozen.layers if layer.name.startswith("upscore"))
    kernels = [layer for layer in learned.layers if layer.name.startswith("upscore")]
    assert [layer.trainable_weights[0].shape[0] for layer in kernels] == [4, 4, 16]
    for layer in frozen.layers:
        if layer.weights:
            learned.get_layer(layer.name).set_weights(layer.get_weights())
    randomise_scores(frozen), randomise_scores(learned)
    image = rng.uniform(0, 255, (1, 45, 70, 3)).astype("float32")
    np.testing.assert_allclose(learned(image), frozen(image), rtol=1e-4, atol=1e-4)


def test_skip_scales_multiply_the_features(rng):
    image = rng.uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    plain = randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None))
    scaled = fcn_keras.FCN8s(3, backbone="tiny", weights=None, skip_scales=(0.01, 0.0001))
    scaled.set_weights(plain.get_weights())
    for name, factor in (("score_pool4", 100), ("score_pool3", 10000)):
        kernel, bias = scaled.get_layer(name).get_weights()
        scaled.get_layer(name).set_weights([kernel * factor, bias])
    np.testing.assert_allclose(scaled(image), plain(image), rtol=1e-3, atol=1e-3)


def test_logits_are_float32_under_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = fcn_keras.FCN8s(3, backbone="tiny", weights=None)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("fc6").compute_dtype == "bfloat16"
    assert model(np.zeros((1, 20, 30, 3), "uint8")).dtype == "float32"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("options", [{}, {"learn_upsampling": True}, {"zoom": 1.5}])
def test_everything_from_the_scores_on_is_float32(policy, options):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        heads = {"semantic": 4, "geometric": 3}
        model = fcn_keras.FCN8s(heads, backbone="tiny", weights=None, **options)
    finally:
        keras.config.set_dtype_policy(before)
    after = [
        layer
        for layer in model.layers
        if layer.name.startswith(("score", "upscore", "fuse", "logits", "zoomed_logits"))
    ]
    # Per head: three scores, three upsamplings, two sums, the logits.
    assert len(after) >= 2 * 9
    assert {(layer.compute_dtype, layer.variable_dtype) for layer in after} == {
        ("float32", "float32")
    }


def test_model_can_be_saved(tiny_fcn8s, tmp_path, rng):
    tiny_fcn8s.save(tmp_path / "model.keras")
    image = rng.integers(0, 256, (1, 33, 47, 3), "uint8")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(image), tiny_fcn8s(image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes=1: must be an integer of at least 2"),
        ({"num_classes": 2.5}, "num_classes=2.5"),
        ({"num_classes": 3, "backbone": "vgg61"}, "backbone='vgg61': unknown; choose one of vgg16"),
        ({"num_classes": 3, "dropout": 1}, "dropout=1: must be at least 0 and below 1"),
        ({"num_classes": 3, "dropout": None}, "dropout=None: must be at least 0 and below 1"),
        ({"num_classes": 3, "dropout": "x"}, "dropout='x': must be at least 0"),
        ({"num_classes": 3, "dropout": np.float32("nan")}, "dropout=np.float32(nan): must be"),
        ({"num_classes": 3, "head_width": 0}, "head_width=0: must be an integer"),
        ({"num_classes": 3, "head_width": True}, "head_width=True: must be an integer"),
        ({"num_classes": np.bool_(True)}, "num_classes=np.True_: must be an integer"),
        ({"num_classes": 3, "skip_scales": (np.nan, 1)}, "skip_scales=(nan, 1): must be 2 finite"),
        ({"num_classes": 3, "skip_scales": (1, np.inf)}, "must be 2 finite numbers"),
        ({"num_classes": 3, "skip_scales": "12"}, "skip_scales='12': must be 2 finite numbers"),
        ({"num_classes": 3, "skip_scales": 1.0}, "skip_scales=1.0: must be 2 finite numbers"),
        ({"num_classes": 3, "learn_upsampling": "no"}, "learn_upsampling='no': must be True or"),
        ({"num_classes": 3, "zoom": None}, "zoom=None: must be a number from 0.1 to 10"),
        ({"num_classes": 3, "zoom": True}, "zoom=True: must be a number from 0.1 to 10"),
        ({"num_classes": 3, "geometry": ["same"]}, "geometry=['same']: must be one of same"),
        ({"num_classes": 3, "backbone": ["vgg16"]}, "backbone=['vgg16']: unknown; choose one of"),
        ({"num_classes": 3, "weights": 5}, "weights=5: must be 'imagenet', the path of a file"),
        ({"num_classes": 3, "weights": False}, "weights=False: must be 'imagenet'"),
        ({"num_classes": 3, "name": "a/b"}, "name='a/b': must be a text without '/'"),
        ({"num_classes": 3, "name": 5}, "name=5: must be a text"),
        ({"num_classes": 3, "input_shape": "abc"}, "input_shape='abc': must be (height, width,"),
        ({"num_classes": 3, "input_shape": (8.0, 8, 3)}, "input_shape=(8.0, 8, 3): must be"),
        ({"num_classes": 3, "skip_scales": (1,)}, "must be 2 finite numbers, for pool4 and pool3"),
    ],
)
def test_invalid_arguments_are_rejected(options, message):
    with pytest.raises(ModelError) as error:
        fcn_keras.FCN8s(**{"backbone": "tiny", "weights": None, **options})
    assert message in str(error.value)


def test_numpy_numbers_are_numbers(tmp_path, rng):
    options = {"backbone": "tiny", "weights": None}
    model = fcn_keras.FCN8s(
        np.int64(5),
        head_width=np.int32(8),
        dropout=np.float32(0.25),
        skip_scales=np.array([0.5, 0.25]),
        learn_upsampling=np.bool_(True),
        zoom=np.float32(1.5),
        input_shape=(np.int64(32), None, np.uint8(3)),
        **options,
    )
    assert model.input_shape == (None, 32, None, 3) and model.output_shape[-1] == 5
    assert model.get_layer("drop6").rate == 0.25 and model.get_layer("scale_pool3").scale == 0.25
    model.save(tmp_path / "model.keras")
    image = rng.integers(0, 256, (1, 32, 40, 3), "uint8")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(image), model(image))
    heads = fcn_keras.FCN32s({"a": np.int64(2), "b": np.uint8(3)}, **options)
    assert heads.output["b"].shape[-1] == 3
