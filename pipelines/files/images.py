"""Reads images as RGB uint8 [h, w, 3], and masks with the values that the file stores.

Files are read with Pillow, because TensorFlow turns palette indices into grey levels, wraps 16-bit
labels and has no size limit. JPEGs are read with libjpeg-turbo (simplejpeg), because it reports
damage that it ignores, which Pillow does not. Headers are checked before anything is decoded
(`opening`).

Nothing is resized. Images are turned upright as their EXIF orientation says, which is how viewers
and labelling tools show them; masks are read as they are stored.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipelines.errors import DataError
from pipelines.files import damage, sixteen_bits
from pipelines.files.exif import TRANSPOSED, orientation, turned_upright
from pipelines.files.opening import MAX_PIXELS, Source, damaged, open_image

JPEGS = ("JPEG", "MPO")  # MPO: a JPEG followed by another.
BACKGROUND = (255, 255, 255)  # For transparent pixels.
TURNED = "EXIF orientation"  # The kind of the note that an image was turned.
GREY, COLOURS = 0, 2  # Colour types of a PNG; tRNS then names one transparent level or colour.


def read_image(
    source: Source | np.ndarray,
    notes: list[DataError] | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    upright: bool = True,
) -> np.ndarray:
    """Reads an image as RGB.

    Grey images get three equal channels, 16 bits are scaled to 8, transparent pixels are composited
    on white, and CMYK is converted as in Pillow.

    Args:
        source: The path of a BMP, GIF, JPEG, PNG or WebP file, an array (returned as it is), or an
            object with `read_bytes()`.
        notes: A list to which a `DataError` is added for each warning.
        max_pixels: Larger images are refused; raise it if there is enough memory.
        upright: Turn the image as its EXIF orientation says; False keeps the stored pixels.

    Returns:
        uint8 `[h, w, 3]`.

    Raises:
        DataError: The file is missing, not an image, damaged, animated or too large.
    """
    if isinstance(source, np.ndarray):
        return source
    image, data = open_image(source, "image", max_pixels)
    pixels = _rgb(image, data, source, notes)
    turn = orientation(_exif(image)) if upright else 1
    if turn == 1:
        return pixels
    if notes is not None:
        notes.append(_note_on_orientation(source, turn))
    return turned_upright(pixels, turn)


def read_mask(source: Source | np.ndarray, *, lossy: bool = False) -> np.ndarray:
    """Reads a mask's values as stored in the file; palette files give their indices.

    Args:
        source: The path of a PNG, BMP, GIF or lossless WebP file, an array (returned as it is), or
            an object with `read_bytes()`.
        lossy: Accept JPEG and lossy WebP files too; they give approximate colours.

    Returns:
        Integers `[h, w]`; uint8 `[h, w, 3]` if the file stores colours, even if all are grey; or
        bool `[h, w]` if it is a 1-bit black-and-white file.

    Raises:
        DataError: The file is missing, damaged, lossy, transparent, or has 16-bit colours.
    """
    return read_mask_and_palette(source, lossy=lossy)[0]


def read_mask_and_palette(
    source: Source | np.ndarray, *, lossy: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a mask like `read_mask`, and its palette, uint8 `[n, 3]`; None if it has none."""
    if isinstance(source, np.ndarray):
        return source, None
    image, data = open_image(source, "mask")
    if image.format in JPEGS or (image.format == "WEBP" and damage.is_lossy_webp(data)):
        if lossy:
            return _rgb(image, data, source, None), None
        raise DataError(
            f"{source}: the mask is a {'JPEG' if image.format != 'WEBP' else 'lossy WebP'}, which "
            "changes values and so destroys class ids. Export the masks as PNG. If there are only "
            "these, set `mask_threshold: 127` (black and white) or `mask_nearest: true` (distinct "
            "colours) in the YAML file.",
            kind="lossy mask",
            file=source,
        )
    if image.format == "PNG" and data[24] == 16 and image.mode in ("LA", "RGB", "RGBA"):
        raise DataError(
            f"{source}: the mask has several 16-bit channels, of which only 8 bits would be read. "
            "Save it with one channel, or with 8 bits.",
            kind="format",
            file=source,
        )
    _load(image, data, source)
    if image.mode in ("LA", "RGBA", "PA") and image.getchannel("A").getextrema() != (255, 255):
        raise DataError(
            f"{source}: the mask has transparent pixels, so its values are ambiguous. Save it "
            "without an alpha channel.",
            kind="transparent mask",
            file=source,
        )
    if image.mode == "P":
        palette = np.frombuffer(bytes(image.getpalette("RGB") or ()), "uint8").reshape(-1, 3)
        return np.asarray(image), palette
    if image.mode == "1" or image.mode.startswith("I"):
        return np.asarray(image), None
    if image.mode in ("L", "LA", "PA"):
        return np.asarray(image.getchannel(0)) // _grey_step(image, data), None
    return np.asarray(image.convert("RGB")), None


