"""Client for TensorFlow Serving, over REST or gRPC, without TensorFlow.

The client sends image files unchanged, so the server decodes the same bytes as training did. It
calls the signature `encoded` of `fcn_keras.export`: encoded images in, PNGs of class ids out.
"""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np
from PIL import Image

from fcn_keras.errors import ConfigError, ServingError
from fcn_keras.serving.messages import (
    ENCODED,
    IMAGE_BYTES,
    MASK_BYTES,
    message_class,
    predict_request,
)

# How a refusal in the graph appears inside TensorFlow's longer message.
REFUSAL = re.compile(r"assertion failed: \[" + re.escape(f"{IMAGE_BYTES}[0]: ") + r"(.*?)\]")
LARGEST_MESSAGE = 1 << 30  # Bytes; gRPC's default is 4 MiB.


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
            `grpc://host:8500/street`. https works too.
        image: The path of a JPEG or PNG file, its bytes, or an RGB array uint8 `[h, w, 3]`, which
            is sent as a PNG.
        model: The model's name, if the URL leaves it out: `http://host:8501`, `grpc://host:8500`.
        timeout: Seconds to wait for the reply.

    Returns:
        Class ids `[h, w]`, uint8; uint16 above 255 classes.

    Raises:
        ConfigError: The URL or the image has none of these forms.
        ServingError: The server cannot be reached, refuses the request (its message is quoted), or
            replies without a mask.
    """
    senders = {"http": _over_rest, "https": _over_rest, "grpc": _over_grpc}
    parts = _split(url)
    if parts is None or parts.scheme not in senders:
        raise ConfigError(
            f"url={url!r}: must look like http://host:8501/v1/models/street or "
            "grpc://host:8500/street."
        )
    path = parts.path.strip("/")
    if not path:
        if not model:
            raise ConfigError(f"url={url!r}: has no model name. Add it to the URL, or pass model=.")
        path = model if parts.scheme == "grpc" else f"v1/models/{model}"
    answer = senders[parts.scheme]
    try:
        return _as_mask(url, answer(url, parts, path, _as_bytes(image), timeout))
    except ServingError as error:
        refused = REFUSAL.search(str(error))
        if refused is None:
            raise
        name = image if isinstance(image, str | Path) else "image"
        raise ServingError(f"{url}: refused {name}: {refused[1]}") from None


def _split(url: str) -> SplitResult | None:
    """Splits a URL; returns None if it is invalid."""
    try:
        parts = urlsplit(str(url))
        valid = parts.port != 0 and parts.hostname and not any(map(str.isspace, parts.netloc))
    except ValueError:  # A port that is not a number up to 65535, or a broken IPv6 address.
        return None
    return parts if valid else None


def _as_bytes(image: str | Path | bytes | bytearray | memoryview | np.ndarray) -> bytes:
    """Returns the bytes to send: a file's own, or an array as a PNG."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | Path):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise ConfigError(f"image={str(image)!r}: cannot be read ({error.strerror}).") from None
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


def _as_mask(url: str, png: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            mask = np.array(picture)
    except Exception as error:  # Pillow raises many kinds of errors for broken files.
        raise ServingError(
            f"{url}: the reply's `{MASK_BYTES}` is not a PNG ({_one_line(error)}). Check that "
            "fcn_keras exported the model."
        ) from None
    if mask.ndim != 2 or mask.dtype.kind not in "ui":
        raise ServingError(
            f"{url}: the reply's `{MASK_BYTES}` must be class ids [height, width], found a picture "
            f"{list(mask.shape)} of {mask.dtype}. Check that fcn_keras exported the model."
        )
    return mask if mask.dtype == np.uint8 else mask.astype(np.uint16)


def _over_rest(url: str, parts: SplitResult, path: str, image: bytes, timeout: float) -> bytes:
    try:
        import requests
    except ModuleNotFoundError:
        raise ServingError(f"{url}: REST needs requests: pip install requests") from None
    address = f"{parts.scheme}://{parts.netloc}/{path.removesuffix(':predict')}:predict"
    instance = {IMAGE_BYTES: {"b64": base64.b64encode(image).decode()}}
    body: dict[str, Any] = {"signature_name": ENCODED, "instances": [instance]}
    try:
        reply = requests.post(address, json=body, timeout=timeout)
    except requests.ReadTimeout:
        raise _timed_out(url, timeout) from None
    except requests.RequestException as error:
        reason = getattr(error.args[0] if error.args else error, "reason", error)
        raise _unreachable(url, reason) from None
    try:
        answer = reply.json()
    except ValueError:
        answer = reply.text
    if reply.status_code != 200:
        said = answer.get("error", answer) if isinstance(answer, dict) else answer
        raise ServingError(f"{url}: HTTP {reply.status_code}: {_one_line(said) or reply.reason}")
    try:
        (prediction,) = answer["predictions"]
        # A single output comes without its name, several outputs come by name.
        prediction = prediction.get(MASK_BYTES, prediction)
        return base64.b64decode(prediction["b64"], validate=True)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _missing_mask(url, answer) from None


def _over_grpc(url: str, parts: SplitResult, path: str, image: bytes, timeout: float) -> bytes:
    name, _, version = path.removeprefix("v1/models/").partition("/versions/")
    if version and not version.isdecimal():
        raise ConfigError(f"url={url!r}: the version must be a number.")
    number = int(version) if version else None
    try:
        import grpc

        request = predict_request(name, [image], number)
        response_class = message_class("Response")
    except ImportError:
        raise ServingError(f"{url}: gRPC needs two packages: pip install grpcio protobuf") from None
    request.output_filter.append(MASK_BYTES)
    limits = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
    with grpc.insecure_channel(parts.netloc, [(name, LARGEST_MESSAGE) for name in limits]) as to:
        predict = to.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_class.FromString,
        )
        try:
            reply = predict(request, timeout=timeout)
        except grpc.RpcError as error:
            code, said = error.code(), error.details()
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise _timed_out(url, timeout) from None
            if code == grpc.StatusCode.UNAVAILABLE:
                raise _unreachable(url, said) from None
            raise ServingError(f"{url}: {code.name}: {_one_line(said)}") from None
    found = MASK_BYTES in reply.outputs
    strings: Sequence[bytes] = reply.outputs[MASK_BYTES].string_val if found else ()
    if len(strings) != 1:
        raise _missing_mask(url, sorted(reply.outputs))
    return strings[0]


def _unreachable(url: str, reason: object) -> ServingError:
    return ServingError(
        f"{url}: no answer ({_one_line(reason)}). Check that the server is running there and that "
        "the port is right (REST 8501, gRPC 8500)."
    )


def _timed_out(url: str, timeout: float) -> ServingError:
    return ServingError(f"{url}: no answer within {timeout} s. Pass a longer timeout=.")


def _missing_mask(url: str, answer: object) -> ServingError:
    return ServingError(
        f"{url}: the reply has no `{MASK_BYTES}`: {_one_line(answer)}. Check that fcn_keras "
        "exported the model."
    )


def _one_line(text: object, longest: int = 500) -> str:
    """Joins a server's message, which may have many lines, into one line."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[:longest]} ..."
