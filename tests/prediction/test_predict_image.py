import gc
import weakref

import numpy as np
import pytest
from nets import randomise_scores
from PIL import Image

import fcn_keras
from fcn_keras.errors import ConfigError
from fcn_keras.prediction.image_files import plan, write
from fcn_keras.prediction.pictures import (
    Look,
    colour_mask,
    error_picture,
    overlay,
    palette_png,
    side_by_side,
)
from fcn_keras.prediction.predict_files import predict_files
from fcn_keras.prediction.signature import class_ids

PALETTE = np.array([[0, 0, 0], [200, 10, 20], [3, 250, 7]], "uint8")


@pytest.fixture(scope="module")
def net():
    return fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=16)


def test_predict_returns_the_argmax_at_the_images_size(rng):
    model = randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None))
    for size in ((1, 1), (31, 31), (3, 400), (77, 101)):
        image = rng.integers(0, 256, (*size, 3), "uint8")
        mask = fcn_keras.predict(model, image)
        assert mask.dtype == np.uint8 and mask.shape == size
        np.testing.assert_array_equal(mask, np.argmax(model(image[None])[0], axis=-1))
        np.testing.assert_array_equal(fcn_keras.predict(model, image.astype("float64")), mask)


def test_a_model_is_freed_after_predicting():
    model = fcn_keras.FCN32s(2, backbone="tiny", weights=None)
    fcn_keras.predict(model, np.zeros((5, 6, 3), "uint8"))
    there = weakref.ref(model)
    del model
    gc.collect()
    assert there() is None


def test_masks_above_255_classes_have_16_bits():
    model = fcn_keras.FCN32s(300, backbone="tiny", weights=None)
    model.get_layer("score_fr").bias.assign(np.arange(300))
    mask = fcn_keras.predict(model, np.zeros((5, 6, 3), "uint8"))
    assert mask.dtype == np.uint16 and (mask == 299).all()


def test_pictures_show_the_palette(rng):
    mask = np.array([[0, 1], [2, 255]], "uint8")
    np.testing.assert_array_equal(
        colour_mask(mask, PALETTE), [[PALETTE[0], PALETTE[1]], [PALETTE[2], [255] * 3]]
    )
    image = np.full((2, 2, 3), 100, "uint8")
    np.testing.assert_array_equal(overlay(image, mask, PALETTE, opacity=0), image)
    np.testing.assert_array_equal(overlay(image, mask, PALETTE, 1), colour_mask(mask, PALETTE))


def test_overlays_leave_the_background_as_it_is(rng):
    image = rng.integers(0, 256, (2, 2, 3), "uint8")
    mask = np.array([[0, 1], [2, 0]], "uint8")
    plain = overlay(image, mask, PALETTE)
    shown = overlay(image, mask, PALETTE, background=0)
    np.testing.assert_array_equal(shown[mask == 0], image[mask == 0])
    np.testing.assert_array_equal(shown[mask > 0], plain[mask > 0])
    np.testing.assert_allclose(plain, 0.45 * image + 0.55 * PALETTE[mask], atol=0.51)


def test_an_overlay_of_another_format_does_not_stay_beside_a_new_mask(tmp_path):
    image, mask = np.zeros((4, 4, 3), "uint8"), np.zeros((4, 4), "uint8")
    Image.fromarray(image).save(tmp_path / "a.png")
    mine = tmp_path / "out" / "a_overlay.png"
    for kind, left in (("jpg", {"a.png", "a_overlay.jpg"}), ("none", {"a.png"})):
        (job,) = plan([tmp_path / "a.png"], tmp_path / "out", overlay=kind)
        write(image, mask, Look(PALETTE), job.results)
        assert {path.name for path in mine.parent.iterdir()} == left
    Image.fromarray(image).save(mine)  # The user's own stays.
    (job,) = plan([tmp_path / "a.png"], tmp_path / "out", overlay="jpg")
    write(image, mask, Look(PALETTE), job.results)
    assert mine.exists()


def test_a_name_too_long_for_its_overlay_is_told_before_any_prediction(tmp_path):
    longest = 255 - len("_overlay.png")
    for length in (longest, longest + 1):
        image = tmp_path / f"{'x' * length}.png"
        Image.fromarray(np.zeros((4, 4, 3), "uint8")).save(image)
        if length == longest:
            assert plan([image], tmp_path / "out")
        else:
            with pytest.raises(ConfigError, match=r"would have 256 bytes.* Rename the image"):
                plan([image], tmp_path / "out")


