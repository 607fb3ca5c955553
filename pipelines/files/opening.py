"""Opens images: checks a file's type, and that it is intact and small enough to decode.

A file's type is determined by its content, not by its name.
"""

import contextlib
import io
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image, UnidentifiedImageError

from pipelines.errors import DataError, quoted
from pipelines.files import damage

# Pillow's other formats are not tried: some take minutes to reject a large file.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
STARTS = (b"BM", b"GIF8", damage.JPEG, damage.PNG)
OTHERS = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    **dict.fromkeys((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "JPEG 2000"),
    **dict.fromkeys((b"P5", b"P6"), "PPM"),
    b"8BPS": "PSD",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"v/1\x01": "OpenEXR",
}
MAX_PIXELS = 89_000_000
MAX_BYTES = 400_000_000
BYTES_PER_PIXEL = 4
SUSPICIOUS_PIXELS = 16_000_000  # Above, a file's bytes must be able to hold so many pixels.
DEFLATE = 1032  # Bytes that deflate can pack into one.
# Pixels per byte, at most. GIF: 3839 pixels have one code of 12 bits. JPEG: a block of 8 x 8 has at
# least one bit. WebP: flat areas take no bits.
DENSEST = {"BMP": 256, "GIF": 2560, "JPEG": 512, "MPO": 512, "WEBP": float("inf")}

_changing_limit = threading.Lock()

# Pillow warns about sizes, which are checked here, and about metadata that it cannot read.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class Encoded(Protocol):
    """An encoded file, stored anywhere; its `str()` names it in messages."""

    def read_bytes(self) -> bytes:
        """Returns the file's content."""


Source = str | Path | Encoded


def read_content(source: Source, max_bytes: int = MAX_BYTES) -> bytes:
    """Reads the bytes of a file or another source.

    Raises:
        DataError: The file is missing, too large, not a file, or not readable.
    """
    if not isinstance(source, Path | str):
        return source.read_bytes()
    path = Path(source)
    if "\0" in str(path):
        raise DataError(
            f"{path}: a file name must not contain a zero byte. Check the list that names it.",
            file=path,
        )
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise DataError(
                f"{path}: a folder, not a file. Give a file.", kind="not a file", file=path
            )
        if not stat.S_ISREG(status.st_mode):  # Reading a device or a pipe may never end.
            raise DataError(
                f"{path}: not a regular file. Replace it by one.", kind="not a file", file=path
            )
        if status.st_size > max_bytes:
            raise DataError(
                f"{path}: {status.st_size:,} bytes; at most {max_bytes:,} are read. Split it "
                "into parts.",
                kind="too large",
                file=path,
                value=status.st_size,
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file. Check the path.", kind="missing file", file=path
        ) from None
    except PermissionError:
        raise DataError(
            f"{path}: no permission to read it. Change its permissions.",
            kind="no permission",
            file=path,
        ) from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Check the disk, or copy it again.",
            kind="unreadable",
            file=path,
        ) from None


def open_image(
    source: Source, role: Literal["image", "mask"], max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, bytes]:
    """Opens a file for Pillow and checks the header; nothing is decoded.

    Args:
        source: A path, or an object with `read_bytes()`.
        role: "image" or "mask".
        max_pixels: Larger images are refused; the limit on the file's size grows with it. Images
            with more pixels than their bytes can hold are always refused.

    Returns:
        A Pillow image, and the file's bytes without those that do not affect the pixels.

    Raises:
        DataError: The file cannot be read, is not an image, damaged, animated or too large.
    """
    data = read_content(source, max(MAX_BYTES, BYTES_PER_PIXEL * max_pixels))
    try:
        if data.startswith(damage.PNG):
            data = damage.check_png(data)
        elif _is_webp(data):
            data = damage.check_webp(data)
        elif data.startswith((b"GIF8", damage.JPEG)) and data.endswith(b"\0\0"):
            # Pillow spends seconds on the zeros of a file that was not written completely.
            data = data.rstrip(b"\0") + b"\0"
        with _pillows_limit(max_pixels):
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise _not_an_image(data, source) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(source, f"more than {max_pixels:,} pixels") from None
    except Exception as error:
        raise damaged(source, error) from None
    pixels, size = image.width * image.height, f"{image.height} x {image.width} (height x width)"
    if pixels > max_pixels:
        raise _too_large(source, f"{size} is over {max_pixels:,} pixels")
    if pixels > SUSPICIOUS_PIXELS and pixels > _densest(image, data, role) * len(data):
        raise _too_large(source, f"{size} in {len(data):,} bytes cannot be a real image")
    try:
        animated = image.format != "MPO" and getattr(image, "is_animated", False)
    except Exception as error:
        raise damaged(source, error) from None
    if animated:
        raise DataError(
            f"{source}: an animation, not an image. Save the frame that you need as PNG.",
            kind="animation",
            file=source,
        )
    return image, data


def _densest(image: Image.Image, data: bytes, role: Literal["image", "mask"]) -> float:
    """Returns how many pixels one byte of a file may hold; even flat areas reach no more.

    Only masks may have fewer than 8 bits per pixel: an image of two colours is rather a bomb.
    """
    if image.format != "PNG":
        return DENSEST[str(image.format)]
    bits = data[24] * damage.CHANNELS[data[25]]
    return DEFLATE * 8 / (bits if role == "mask" else max(8, bits))


@contextlib.contextmanager
def _pillows_limit(max_pixels: int) -> Iterator[None]:
    """Raises Pillow's size limit, which all threads share, so they take turns.

    Another thread may meanwhile see the higher limit; what it opens is still checked here.
    """
    if max_pixels <= MAX_PIXELS:
        yield
        return
    with _changing_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def damaged(source: Source, reason: str | Exception) -> DataError:
    """Builds the error for a file that cannot be decoded."""
    return DataError(
        f"{source}: damaged or unreadable ({' '.join(str(reason).split())}). Replace the file.",
        kind="damaged file",
        file=source,
    )


def _too_large(source: Source, reason: str) -> DataError:
    return DataError(
        f"{source}: too large: {reason}. Split it into parts, or replace the file.",
        kind="too large",
        file=source,
    )


def _is_webp(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def _not_an_image(data: bytes, source: Source) -> DataError:
    """Builds the error for a file that is not a supported image, with the fix."""
    name = Path(str(source)).name
    other = next((OTHERS[start] for start in OTHERS if data.startswith(start)), None)
    if data[4:12] == b"ftypavif":
        other = "AVIF"
    if other:
        return DataError(
            f"{source}: {other} files are unsupported. Convert it to PNG, for example with "
            f"ImageMagick: magick {quoted(name)} {quoted(f'{Path(name).stem}.png')}",
            kind="format",
            file=source,
            value=other,
        )
    if data.startswith(STARTS) or _is_webp(data):
        return damaged(source, "its header is not valid")
    start, kind = data[:12], "not an image"
    if not data:
        reason, kind = "the file is empty. Replace it", "empty file"
    elif data[4:8] == b"ftyp":
        reason = (
            "it is HEIC, or a video. Convert a HEIC to PNG, for example with libheif: "
            f"heif-convert {quoted(name)} {quoted(f'{Path(name).stem}.png')}"
        )
    elif data.startswith(b"version https://git-lfs"):
        reason = "it is a Git LFS pointer. Fetch the files: git lfs pull"
    elif start.isascii():
        reason = f"it starts with {start.decode()!r}. Replace the file"
    else:
        reason = f"it starts with the bytes {data[:8].hex(' ')}. Replace the file"
    return DataError(f"{source}: not an image; {reason}.", kind=kind, file=source)
