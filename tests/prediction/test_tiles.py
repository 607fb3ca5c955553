"""Stitched tiles equal the whole image's logits, for any size of image and tile."""

import functools
import subprocess
import sys
from contextlib import nullcontext

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from nets import randomise_scores

import fcn_keras
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.layers.alignment import CropLike
from fcn_keras.prediction import tiles


@functools.cache
def net(name, backbone="tiny", geometry="same", head_width=16, zoom=1.0):
    keras.utils.set_random_seed(0)
    build = fcn_keras.MODELS[name]
    options = {"backbone": backbone, "weights": None, "head_width": head_width, "zoom": zoom}
    return randomise_scores(build(4, geometry=geometry, **options))


def logits(model):
    return lambda image: np.asarray(model(image[None].astype("float32"), training=False)[0])


def assert_stitched_is_whole(model, image, tile, overlap=None):
    cuts = tiles.cut(model, image.shape[:2], tile, overlap)
    whole = logits(model)(image)
    stitched = tiles.stitch(logits(model), image, cuts)
    np.testing.assert_allclose(stitched, whole, rtol=0, atol=2e-5 * np.abs(whole).max())
    return cuts


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(fcn_keras.MODELS)),
    size=st.tuples(st.integers(1, 620), st.integers(1, 620)),
    tile=st.tuples(st.integers(308, 460), st.integers(308, 460)),
    seed=st.integers(0, 9),
)
def test_stitched_logits_equal_the_whole_images(name, size, tile, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), "uint8")
    cuts = assert_stitched_is_whole(net(name), image, tile)
    for cut in cuts:
        rows, columns = image[cut.seen].shape[:2]
        assert rows <= tile[0] and columns <= tile[1]


@settings(max_examples=300, deadline=None)
@given(
    size=st.integers(1, 3000),
    tile=st.integers(64, 900),
    overlap=st.integers(0, 300),
    stride=st.sampled_from([1, 8, 32]),
)
def test_tiles_cover_the_image_once_and_share_the_overlap(size, tile, overlap, stride):
    try:
        spans = tiles._spans(size, tile, overlap, stride, None, 0)
    except ConfigError:
        assert tile < overlap + 2 * stride - 1
        return
    assert spans[0][1].start == 0 and spans[-1][1].stop == size
    for (seen, kept, inner), (after, next_kept, _) in zip(spans, spans[1:], strict=False):
        assert kept.stop == next_kept.start
        assert seen.stop - after.start >= overlap and after.start % stride == 0
        assert seen.start <= kept.start < kept.stop <= seen.stop
        assert seen.start + inner.start == kept.start and inner.stop - inner.start > 0
    assert len({seen.stop - seen.start for seen, _, _ in spans}) == 1


def test_predict_in_tiles_equals_predict(rng):
    model = net("fcn8s")
    image = rng.integers(0, 256, (401, 555, 3), "uint8")
    whole = fcn_keras.predict(model, image)
    for kind in ("uint8", "float64"):
        mask = fcn_keras.predict(model, image.astype(kind), tile=320)
        assert mask.dtype == np.uint8
        assert (mask != whole).mean() < 1e-4  # Two logits may be equal up to rounding.
    fast = fcn_keras.predict(model, image, tile=(160, 192), overlap=64)
    assert 0 < (fast != whole).mean() < 0.2
    several = fcn_keras.predict(model, image, tile=448, tta=True)
    assert several.shape == whole.shape


def test_an_image_may_lie_on_disk(rng, tmp_path):
    image = np.memmap(tmp_path / "image.raw", "uint8", "w+", shape=(400, 330, 3))
    image[:] = rng.integers(0, 256, image.shape, "uint8")
    mask = fcn_keras.predict(net("fcn32s"), image, tile=320)
    assert type(mask) is np.ndarray
    assert (mask != fcn_keras.predict(net("fcn32s"), np.array(image))).mean() < 1e-4


@pytest.mark.parametrize("size", [(150, 173), (160, 131)])
def test_a_model_without_padding_to_multiples_is_stitched(size, rng):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    x = layers.Conv2D(3, 3, padding="same")(x)
    x = layers.UpSampling2D(4, interpolation="bilinear")(x)
    model = keras.Model(image, CropLike(0)(x, image))
    pixels = rng.integers(0, 256, (*size, 3), "uint8")
    assert len(assert_stitched_is_whole(model, pixels, 70)) > 4


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["same", "reference"])
def test_vgg16_in_both_geometries(geometry, rng):
    image = rng.integers(0, 256, (700, 571, 3), "uint8")
    model = net("fcn8s", "vgg16", geometry, 8)
    assert len(assert_stitched_is_whole(model, image, (640, 600))) > 1