@pytest.mark.parametrize("kind", ["png", "jpg", "none"])
def test_overlays_of_each_format_are_written_and_may_be_replaced(kind, rng, tmp_path):
    image = np.full((32, 32, 3), 100, "uint8")
    mask = np.repeat(np.array([[0], [1]], "uint8"), 16, 0).repeat(32, 1)
    Image.fromarray(image).save(tmp_path / "a.png")
    for _ in range(2):  # The second time over its own files.
        (job,) = plan([tmp_path / "a.png"], tmp_path / "out", overlay=kind)
        write(image, mask, Look(PALETTE, background=0), job.results)
    names = {"png": {"a.png", "a_overlay.png"}, "jpg": {"a.png", "a_overlay.jpg"}}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names.get(kind, {"a.png"})
    if kind != "none":
        with Image.open(tmp_path / "out" / f"a_overlay.{kind}") as shown:
            pixels = np.asarray(shown).astype(int)
        assert abs(pixels[0, 0] - 100).max() <= 3
        assert abs(pixels[31, 31] - (0.45 * 100 + 0.55 * PALETTE[1])).max() <= 3
        Image.fromarray(image).save(tmp_path / "out" / f"a_overlay.{kind}")  # The user's own.
        with pytest.raises(ConfigError, match="was not written by predict"):
            plan([tmp_path / "a.png"], tmp_path / "out", overlay=kind)


PHOTO, IDS = np.zeros((2, 3, 3), "uint8"), np.array([[0, 1, 2], [255, 0, 0]], "uint8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": PHOTO[..., 0]}, r"image: must be .* \[h, w, 3\], found uint8 \(2, 3\)"),
        ({"image": PHOTO / 255}, r"image: must be .* integers .* found float64"),
        ({"image": "photo.jpg"}, "image: must be .* found str"),
        (
            {"image": PHOTO[:, :2]},
            r"mask: must have the size of the image, \(2, 2\), found \(2, 3\)",
        ),
        ({"mask": IDS[..., None]}, r"mask: must be .* \[h, w\], found uint8 \(2, 3, 1\)"),
        ({"mask": IDS.astype("float32")}, "mask: must be .* found float32"),
        ({"palette": PALETTE[:2]}, "palette: has 2 colours, .* classes from 0 to 2"),
        ({"palette": PALETTE[:, :2]}, r"palette: must be .* \[classes, 3\]"),
        ({"palette": None}, "palette: must be .* found NoneType"),
        ({"opacity": 1.5}, "opacity=1.5: must be a number from 0 to 1"),
        ({"opacity": "half"}, "opacity='half'"),
    ],
)
def test_overlay_checks_its_arguments(change, message):
    arguments = {"image": PHOTO, "mask": IDS, "palette": PALETTE, "opacity": 0.5}
    assert overlay(**arguments).shape == PHOTO.shape
    with pytest.raises(ConfigError, match=message):
        overlay(**{**arguments, **change})


def test_the_error_picture_separates_right_wrong_and_void():
    image = np.full((2, 3, 3), 100, "uint8")
    truth = np.array([[0, 1, 255], [2, 2, 255]], "uint8")
    prediction = np.array([[0, 2, 0], [2, 1, 1]], "uint8")
    error = error_picture(image, truth, prediction).astype(int)
    right, wrong, void = error[0, 0], error[0, 1], error[0, 2]
    np.testing.assert_array_equal(error, [[right, wrong, void], [right, wrong, void]])
    assert right.min() == right.max() > 150 and void.min() == void.max() < 50
    assert wrong[0] > 150 and wrong[1:].max() < 80

    parts = [image, colour_mask(truth, PALETTE), colour_mask(prediction, PALETTE), error]
    row = side_by_side(image, truth, prediction, PALETTE)
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(row[:, 7 * number : 7 * number + 3], part)
    assert row.shape == (2, 24, 3) and (row[:, 3:7] == 255).all()
    square = side_by_side(image, truth, prediction, PALETTE, gap=1, columns=2)
    np.testing.assert_array_equal(square[3:, 4:], error)
    assert square.shape == (5, 7, 3) and (square[2] == 255).all()


def test_a_mask_png_stores_ids_and_shows_colours(tmp_path):
    mask = np.array([[0, 1], [2, 255]], "uint8")
    palette_png(mask, PALETTE).save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), mask)
        np.testing.assert_array_equal(
            np.asarray(picture.convert("RGB")), colour_mask(mask, PALETTE)
        )


