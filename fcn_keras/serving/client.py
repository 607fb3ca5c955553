"""Client for TensorFlow Serving, over REST or gRPC, without TensorFlow.

The client sends image files unchanged, so the server decodes the same bytes as training did. It
calls the signature `encoded` of `fcn_keras.export`: encoded images in, PNGs of class ids out.
"""

import io
import numbers
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import numpy as np
from PIL import Image

from fcn_keras.errors import ConfigError, ServingError
from fcn_keras.serving.formats import LARGEST_MAX_PIXELS
from fcn_keras.serving.messages import IMAGE_BYTES, MASK_BYTES
from fcn_keras.serving.senders import Call, one_line, over_grpc, over_rest
from pipelines.errors import DataError
from pipelines.files import damage
from pipelines.files.images import read_size
from pipelines.files.opening import open_image, read_content

# How a refusal in the graph appears inside TensorFlow's longer message.
REFUSAL = re.compile(r"assertion failed: \[" + re.escape(f"{IMAGE_BYTES}[0]: ") + r"(.*?)\]")
LONGEST_TIMEOUT = 86_400  # Seconds: a day.
SMALL_ANSWER = 1 << 20  # Bytes: an error's text, or what comes with a mask.
MASK_MODES = ("L", "I;16", "I")  # Pillow's names for a PNG of one channel, 8 or 16 bits.


def segment(
    url: str,
    image: str | Path | bytes | bytearray | memoryview | np.ndarray,
    *,
    model: str | None = None,
    timeout: float = 60,
) -> np.ndarray:
    """Segments an image on a server and returns the class of every pixel.

    Args:
        url: `http://host:8501/v1/models/street` for REST, with `/versions/3` for one version, or
            `grpc://host:8500/street`. https works too. Redirects are not followed.
        image: The path of a JPEG or PNG file, its bytes, or an RGB array uint8 `[h, w, 3]`, which
            is sent as a PNG.
        model: The model's name, if the URL leaves it out: `http://host:8501`, `grpc://host:8500`.
        timeout: Seconds for the whole call, until the last byte of the reply.

    Returns:
        Class ids `[h, w]`, uint8; uint16 above 255 classes. `h` and `w` are those of the image,
        upright as its EXIF orientation says.

    Raises:
        ConfigError: The URL, the image, the model's name or the timeout has none of these forms.
        ServingError: The server cannot be reached, refuses the request (its message is quoted), or
            replies without a mask of the image's size.
    """
    parts, path = _address(url, model)
    is_number = isinstance(timeout, numbers.Real) and not isinstance(timeout, bool)
    if not is_number or not 0 < timeout <= LONGEST_TIMEOUT:
        raise ConfigError(
            f"timeout={timeout!r}: must be a number of seconds, above 0 and at most "
            f"{LONGEST_TIMEOUT}."
        )
    content = _as_bytes(image)
    try:
        size = read_size(_Content("the image", content), max_pixels=LARGEST_MAX_PIXELS)
        unreadable = None
    except DataError as error:  # The server says what is wrong with it.
        size, unreadable = (0, 0), error
    # Noise takes a little more than its 16 bits per pixel, and base64 a third more.
    most_bytes = SMALL_ANSWER + 3 * size[0] * size[1] + 2 * size[0]
    call = Call(url, parts, path, float(timeout), most_bytes)
    try:
        png = (over_grpc if parts.scheme == "grpc" else over_rest)(call, content)
        if unreadable:
            raise ServingError(
                f"{url}: the reply's size cannot be compared with the image's: {unreadable}"
            )
        return _as_mask(url, png, size)
    except ServingError as error:
        refused = REFUSAL.search(str(error))
        if refused is None:
            raise
        name = image if isinstance(image, str | Path) else "image"
        raise ServingError(f"{url}: refused {name}: {refused[1]}") from None


def _address(url: str, model: str | None) -> tuple[SplitResult, str]:
    """Splits a URL, and returns it with the model's path on the server."""
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https", "grpc"):
        raise ConfigError(
            f"url={url!r}: must look like http://host:8501/v1/models/street or "
            "grpc://host:8500/street."
        )
    if model is not None and not _is_name(model):
        raise ConfigError(
            f"model={model!r}: must be the name of a model, without spaces, slashes and colons."
        )
    path = parts.path.strip("/")
    if path:
        return parts, path
    if model is None:
        raise ConfigError(f"url={url!r}: has no model name. Add it to the URL, or pass model=.")
    return parts, model if parts.scheme == "grpc" else f"v1/models/{model}"


def _split(url: object) -> SplitResult | None:
    """Splits a URL; returns None if it is invalid."""
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        valid = parts.port != 0 and parts.hostname and parts.hostname.encode("idna")
    except ValueError:  # A port that is not a number up to 65535, or a host that cannot exist.
        return None
    return parts if valid and not parts.query and not parts.fragment else None


def _is_name(text: object) -> bool:
    return (
        isinstance(text, str) and text.isprintable() and bool(text) and not set(text) & set(" /:")
    )


class _Content(NamedTuple):
    """A file in memory, as `pipelines` takes it."""

    name: str
    content: bytes

    def read_bytes(self) -> bytes:
        return self.content

    def __str__(self) -> str:
        return self.name


def _as_bytes(image: str | Path | bytes | bytearray | memoryview | np.ndarray) -> bytes:
    """Returns the bytes to send: a file's own, or an array as a PNG."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | Path):
        try:
            return read_content(image)
        except DataError as error:
            reason = str(error).removeprefix(f"{Path(image)}: ")
            raise ConfigError(f"image={str(image)!r}: cannot be read: {reason}") from None
    kind = getattr(image, "dtype", None)
    shape: tuple[int, ...] = getattr(image, "shape", ())
    if kind != np.uint8 or len(shape) != 3 or shape[-1] != 3 or 0 in shape:
        found = f"{kind} {list(shape)}" if shape else type(image).__name__
        raise ConfigError(
            f"image: must be a path, bytes, or an array uint8 [height, width, 3], found {found}."
        )
    png = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(png, "png", compress_level=1)
    return png.getvalue()


def _as_mask(url: str, png: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes a mask of the image's size: `[h, w]`."""
    advice = "Check that fcn_keras exported the model."
    try:
        picture, png = open_image(_Content("it", png), "mask", LARGEST_MAX_PIXELS)
    except DataError as error:
        raise _not_a_png(url, error) from None
    if picture.format != "PNG":
        raise _not_a_png(url, f"it is a {picture.format}")
    if picture.size != size[::-1]:
        raise ServingError(
            f"{url}: the reply's mask has {picture.height} x {picture.width} pixels (height x "
            f"width), but the image {size[0]} x {size[1]}. {advice}"
        )
    if picture.mode not in MASK_MODES:
        raise ServingError(
            f"{url}: the reply's `{MASK_BYTES}` must be class ids [height, width], found a PNG of "
            f"the mode {picture.mode}. {advice}"
        )
    try:
        damage.check_rows(png)
        mask = np.array(picture)
    except Exception as error:  # Pillow raises many kinds of errors for broken files.
        raise _not_a_png(url, error) from None
    return mask if mask.dtype == np.uint8 else mask.astype(np.uint16)


def _not_a_png(url: str, reason: object) -> ServingError:
    return ServingError(
        f"{url}: the reply's `{MASK_BYTES}` is not a PNG ({one_line(reason)}). Check that "
        "fcn_keras exported the model."
    )