def test_auto_tiles_only_large_images(rng, monkeypatch):
    monkeypatch.setattr(tiles, "AUTO_PIXELS", 400 * 330)
    monkeypatch.setattr(tiles, "AUTO_TILE", 320)
    model = net("fcn8s")
    assert tiles.edge_for(model, (400, 330), "auto") is None
    assert tiles.edge_for(model, (401, 330), "auto") == 320
    assert tiles.edge_for(net("fcn8s", zoom=1.5), (401, 330), "auto") is None
    monkeypatch.setattr(tiles, "AUTO_TILE", 96)  # A pixel sees 244.
    edge = tiles.edge_for(model, (401, 630), "auto")
    assert 304 <= edge < 401
    image = rng.integers(0, 256, (401, 630, 3), "uint8")
    whole, tiled = fcn_keras.predict(model, image), fcn_keras.predict(model, image, tile="auto")
    np.testing.assert_array_equal(tiled, whole)


def test_wrong_tiles_are_refused():
    image = np.zeros((400, 400, 3), "uint8")
    for options, message in (
        ({"tile": 0}, "tile=0: must be a whole number of pixels, at least 1"),
        ({"tile": 3.5}, "tile=3.5: must be a whole number"),
        ({"tile": (100,)}, r"tile=\(100,\): must be"),
        ({"tile": True}, "tile=True: must be"),
        ({"tile": 307, "overlap": -1}, "overlap=-1: must be a whole number of pixels, at least 0"),
        ({"tile": 304}, None),
        ({"tile": 112, "overlap": 80}, None),
        ({"overlap": 9}, "overlap=9: is only used with tiles. Pass tile too."),
        ({"tile": 303}, "tile: must be at least 304 for 400 pixels .* see 244 pixels.* found 303"),
        ({"tile": 111, "overlap": 80}, "tile: must be at least 112 .* overlap is 80 .* found 111"),
    ):
        with pytest.raises(ConfigError, match=message) if message else nullcontext():
            fcn_keras.predict(net("fcn8s"), image, **options)
    with pytest.raises(ConfigError, match="image: must be an array"):
        fcn_keras.predict(net("fcn8s"), "photo.jpg", tile=400)


def test_models_that_cannot_be_tiled_are_refused():
    image = np.zeros((400, 400, 3), "uint8")
    with pytest.raises(ModelError, match="tile: .*Zoom.*Leave tile out to predict the whole image"):
        fcn_keras.predict(net("fcn32s", zoom=1.5), image, tile=320)
    assert not tiles.is_possible(net("fcn32s", zoom=1.5)) and tiles.is_possible(net("fcn32s"))
    heads = fcn_keras.FCN32s({"a": 2, "b": 3}, backbone="tiny", weights=None, head_width=16)
    with pytest.raises(ConfigError, match="tile: .* has several images or heads"):
        fcn_keras.predict(heads, image, tile=320)
    streams = {"left": fcn_keras.Modality(), "right": fcn_keras.Modality()}
    options = {"backbone": "tiny", "weights": None, "head_width": 16, "inputs": streams}
    with pytest.raises(ConfigError, match="tile: .* has several images"):
        fcn_keras.predict(fcn_keras.FCN32s(2, **options), dict.fromkeys(streams, image), tile=320)


def test_a_field_that_ends_within_a_pixel_is_tiled(rng):
    image = keras.Input((None, None, 3))
    x = keras.layers.UpSampling2D(2)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Conv2D(4, 2, padding="same")(x)  # Sees one and a half pixels.
    net = keras.Model(image, keras.layers.Conv2D(5, 2, strides=2, padding="same")(x))
    photo = rng.integers(0, 256, (64, 64, 3), "uint8")
    whole, tiled = fcn_keras.predict(net, photo), fcn_keras.predict(net, photo, tile=32)
    np.testing.assert_array_equal(tiled, whole)


HUGE = """
import resource, sys
import numpy as np
import fcn_keras
model = fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=16)
image = np.broadcast_to(np.uint8(90), (20000, 20000, 3))
fcn_keras.predict(model, image[:100, :100])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mask = fcn_keras.predict(model, image, tile=1536)
print(mask.nbytes, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_400_million_pixels_take_less_than_3_gb():
    run = subprocess.run([sys.executable, "-c", HUGE], capture_output=True, text=True, check=True)
    mask, grown = map(int, run.stdout.split())
    assert mask == 400_000_000 and grown < 3e9
