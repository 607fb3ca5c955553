"""One reader for images and masks. Images are RGB uint8 [h, w, 3]; masks hold what the file holds.

TensorFlow turns palette indices into grey levels, wraps 16-bit labels and has no limit on size, so
Pillow reads; libjpeg-turbo (simplejpeg) reads JPEGs, since it tells of damage that it has passed
over, which Pillow does not. Headers are checked before anything is decoded (`opening`).

Nothing is resized or turned: image and mask keep the grid of pixels that is stored. An orientation
in EXIF does not count. Where it would matter the user is told.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from pipelines.errors import DataError
from pipelines.files import damage
from pipelines.files.opening import MAX_PIXELS, Source, damaged, open_image

JPEGS = ("JPEG", "MPO")  # MPO: a JPEG with another behind it.
BACKGROUND = (255, 255, 255)  # What transparent pixels are laid on.


def read_image(
    source: Source | np.ndarray,
    notes: list[DataError] | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Reads an image as RGB.

    Grey images get three equal channels, 16 bits are scaled to 8, transparent pixels are laid on
    white, CMYK is converted as Pillow does it.

    Args:
        source: the path of a BMP, GIF, JPEG, PNG or WebP file, an array that is returned as it is,
            or an object with `read_bytes()`.
        notes: a list that gets a `DataError` for each thing that is worth a warning.
        max_pixels: a larger image is refused; raise it where the memory is there for it.

    Returns:
        uint8 `[h, w, 3]`.

    Raises:
        DataError: the file is missing, not an image, damaged, animated or far too large.
    """
    if isinstance(source, np.ndarray):
        return source
    image, data = open_image(source, "image", max_pixels)
    notes = [] if notes is None else notes
    if _orientation(image) is not None:
        notes.append(_note_on_orientation(image, source))
    if image.format in JPEGS:
        pixels = _jpeg(image, data, source, notes)
        if image.mode != "CMYK" and pixels is not None:
            return pixels
        del pixels  # libjpeg-turbo looks for damage, Pillow knows how Adobe stores the colours.
    _load(image, data, source)
    if image.mode.startswith(("I", "F")):
        return _grey_16_bit(image, source, notes)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    if image.mode == "L" and _grey_step(image, data) > 1:  # Pillow scales the grey, but not this.
        image.info["transparency"] *= _grey_step(image, data)
    layer = image.convert("RGBA")
    alpha = layer.getchannel("A")
    if alpha.getextrema() != (255, 255):
        notes.append(_note_on_transparency(source))
    image = Image.new("RGB", layer.size, BACKGROUND)
    image.paste(layer, mask=alpha)
    return np.asarray(image)


def read_mask(source: Source | np.ndarray) -> np.ndarray:
    """Reads a mask's values as they are in the file; palette files give their indices.

    Args:
        source: the path of a PNG, BMP, GIF or lossless WebP, an array that is returned as it is, or
            an object with `read_bytes()`.

    Returns:
        Integers `[h, w]`; or, where the file stores colours, uint8 `[h, w, 3]`, also if all are
        grey; or bool `[h, w]` where it is of one bit, black and white.

    Raises:
        DataError: the file is missing, damaged, lossy (JPEG), transparent, or has colours of 16
            bits.
    """
    if isinstance(source, np.ndarray):
        return source
    image, data = open_image(source, "mask")
    if image.format in JPEGS or (image.format == "WEBP" and damage.is_lossy_webp(data)):
        raise DataError(
            f"{source}: the mask is a {'JPEG' if image.format != 'WEBP' else 'lossy WebP'}, which "
            "changes values, so that class ids are lost. Export the masks as PNG.",
            kind="lossy mask",
            file=source,
        )
    if image.format == "PNG" and data[24] == 16 and image.mode in ("LA", "RGB", "RGBA"):
        raise DataError(
            f"{source}: the mask has several channels of 16 bits, of which but 8 would be read. "
            "Save it with one channel, or with 8 bits.",
            kind="format",
            file=source,
        )
    _load(image, data, source)
    if image.mode in ("LA", "RGBA", "PA") and image.getchannel("A").getextrema() != (255, 255):
        raise DataError(
            f"{source}: the mask is transparent in places, so that its values are in doubt. Save "
            "it without an alpha channel.",
            kind="transparent mask",
            file=source,
        )
    if image.mode == "1":
        return np.asarray(image)
    if image.mode == "P" or image.mode.startswith("I"):
        return np.asarray(image)
    if image.mode in ("L", "LA", "PA"):
        return np.asarray(image.getchannel(0)) // _grey_step(image, data)
    return np.asarray(image.convert("RGB"))