def test_results_never_replace_sources_or_each_other(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.jpg"):
        (tmp_path / "in" / name).touch()
    jobs = plan([tmp_path / "in", tmp_path / "in" / "a.png"], tmp_path / "out")
    assert [job.images.name for job in jobs] == ["a.png", "b.jpg"]
    assert jobs[1].results == ((tmp_path / "out/b.png", tmp_path / "out/b_overlay.png"),)
    with pytest.raises(ConfigError, match="a.png: exists already and was not written by predict"):
        plan([tmp_path / "in"], tmp_path / "in")
    (tmp_path / "a.jpg").touch()
    jobs = plan([tmp_path / "in" / "a.png", tmp_path / "a.jpg"], tmp_path / "out")
    assert [job.results[0].mask.name for job in jobs] == ["a.png.png", "a.jpg.png"]
    (tmp_path / "a.png").touch()
    with pytest.raises(ConfigError, match="a.png.png: would be the result of"):
        plan([tmp_path / "in" / "a.png", tmp_path / "a.png"], tmp_path / "out")
    with pytest.raises(ConfigError, match="no such file or folder"):
        plan([tmp_path / "nothing.png"], tmp_path / "out")
    with pytest.raises(ConfigError, match="contains no images"):
        plan([tmp_path / "out"], tmp_path / "other")


def test_wrong_arrays_are_refused():
    model = fcn_keras.FCN32s(2, backbone="tiny", weights=None)
    for image, found in (
        (np.zeros((5, 7)), r"the shape \(5, 7\)"),
        (np.zeros((5, 7, 4)), r"the shape \(5, 7, 4\)"),
        ("photo.jpg", "str"),
    ):
        with pytest.raises(ConfigError, match=f"image: must be an array .* found {found}"):
            fcn_keras.predict(model, image)
    late = fcn_keras.FCN32s(
        2,
        backbone="tiny",
        weights=None,
        inputs={"color": fcn_keras.Modality(), "hha": fcn_keras.Modality()},
    )
    with pytest.raises(ConfigError, match="must be a dict with the images color, hha"):
        fcn_keras.predict(late, np.zeros((5, 7, 3)))


@pytest.mark.parametrize(
    "image, found",
    [
        (np.linspace(0, 1, 1200).reshape(20, 20, 3), "0 to 1"),
        (np.linspace(0, 1, 1200).reshape(20, 20, 3).astype("float16"), "0 to 1"),
        (np.linspace(-1, 1, 1200).reshape(20, 20, 3), "-1 to 1"),
        (np.linspace(-2.12, 2.64, 1200).reshape(20, 20, 3), "-2.12 to 2.64"),
        (np.linspace(0, 65535, 1200).reshape(20, 20, 3).astype("uint16"), "0 to 65535"),
        (np.full((20, 20, 3), np.nan), "nan to nan"),
    ],
)
@pytest.mark.parametrize("tile", [None, 64])
def test_pixels_that_are_not_0_to_255_give_a_warning(net, image, found, tile):
    with pytest.warns(UserWarning, match=f"pixels must be 0 to 255, found {found}") as seen:
        fcn_keras.predict(net, image, tile=tile)
    assert len(seen) == 1 and seen[0].filename == __file__


@pytest.mark.filterwarnings("error")
def test_other_images_give_no_warning(net, rng):
    dark = np.zeros((20, 900, 3), "float32")
    dark[:, 800:] = 200  # The first tile is all black.
    for image in (
        rng.uniform(0, 255, (20, 20, 3)),
        rng.integers(0, 256, (20, 20, 3)),
        np.zeros((20, 20, 3)),
        np.ones((20, 20, 3), "uint8"),
    ):
        fcn_keras.predict(net, image)
    fcn_keras.predict(net, dark + 0.5, tile=512)


@pytest.mark.parametrize(("classes", "kind"), [(255, "uint8"), (256, "uint16"), (300, "uint16")])
def test_255_is_void_in_8_bits_so_256_classes_take_16(classes, kind):
    logits = np.eye(classes, dtype="float32")[[[[0, classes - 1]]]]
    ids = class_ids(logits).numpy()
    assert ids.dtype == kind and ids.tolist() == [[[0, classes - 1]]]
    palette = np.arange(3 * classes).reshape(-1, 3).astype("uint8")
    picture = np.asarray(palette_png(ids[0], palette))
    assert picture.tolist() == ids[0].tolist()


def test_photos_are_predicted_upright(rng, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(rng.integers(0, 256, (24, 40, 3), "uint8"))
    stored.save(tmp_path / "photo.png", exif=exif)
    upright = np.rot90(np.asarray(stored), -1)
    model = randomise_scores(fcn_keras.FCN8s(3, backbone="tiny", weights=None))
    notes = []
    jobs = plan([tmp_path / "photo.png"], tmp_path / "out")
    assert list(predict_files(model, jobs, Look(PALETTE), notes=notes)) == [None]
    with Image.open(tmp_path / "out" / "photo.png") as mask:
        np.testing.assert_array_equal(mask, fcn_keras.predict(model, upright.copy()))
    with Image.open(tmp_path / "out" / "photo_overlay.png") as overlaid:
        assert overlaid.size == (24, 40)
    assert [note.kind for note in notes] == ["EXIF orientation"]