def read_size(
    source: Source | np.ndarray, *, upright: bool = True, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """Reads the height and width of an image, as `read_image` would return it, from its header.

    The arguments are those of `read_image`.

    Raises:
        DataError: As in `read_image`, except for damage that only decoding shows.
    """
    if isinstance(source, np.ndarray):
        return source.shape[:2]
    image, _ = open_image(source, "image", max_pixels)
    is_transposed = upright and orientation(_exif(image)) in TRANSPOSED
    return image.size if is_transposed else image.size[::-1]


def read_orientation(source: Source | np.ndarray) -> int:
    """Reads an image's EXIF orientation, 1..8; 1 if it is stored upright."""
    if isinstance(source, np.ndarray):
        return 1
    return orientation(_exif(open_image(source, "image")[0]))


def _rgb(
    image: Image.Image, data: bytes, source: Source, notes: list[DataError] | None
) -> np.ndarray:
    """Decodes an opened image to RGB; the pixels stay where they are stored."""
    if image.format in JPEGS:
        pixels = _jpeg(data, source, notes)
        if image.mode != "CMYK" and pixels is not None:
            return pixels
        del pixels  # libjpeg-turbo only checks for damage; Pillow knows Adobe's colours.
    _load(image, data, source)
    if image.mode.startswith("I"):
        return _grey_16_bit(image, source, notes)
    is_deep = image.format == "PNG" and data[24] == 16
    if is_deep and notes is not None:
        notes += _notes_on_deep_colours(image, data, source)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    if is_deep and image.mode == "RGB":
        see_through = (sixteen_bits.read_colours(data) == image.info["transparency"]).all(axis=-1)
        layer = image.convert("RGB")
        alpha = Image.fromarray(np.where(see_through, np.uint8(0), np.uint8(255)))
    else:
        _correct_colour_key(image, data)
        layer = image.convert("RGBA")
        alpha = layer.getchannel("A")
    if notes is not None and alpha.getextrema() != (255, 255):
        notes.append(_note_on_transparency(source))
    image = Image.new("RGB", layer.size, BACKGROUND)
    image.paste(layer, mask=alpha)
    return np.asarray(image)


def _load(image: Image.Image, data: bytes, source: Source) -> None:
    """Decodes a Pillow image."""
    try:
        image.load()
        if image.mode == "P" and image.palette is None:
            raise ValueError("its palette is missing")
        last_row = image.crop((0, image.height - 1, *image.size))
        if image.format == "PNG" and not np.asarray(last_row).any():
            damage.check_rows(data)  # Missing rows are left at zero.
    except Exception as error:  # Decoders raise OSError, SyntaxError, struct.error and others.
        raise damaged(source, error) from None


def _jpeg(data: bytes, source: Source, notes: list[DataError] | None) -> np.ndarray | None:
    """Decodes a JPEG and notes ignored damage; returns None if only Pillow can decode it."""
    try:
        pixels, ignored = damage.decode_jpeg(data)
    except Exception as error:
        if "Could not determine subsampling" in str(error):
            return None  # A rare subsampling, which libjpeg reads and TurboJPEG has no name for.
        raise damaged(source, error) from None
    if ignored and notes is not None:
        notes.append(
            DataError(
                f"{source}: the JPEG is damaged but decodes ({ignored}). Check the image, and "
                "replace the file if it is wrong.",
                kind="damaged JPEG",
                file=source,
            )
        )
    return pixels


def _grey_16_bit(image: Image.Image, source: Source, notes: list[DataError] | None) -> np.ndarray:
    """Converts 16-bit grey levels 0..65535 to RGB 0..255."""
    values = np.asarray(image)
    grey = np.round(values / 257).astype("uint8")
    if notes is not None:
        notes += sixteen_bits.notes_on_levels(values, grey, source)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and (values == transparent).any():
        grey[values == transparent] = BACKGROUND[0]
        if notes is not None:
            notes.append(_note_on_transparency(source))
    return np.repeat(grey[..., None], 3, axis=-1)


def _notes_on_deep_colours(image: Image.Image, data: bytes, source: Source) -> list[DataError]:
    """Builds the warning about the levels of 16-bit colours, of which Pillow has the high bytes."""
    pixels = np.asarray(image.convert("RGB"))
    return sixteen_bits.notes_on_levels(sixteen_bits.read_colours(data), pixels, source)


def _grey_step(image: Image.Image, data: bytes) -> int:
    """Returns the factor by which Pillow scales 2-bit or 4-bit grey; masks need it undone."""
    if image.format == "PNG" and data[25] == GREY:
        return {2: 85, 4: 17}.get(data[24], 1)
    return 1


def _correct_colour_key(image: Image.Image, data: bytes) -> None:
    """Corrects the transparent level or colour of a PNG of at most 8 bits.

    It has 16 bits in the file, of which a decoder must ignore those that the pixels lack, and
    Pillow scales 2-bit and 4-bit grey without it.
    """
    if image.format != "PNG" or data[25] not in (GREY, COLOURS) or image.mode == "1":
        return
    key, largest = image.info["transparency"], 2 ** data[24] - 1
    if data[25] == GREY:
        image.info["transparency"] = (key & largest) * _grey_step(image, data)
    else:
        image.info["transparency"] = tuple(level & largest for level in key)


def _exif(image: Image.Image) -> bytes:
    """Returns the EXIF data of an opened image; empty if it has none."""
    exif = image.info.get("exif", b"")
    return exif if isinstance(exif, bytes) else b""


def _note_on_orientation(source: Source, turn: int) -> DataError:
    return DataError(
        f"{source}: turned upright, as its EXIF orientation {turn} says.",
        kind=TURNED,
        file=source,
        value=turn,
    )


def _note_on_transparency(source: Source) -> DataError:
    return DataError(
        f"{source}: its transparent pixels are composited on white.",
        kind="transparency",
        file=source,
    )
