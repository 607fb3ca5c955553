"""Asks a server for masks: TensorFlow Serving, over REST or gRPC, without TensorFlow.

An image file is sent as it is, so that the server decodes what training decoded. The signature is
`encoded` of `fcn_keras.export`: encoded images in, PNGs of class ids out.
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

# What TensorFlow makes of a refusal in the graph, in a longer message.
REFUSAL = re.compile(r"assertion failed: \[" + re.escape(f"{IMAGE_BYTES}[0]: ") + r"(.*?)\]")
LARGEST_MESSAGE = 1 << 30  # gRPC's own limit is 4 MiB; bytes.


def segment(
    url: str,
    image: str | Path | bytes | bytearray | memoryview | np.ndarray,
    *,
    model: str | None = None,
    timeout: float = 60,
) -> np.ndarray:
    """The class of every pixel, as the server tells it.

    Args:
        url: `http://host:8501/v1/models/street` for REST, with `/versions/3` for one version, or
            `grpc://host:8500/street`. An https URL is taken too.
        image: the path of a JPEG or PNG file, its bytes, or uint8 `[h, w, 3]`, RGB, which is sent
            as PNG.
        model: the model's name, if the URL leaves it out: `http://host:8501`, `grpc://host:8500`.
        timeout: seconds to wait for the answer.

    Returns:
        Class ids `[h, w]`, uint8; uint16 above 255 classes.

    Raises:
        ConfigError: the URL or the image is none of these.
        ServingError: no server, its refusal in its own words, or a reply that is no mask.
    """
    ways = {"http": _over_rest, "https": _over_rest, "grpc": _over_grpc}
    parts = _parts(url)
    if parts is None or parts.scheme not in ways:
        raise ConfigError(
            f"url={url!r}: must be like http://host:8501/v1/models/street or "
            "grpc://host:8500/street."
        )
    path = parts.path.strip("/")
    if not path:
        if not model:
            raise ConfigError(f"url={url!r}: names no model. Add it to the URL, or give model=.")
        path = model if parts.scheme == "grpc" else f"v1/models/{model}"
    answer = ways[parts.scheme]
    try:
        return _as_mask(url, answer(url, parts, path, _as_bytes(image), timeout))
    except ServingError as error:
        refused = REFUSAL.search(str(error))
        if refused is None:
            raise
        name = image if isinstance(image, str | Path) else "image"
        raise ServingError(f"{url}: refused {name}: {refused[1]}") from None


def _parts(url: str) -> SplitResult | None:
    """The parts of a URL; None if it is none."""
    try:
        parts = urlsplit(str(url))
        valid = parts.port != 0 and parts.hostname and not any(map(str.isspace, parts.netloc))
    except ValueError:  # A port that is no number up to 65535, half an IPv6 address.
        return None
    return parts if valid else None


def _as_bytes(image: str | Path | bytes | bytearray | memoryview | np.ndarray) -> bytes:
    """What is sent: a file's own bytes, or an array as PNG."""
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
    except Exception as error:  # Pillow raises whatever a broken file makes it raise.
        raise ServingError(
            f"{url}: `{MASK_BYTES}` of the reply is no PNG ({_line(error)}). Is it a model that "
            "fcn_keras exported?"
        ) from None
    if mask.ndim != 2 or mask.dtype.kind not in "ui":
        raise ServingError(
            f"{url}: `{MASK_BYTES}` of the reply is a picture {list(mask.shape)} of {mask.dtype}, "
            "not of class ids. Is it a model that fcn_keras exported?"
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
        raise _late(url, timeout) from None
    except requests.RequestException as error:
        reason = getattr(error.args[0] if error.args else error, "reason", error)
        raise _unreachable(url, reason) from None
    try:
        answer = reply.json()
    except ValueError:
        answer = reply.text
    if reply.status_code != 200:
        said = answer.get("error", answer) if isinstance(answer, dict) else answer
        raise ServingError(f"{url}: HTTP {reply.status_code}: {_line(said) or reply.reason}")
    try:
        (prediction,) = answer["predictions"]
        # One output is given by itself; of several each has its name.
        prediction = prediction.get(MASK_BYTES, prediction)
        return base64.b64decode(prediction["b64"], validate=True)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _no_mask(url, answer) from None


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
                raise _late(url, timeout) from None
            if code == grpc.StatusCode.UNAVAILABLE:
                raise _unreachable(url, said) from None
            raise ServingError(f"{url}: {code.name}: {_line(said)}") from None
    found = MASK_BYTES in reply.outputs
    strings: Sequence[bytes] = reply.outputs[MASK_BYTES].string_val if found else ()
    if len(strings) != 1:
        raise _no_mask(url, sorted(reply.outputs))
    return strings[0]


def _unreachable(url: str, reason: object) -> ServingError:
    return ServingError(
        f"{url}: no answer ({_line(reason)}). Is the server running there, and the port right "
        "(REST 8501, gRPC 8500)?"
    )


def _late(url: str, timeout: float) -> ServingError:
    return ServingError(f"{url}: no answer within {timeout} s. Give a longer timeout=.")


def _no_mask(url: str, answer: object) -> ServingError:
    return ServingError(
        f"{url}: the reply holds no `{MASK_BYTES}`: {_line(answer)}. Is it a model that fcn_keras "
        "exported?"
    )


def _line(text: object, longest: int = 500) -> str:
    """A server's message, which may be of many lines, as one."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[:longest]} ..."
