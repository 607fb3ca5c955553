"""One reader for images and masks. Images are RGB uint8 [h, w, 3]; masks are uint8 [h, w].

Files are taken for what they contain, not for what they are called. Pillow does the decoding:
TensorFlow turns palette indices into grey levels and ignores EXIF orientation without a word.
Nothing is resized or turned: image and mask keep the size they are stored with.
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipelines.errors import DataError

FORMATS = ("BMP", "JPEG", "PNG", "WEBP")
MAX_PIXELS = 500_000_000
BACKGROUND = (255, 255, 255)  # What transparent pixels are laid on.


def read_image(source):
    """Reads an image as RGB.

    Grey images get three equal channels, 16 bits are scaled to 8, transparent pixels are laid on
    white, CMYK is converted as Pillow does it.

    Args:
        source: the path of a BMP, JPEG, PNG or WebP file, or an array that is returned as it is.

    Returns:
        uint8 `[h, w, 3]`.

    Raises:
        DataError: the file is missing, not an image, damaged, animated or far too large.
    """
    if isinstance(source, np.ndarray):
        return source
    image = _decoded(source)
    if image.mode.startswith(("I", "F")):
        return np.repeat(_to_8_bit(np.asarray(image), source)[..., None], 3, axis=-1)
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        background = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(background, layer)
    return np.asarray(image.convert("RGB"))


def read_mask(source):
    """Reads a mask's values as they are in the file; palette files give their indices.

    Args:
        source: the path of a single-channel or palette PNG, BMP or WebP, or an array that is
            returned as it is.

    Returns:
        uint8 `[h, w]`.

    Raises:
        DataError: the file is missing, damaged, lossy (JPEG), has colours instead of class ids, or
            values above 255.
    """
    if isinstance(source, np.ndarray):
        return source
    image = _decoded(source)
    if image.format == "JPEG":
        raise DataError(
            f"{source}: the mask is a JPEG, which changes values, so that class ids are lost. "
            "Export the masks as PNG."
        )
    if image.mode not in ("1", "L", "P", "I", "I;16"):
        raise DataError(
            f"{source}: the mask has colours (mode {image.mode}), not class ids. Save it as a "
            "single-channel or palette PNG whose values are class ids."
        )
    mask = np.asarray(image)
    if mask.max(initial=0) > 255 or mask.min(initial=0) < 0:
        raise DataError(f"{source}: the mask has the value {mask.max()}; class ids end at 255.")
    return mask.astype("uint8")


def _decoded(path):
    """A Pillow image in memory, with every fault turned into a `DataError`."""
    path = Path(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Pillow warns from 89 million pixels on; MAX_PIXELS is the limit here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file)
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if image.format not in FORMATS:
                raise DataError(
                    f"{path}: {image.format} files are not read. Convert it to PNG, for example "
                    f"with ImageMagick: convert {path.name} {path.stem}.png"
                )
            if getattr(image, "is_animated", False):
                raise DataError(f"{path}: an animation of {image.n_frames} frames, not an image.")
            image.load()
            return image
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it. Change that.") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder, not an image.") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: more than {MAX_PIXELS:,} pixels. Cut it into parts.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image; {_beginning(path)}.") from None
    except Exception as error:  # Decoders raise OSError, SyntaxError, struct.error and others.
        raise DataError(f"{path}: damaged or unreadable ({error}). Replace the file.") from None


def _to_8_bit(values, path):
    """16-bit grey levels 0..65535 to 0..255."""
    if values.dtype.kind == "f" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise DataError(
            f"{path}: values {values.min()}..{values.max()}; only 8 and 16-bit images are read."
        )
    return np.round(values / 257).astype("uint8")


def _beginning(path):
    with path.open("rb") as file:
        start = file.read(12)
    return f"it starts with {start.decode('ascii', 'replace')!r}" if start else "the file is empty"
