"""Sends one image to a server, over REST or gRPC, and returns the mask's bytes.

A server is not trusted: it may answer a byte at a time, without end, compressed, or with a
redirect to another server. So a call has a deadline as a whole and a limit on the answer's bytes,
and follows no redirects.
"""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import SplitResult

from fcn_keras.errors import ConfigError, ServingError
from fcn_keras.serving.messages import (
    ENCODED,
    IMAGE_BYTES,
    MASK_BYTES,
    message_class,
    predict_request,
)

LARGEST_MESSAGE = 1 << 30  # Bytes; gRPC's default is 4 MiB.
LARGEST_VERSION = (1 << 63) - 1
PART = 1 << 13  # Bytes of an answer that are read at once.


class Call(NamedTuple):
    """Where an image is sent, and the limits of the answer.

    Attributes:
        url: As the user wrote it, for messages.
        parts: The same, split.
        path: The model's path on the server.
        timeout: Seconds for the whole call.
        most_bytes: Upper limit on the answer's bytes.
    """

    url: str
    parts: SplitResult
    path: str
    timeout: float
    most_bytes: int


class Reply(NamedTuple):
    """An answer over HTTP."""

    status: int
    reason: str
    location: str | None
    content: bytes


def over_rest(call: Call, image: bytes) -> bytes:
    """Calls TensorFlow Serving's REST interface; raises a `ServingError` for any other answer."""
    try:
        import requests
    except ModuleNotFoundError:
        raise ServingError(f"{call.url}: REST needs requests: pip install requests") from None
    try:
        reply = _within(call.timeout, lambda is_late: _post(call, image, is_late))
    except (TimeoutError, requests.Timeout):
        raise _timed_out(call) from None
    except ServingError:
        raise
    except Exception as error:  # Those of requests, urllib3, http.client, ssl and socket.
        reason = getattr(error.args[0] if error.args else error, "reason", error)
        raise _unreachable(call, reason) from None
    if 300 <= reply.status < 400:
        raise ServingError(
            f"{call.url}: HTTP {reply.status}: redirects to {one_line(reply.location)}, where the "
            "image is not sent. If you trust that server, use its URL."
        )
    try:
        answer = json.loads(reply.content)
    except (ValueError, RecursionError):
        answer = None
    text = reply.content[:4000].decode("utf-8", "replace")
    if reply.status != 200:
        said = answer.get("error") if isinstance(answer, dict) else None
        what = one_line(said if isinstance(said, str) else text) or one_line(reply.reason)
        raise ServingError(f"{call.url}: HTTP {reply.status}: {what}")
    try:
        (prediction,) = answer["predictions"]
        # A single output comes without its name, several outputs come by name.
        prediction = prediction.get(MASK_BYTES, prediction)
        return base64.b64decode(prediction["b64"], validate=True)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _missing_mask(call, text) from None


def over_grpc(call: Call, image: bytes) -> bytes:
    """Calls TensorFlow Serving's gRPC interface; raises a `ServingError` for any other answer."""
    name, _, version = call.path.removeprefix("v1/models/").partition("/versions/")
    if version and not (version.isdecimal() and int(version[:30]) <= LARGEST_VERSION):
        raise ConfigError(f"url={call.url!r}: the version must be a number below 2 ** 63.")
    number = int(version) if version else None
    try:
        import grpc

        request = predict_request(name, [image], number)
        response_class = message_class("Response")
    except ImportError:
        raise ServingError(
            f"{call.url}: gRPC needs two packages: pip install grpcio protobuf"
        ) from None
    request.output_filter.append(MASK_BYTES)
    options = [
        ("grpc.max_send_message_length", LARGEST_MESSAGE),
        ("grpc.max_receive_message_length", min(call.most_bytes, LARGEST_MESSAGE)),
    ]
    with grpc.insecure_channel(call.parts.netloc, options) as channel:
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_class.FromString,
        )
        try:
            reply = predict(request, timeout=call.timeout)
        except grpc.RpcError as error:
            code, said = error.code(), error.details()
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise _timed_out(call) from None
            if code == grpc.StatusCode.UNAVAILABLE:
                raise _unreachable(call, said) from None
            raise ServingError(f"{call.url}: {code.name}: {one_line(said)}") from None
    found = MASK_BYTES in reply.outputs
    strings: Sequence[bytes] = reply.outputs[MASK_BYTES].string_val if found else ()
    if len(strings) != 1:
        raise _missing_mask(call, sorted(reply.outputs))
    return strings[0]


def one_line(text: object, longest: int = 500) -> str:
    """Joins a server's message, which may have many lines, into one printable line."""
    line = " ".join(str(text)[: 4 * longest].split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= longest else f"{line[:longest]} ..."


def _post(call: Call, image: bytes, is_late: threading.Event) -> Reply:
    import requests

    path = f"{call.path.removesuffix(':predict')}:predict"
    instance = {IMAGE_BYTES: {"b64": base64.b64encode(image).decode()}}
    with requests.post(
        f"{call.parts.scheme}://{call.parts.netloc}/{path}",
        json={"signature_name": ENCODED, "instances": [instance]},
        timeout=call.timeout,
        stream=True,
        allow_redirects=False,
        headers={"Accept-Encoding": "identity"},  # A few compressed bytes may become gigabytes.
    ) as reply:
        packed = reply.headers.get("Content-Encoding", "identity")
        if packed != "identity":
            raise ServingError(
                f"{call.url}: the answer is compressed ({one_line(packed)}), though the request "
                "allows none. Turn off the server's or proxy's compression."
            )
        content = bytearray()
        for part in reply.iter_content(PART):
            content += part
            if len(content) > call.most_bytes:
                raise ServingError(
                    f"{call.url}: the answer has more than {call.most_bytes:,} bytes, too many for "
                    "the mask of this image. Check that fcn_keras exported the model."
                )
            if is_late.is_set():
                raise TimeoutError
        location = reply.headers.get("Location")
        return Reply(reply.status_code, reply.reason or "", location, bytes(content))


def _within(seconds: float, function: Callable[[threading.Event], Any]) -> Any:
    """Runs a function in a thread and waits for its result, or raises a `TimeoutError`.

    Timeouts of sockets start anew with each byte. The function gets an event that is set when
    nobody waits any more.
    """
    is_late, results = threading.Event(), queue.SimpleQueue[tuple[Any, BaseException | None]]()

    def run() -> None:
        try:
            results.put((function(is_late), None))
        except BaseException as error:  # Raised again below, in the caller's thread.
            results.put((None, error))

    threading.Thread(target=run, daemon=True, name="fcn_keras client").start()
    try:
        result, error = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    finally:
        is_late.set()
    if error is not None:
        raise error
    return result


def _unreachable(call: Call, reason: object) -> ServingError:
    return ServingError(
        f"{call.url}: no answer ({one_line(reason)}). Check that the server is running there and "
        "that the port is right (REST 8501, gRPC 8500)."
    )


def _timed_out(call: Call) -> ServingError:
    return ServingError(
        f"{call.url}: no answer within {call.timeout:g} s. Check that the server is running there, "
        "or pass a longer timeout=."
    )


def _missing_mask(call: Call, answer: object) -> ServingError:
    return ServingError(
        f"{call.url}: the reply has no `{MASK_BYTES}`: {one_line(answer)}. Check that fcn_keras "
        "exported the model."
    )
