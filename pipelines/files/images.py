"""Reads images as RGB uint8 [h, w, 3], and masks with the values that the file stores.

Files are read with Pillow, because TensorFlow turns palette indices into grey levels, wraps 16-bit
labels and has no size limit. JPEGs are read with libjpeg-turbo (simplejpeg), because it reports
damage that it ignores, which Pillow does not. Headers are checked before anything is decoded
(`opening`).

Nothing is resized or rotated: image and mask keep the stored pixel grid. EXIF orientation is
ignored, with a warning where it would matter.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from pipelines.errors import DataError
from pipelines.files import damage
from pipelines.files.opening import MAX_PIXELS, Source, damaged, open_image

JPEGS = ("JPEG", "MPO")  # MPO: a JPEG followed by another.
BACKGROUND = (255, 255, 255)  # For transparent pixels.


def read_image(
    source: Source | np.ndarray,
    notes: list[DataError] | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Reads an image as RGB.

    Grey images get three equal channels, 16 bits are scaled to 8, transparent pixels are composited
    on white, and CMYK is converted as in Pillow.

    Args:
        source: The path of a BMP, GIF, JPEG, PNG or WebP file, an array (returned as it is), or an
            object with `read_bytes()`.
        notes: A list to which a `DataError` is added for each warning.
        max_pixels: Larger images are refused; raise it if there is enough memory.

    Returns:
        uint8 `[h, w, 3]`.

    Raises:
        DataError: The file is missing, not an image, damaged, animated or too large.
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
        del pixels  # libjpeg-turbo only checks for damage; Pillow knows Adobe's colours.
    _load(image, data, source)
    if image.mode.startswith(("I", "F")):
        return _grey_16_bit(image, source, notes)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    if image.mode == "L" and _grey_step(image, data) > 1:  # Pillow scales only the grey.
        image.info["transparency"] *= _grey_step(image, data)
    layer = image.convert("RGBA")
    alpha = layer.getchannel("A")
    if alpha.getextrema() != (255, 255):
        notes.append(_note_on_transparency(source))
    image = Image.new("RGB", layer.size, BACKGROUND)
    image.paste(layer, mask=alpha)
    return np.asarray(image)


def read_mask(source: Source | np.ndarray) -> np.ndarray:
    """Reads a mask's values as stored in the file; palette files give their indices.

    Args:
        source: The path of a PNG, BMP, GIF or lossless WebP file, an array (returned as it is), or
            an object with `read_bytes()`.

    Returns:
        Integers `[h, w]`; uint8 `[h, w, 3]` if the file stores colours, even if all are grey; or
        bool `[h, w]` if it is a 1-bit black-and-white file.

    Raises:
        DataError: The file is missing, damaged, lossy (JPEG), transparent, or has 16-bit colours.
    """
    if isinstance(source, np.ndarray):
        return source
    image, data = open_image(source, "mask")
    if image.format in JPEGS or (image.format == "WEBP" and damage.is_lossy_webp(data)):
        raise DataError(
            f"{source}: the mask is a {'JPEG' if image.format != 'WEBP' else 'lossy WebP'}, which "
            "changes values and so destroys class ids. Export the masks as PNG.",
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
    if image.mode == "1":
        return np.asarray(image)
    if image.mode == "P" or image.mode.startswith("I"):
        return np.asarray(image)
    if image.mode in ("L", "LA", "PA"):
        return np.asarray(image.getchannel(0)) // _grey_step(image, data)
    return np.asarray(image.convert("RGB"))


def read_size(source: Source | np.ndarray) -> tuple[int, int]:
    """Reads the height and width of an image from its header.

    Raises:
        DataError: As in `read_image`, except for damage that only decoding shows.
    """
    if isinstance(source, np.ndarray):
        return source.shape[:2]
    return open_image(source, "image")[0].size[::-1]


def read_orientation(source: Source | np.ndarray) -> int | None:
    """Reads an image's EXIF orientation: 2..8 if viewers rotate or mirror it, otherwise None."""
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
            damage.check_rows(data)  # Missing rows are left at zero.
    except Exception as error:  # Decoders raise OSError, SyntaxError, struct.error and others.
        raise damaged(source, error) from None


def _jpeg(
    image: Image.Image, data: bytes, source: Source, notes: list[DataError]
) -> np.ndarray | None:
    """Decodes a JPEG and notes ignored damage; returns None if only Pillow can decode it."""
    try:
        colours: Literal["RGB", "CMYK"] = "CMYK" if image.mode == "CMYK" else "RGB"
        pixels, ignored = damage.decode_jpeg(data, colours)
    except Exception as error:
        if "Could not determine subsampling" in str(error):
            return None  # A rare subsampling, which libjpeg reads and TurboJPEG has no name for.
        raise damaged(source, error) from None
    if ignored:
        notes.append(
            DataError(
                f"{source}: the JPEG is damaged but decodes ({ignored}). Check the image, and "
                "replace the file if it is wrong.",
                kind="damaged JPEG",
                file=source,
            )
        )
    return pixels


def _grey_16_bit(image: Image.Image, source: Source, notes: list[DataError]) -> np.ndarray:
    """Converts 16-bit grey levels 0..65535 to RGB 0..255."""
    values = np.asarray(image)
    low, high = values.min(initial=0), values.max(initial=0)
    if values.dtype.kind == "f" or low < 0 or high > 65535:
        raise DataError(
            f"{source}: values {low}..{high}; only 8-bit and 16-bit images are supported.",
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
    """Returns the factor by which Pillow scales 2-bit or 4-bit grey; masks need it undone."""
    if image.format == "PNG" and data[25] == 0:  # Colour type: grey.
        return {2: 85, 4: 17}.get(data[24], 1)
    return 1


def _orientation(image: Image.Image) -> int | None:
    """Returns the EXIF orientation if it rotates or mirrors (2..8), otherwise None."""
    if "exif" not in image.info:
        return None
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # EXIF varies by maker; unreadable EXIF is ignored.
        return None
    return orientation if orientation in range(2, 9) else None


def _note_on_orientation(image: Image.Image, source: Source) -> DataError:
    return DataError(
        f"{source}: EXIF orientation {_orientation(image)} is ignored: the image is read as it is "
        "stored, and the mask must match it.",
        kind="EXIF orientation",
        file=source,
        value=_orientation(image),
    )


def _note_on_transparency(source: Source) -> DataError:
    return DataError(
        f"{source}: its transparent pixels are composited on white.",
        kind="transparency",
        file=source,
    )
