import numpy as np
import pytest
from PIL import Image

from pipelines import DataError, read_image, read_mask


def saved(tmp_path, array, name, mode=None, **options):
    image = Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode)
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.fixture
def colours(rng):
    return rng.integers(0, 256, (9, 14, 3), "uint8")


def test_format_is_detected_by_content(tmp_path, colours):
    for name, kind in (("a.jpg", "PNG"), ("b.png", "BMP"), ("c.png", "WEBP")):
        options = {"lossless": True} if kind == "WEBP" else {}
        path = saved(tmp_path, colours, name, format=kind, **options)
        np.testing.assert_array_equal(read_image(path), colours)


def test_every_pixel_format_becomes_rgb(tmp_path, colours, rng):
    grey = colours[..., 0]
    np.testing.assert_array_equal(
        read_image(saved(tmp_path, grey, "grey.png")), np.repeat(grey[..., None], 3, axis=-1)
    )
    deep = rng.integers(0, 65536, (9, 14), "uint16")
    np.testing.assert_array_equal(
        read_image(saved(tmp_path, deep, "deep.png"))[..., 1], np.round(deep / 257)
    )
    see_through = np.dstack([colours, np.zeros((9, 14), "uint8")])
    assert (read_image(saved(tmp_path, see_through, "alpha.png")) == 255).all()
    cmyk = saved(tmp_path, colours, "cmyk.jpg", mode="CMYK")
    with Image.open(cmyk) as image:
        np.testing.assert_array_equal(read_image(cmyk), image.convert("RGB"))
    # TurboJPEG has no name for this subsampling.
    rare = saved(tmp_path, colours, "rare.jpg", mode="CMYK", subsampling=2)
    with Image.open(rare) as image:
        np.testing.assert_array_equal(read_image(rare), image.convert("RGB"))
    rare.write_bytes(rare.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"rare\.jpg: damaged .*truncated"):
        read_image(rare)


def test_palette_masks_keep_their_indices(tmp_path, rng):
    indices = rng.integers(0, 21, (9, 14), "uint8")
    indices[0, 0] = 255
    picture = Image.fromarray(indices)
    picture.putpalette(rng.integers(0, 256, 768, "uint8").tobytes())
    picture.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as written:
        assert written.mode == "P"
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), indices)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_grey_masks_keep_their_values(tmp_path, rng, kind):
    values = rng.integers(0, 256, (9, 14), "uint8")
    path = saved(tmp_path, values, "mask", format=kind)
    np.testing.assert_array_equal(read_mask(path), values)


def truncated(tmp_path, colours):
    whole = saved(tmp_path, np.tile(colours, (9, 9, 1)), "whole.png").read_bytes()
    (tmp_path / "bad.png").write_bytes(whole[: len(whole) // 2])


def html(tmp_path, colours):
    (tmp_path / "bad.png").write_text("<html><body>404</body></html>")


def empty(tmp_path, colours):
    (tmp_path / "bad.png").touch()


def animated(tmp_path, colours):
    frames = [Image.fromarray(colours), Image.fromarray(255 - colours)]
    frames[0].save(tmp_path / "bad.png", save_all=True, append_images=frames[1:])


def folder(tmp_path, colours):
    (tmp_path / "bad.png").mkdir()


def tiff(tmp_path, colours):
    saved(tmp_path, colours, "bad.png", format="TIFF")


@pytest.mark.parametrize(
    ("make", "message", "kind"),
    [
        (truncated, "damaged or unreadable", "damaged file"),
        (html, "not an image; it starts with '<html><body>'. Replace", "not an image"),
        (empty, "not an image; the file is empty", "empty file"),
        (animated, "an animation, not an image", "animation"),
        (tiff, "TIFF files are unsupported", "format"),
        (lambda *_: None, "no such file", "missing file"),
        (folder, "a folder, not a file", "not a file"),
    ],
)
def test_unreadable_files_are_named(tmp_path, colours, make, message, kind):
    make(tmp_path, colours)
    for read in (read_image, read_mask):
        with pytest.raises(DataError) as error:
            read(tmp_path / "bad.png")
        assert str(error.value).startswith(f"{tmp_path / 'bad.png'}: {message}")
        assert error.value.file == tmp_path / "bad.png" and error.value.kind == kind


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("mask.jpg", np.zeros((8, 8), "uint8"), "the mask is a JPEG"),
    ],
)
def test_lossy_masks_are_rejected(tmp_path, name, array, message):
    with pytest.raises(DataError) as error:
        read_mask(saved(tmp_path, array, name))
    assert message in str(error.value)


UNREADABLE = {
    "broken.png",
    "hopper.gif",
    "hopper.tif",
    "truncated_image.png",
    "truncated_jpeg.jpg",
}


def test_real_odd_files_are_read_or_named(shared):
    for path in sorted((shared / "data" / "ugly").iterdir()):
        try:
            image = read_image(path)
        except DataError as error:
            assert path.name in str(error)
            assert path.name in UNREADABLE
        else:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            with Image.open(path) as header:
                assert image.shape[:2] == header.size[::-1]


def test_real_voc_masks_hold_class_ids(shared):
    for path in sorted((shared / "data").glob("voc_sample/**/SegmentationClass/*.png")):
        assert set(np.unique(read_mask(path))) <= {*range(21), 255}