def read_size(source: Source | np.ndarray) -> tuple[int, int]:
    """Height and width of an image, from its header.

    Raises:
        DataError: as in `read_image`, except for what only decoding shows.
    """
    if isinstance(source, np.ndarray):
        return source.shape[:2]
    return open_image(source, "image")[0].size[::-1]


def read_orientation(source: Source | np.ndarray) -> int | None:
    """EXIF's orientation of an image, 2..8 where viewers turn or mirror it; otherwise None."""
    if isinstance(source, np.ndarray):
        return None
    return _orientation(open_image(source, "image")[0])


def _load(image: Image.Image, data: bytes, source: Source) -> None:
    """Decodes a Pillow image."""
    try:
        image.load()
        if image.mode == "P" and image.palette is None:
            raise ValueError("its palette is missing")
        last_row = image.crop((0, image.height - 1, *image.size))
        if image.format == "PNG" and not np.asarray(last_row).any():
            damage.check_rows(data)  # Rows that are missing are left at zero.
    except Exception as error:  # Decoders raise OSError, SyntaxError, struct.error and others.
        raise damaged(source, error) from None


def _jpeg(
    image: Image.Image, data: bytes, source: Source, notes: list[DataError]
) -> np.ndarray | None:
    """The pixels of a JPEG, None if only Pillow can tell; damage that is passed over is noted."""
    try:
        colours: Literal["RGB", "CMYK"] = "CMYK" if image.mode == "CMYK" else "RGB"
        pixels, passed_over = damage.decode_jpeg(data, colours)
    except Exception as error:
        if "Could not determine subsampling" in str(error):
            return None  # A rare one, which libjpeg reads and TurboJPEG has no name for.
        raise damaged(source, error) from None
    if passed_over:
        notes.append(
            DataError(
                f"{source}: the JPEG is damaged but decodes ({passed_over}). Look at the picture, "
                "and replace the file if it is wrong.",
                kind="damaged JPEG",
                file=source,
            )
        )
    return pixels


def _grey_16_bit(image: Image.Image, source: Source, notes: list[DataError]) -> np.ndarray:
    """16-bit grey levels 0..65535 as RGB 0..255."""
    values = np.asarray(image)
    low, high = values.min(initial=0), values.max(initial=0)
    if values.dtype.kind == "f" or low < 0 or high > 65535:
        raise DataError(
            f"{source}: values {low}..{high}; only 8 and 16-bit images are read.",
            kind="format",
            file=source,
        )
    grey = np.round(values / 257).astype("uint8")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and (values == transparent).any():
        grey[values == transparent] = BACKGROUND[0]
        notes.append(_note_on_transparency(source))
    return np.repeat(grey[..., None], 3, axis=-1)


def _grey_step(image: Image.Image, data: bytes) -> int:
    """Grey of 2 or 4 bits is scaled to 0..255 on reading; a mask means the numbers before."""
    if image.format == "PNG" and data[25] == 0:  # Colour type: grey.
        return {2: 85, 4: 17}.get(data[24], 1)
    return 1


def _orientation(image: Image.Image) -> int | None:
    """EXIF's orientation if it turns or mirrors, 2..8; otherwise None."""
    if "exif" not in image.info:
        return None
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # EXIF of any maker; what cannot be read does not count.
        return None
    return orientation if orientation in range(2, 9) else None


def _note_on_orientation(image: Image.Image, source: Source) -> DataError:
    return DataError(
        f"{source}: EXIF orientation {_orientation(image)} is not applied; the image is read as it "
        "is stored, and so must its mask be.",
        kind="EXIF orientation",
        file=source,
        value=_orientation(image),
    )


def _note_on_transparency(source: Source) -> DataError:
    return DataError(
        f"{source}: its transparent pixels are laid on white.", kind="transparency", file=source
    )
