"""A served model, through the client, TensorFlow Serving's interfaces and its C++ loader."""

import base64
import contextlib
import gzip
import io
import json
import math
import os
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
import requests
import tensorflow as tf
import yaml
from google.protobuf import text_format
from nets import randomise_scores
from PIL import Image, ImageOps
from png import png

import fcn_keras
from fcn_keras.errors import ConfigError, ServingError
from fcn_keras.serving import client, messages

pytestmark = pytest.mark.extra("test-all")
MISSING = "extra 'test-all' is not installed"
grpc = pytest.importorskip("grpc", reason=MISSING)
pytest.importorskip("tensorflow_serving", reason=MISSING)

import model_server  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2  # noqa: E402

HELPERS = Path(__file__).parents[1] / "helpers"
SIZES = [(1, 1), (31, 31), (337, 501), (3, 2000)]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    net = fcn_keras.FCN8s(3, backbone="tiny", head_width=16, weights=None)
    return randomise_scores(net)


@pytest.fixture(scope="module")
def version(model, tmp_path_factory):
    return fcn_keras.export(model, tmp_path_factory.mktemp("models") / "street").path


@pytest.fixture(scope="module")
def server(version):
    with model_server.Server(version.parent) as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def address(server, way):
    if way == "grpc":
        return f"grpc://127.0.0.1:{server.grpc_port}/street"
    return f"http://127.0.0.1:{server.rest_port}/v1/models/street"


def encode(image, kind="png"):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def bomb(side=8000):
    """A PNG of a few KB that really is `side` pixels high and wide."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return len(data).to_bytes(4) + kind + data + checksum.to_bytes(4)

    header = side.to_bytes(4) * 2 + bytes([1, 0, 0, 0, 0])  # One bit per pixel, grey.
    pixels = zlib.compress(bytes((1 + side // 8) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    )


def post(server, body):
    url = f"{address(server, 'http')}:predict"
    return requests.post(url, data=body if isinstance(body, str) else json.dumps(body), timeout=60)


def instance(data):
    return {"image_bytes": {"b64": base64.b64encode(data).decode()}}


# The client


@pytest.mark.parametrize("way", ["http", "grpc"])
@pytest.mark.parametrize("size", SIZES)
def test_the_client_returns_the_masks_of_predict(model, server, rng, tmp_path, way, size):
    image = rng.integers(0, 256, (*size, 3), "uint8")
    expected = fcn_keras.predict(model, image)
    path = tmp_path / "image.png"
    path.write_bytes(encode(image))
    for sent in (image, path, str(path), path.read_bytes()):
        mask = client.segment(address(server, way), sent)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, expected)


def test_the_model_and_a_version_can_be_named(server, rng):
    image = rng.integers(0, 256, (20, 30, 3), "uint8")
    mask = client.segment(address(server, "http"), image)
    for url in (address(server, "http"), address(server, "grpc")):
        np.testing.assert_array_equal(client.segment(f"{url}/versions/1", image), mask)
        with pytest.raises(ServingError, match="Servable not found"):
            client.segment(f"{url}/versions/2", image)
    for root in (f"http://127.0.0.1:{server.rest_port}", f"grpc://127.0.0.1:{server.grpc_port}"):
        np.testing.assert_array_equal(client.segment(root, image, model="street"), mask)
        with pytest.raises(ServingError, match="Servable not found"):
            client.segment(root, image, model="road")


@pytest.mark.parametrize(
    ("url", "image", "message"),
    [
        ("localhost:8501", b"", "must look like http://"),
        ("http://[::1/v1/models/street", b"", "must look like http://"),
        ("http://localhost:99999/v1/models/street", b"", "must look like http://"),
        ("grpc://local host:8500/street", b"", "must look like http://"),
        ("http://localhost:8501", b"", "has no model name"),
        ("grpc://localhost:8500/street/versions/new", b"", "must be a number"),
        ("http://local\0host/v1/models/street", b"", "must look like http://"),
        ("http://localhost/v1/models/str\neet", b"", "must look like http://"),
        ("http://local..host/v1/models/street", b"", "must look like http://"),
        (f"http://{64 * 'a'}/v1/models/street", b"", "must look like http://"),
        ("http://localhost/v1/models/street?x=1", b"", "must look like http://"),
        ("http://localhost/v1/models/street#x", b"", "must look like http://"),
        ("ftp://localhost/street", b"", "must look like http://"),
        (b"http://localhost/street", b"", "must look like http://"),
        (None, b"", "must look like http://"),
        (f"grpc://localhost:8500/street/versions/{2**63}", b"", "must be a number below"),
        (f"grpc://localhost:8500/street/versions/{'9' * 9000}", b"", "must be a number below"),
        ("http://h/v1/models/m", "nowhere.png", "'nowhere.png': cannot be read: no such file"),
        ("http://h/v1/models/m", "", "image='': cannot be read"),
        ("http://h/v1/models/m", "a\0b.png", "must not contain a zero byte"),
        ("http://h/v1/models/m", "/dev/zero", "not a regular file"),
        ("http://h/v1/models/m", np.zeros((3, 4, 3)), r"found float64 \[3, 4, 3\]"),
        ("http://h/v1/models/m", np.zeros((3, 4, 3), "int64"), r"found int64 \[3, 4, 3\]"),
        ("http://h/v1/models/m", np.zeros((3, 4, 3), "uint16"), r"found uint16 \[3, 4, 3\]"),
        ("http://h/v1/models/m", np.zeros((3, 4, 3), bool), r"found bool \[3, 4, 3\]"),
        ("http://h/v1/models/m", None, "found NoneType"),
    ],
)
def test_wrong_arguments_are_refused_before_sending(url, image, message):
    with pytest.raises(ConfigError, match=message) as error:
        client.segment(url, image)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, 10**9, "5", None, True])
def test_a_timeout_must_be_positive_seconds(timeout):
    with pytest.raises(ConfigError, match=f"timeout={timeout!r}: must be a number of seconds"):
        client.segment("http://localhost:9/v1/models/street", b"", timeout=timeout)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a:b", "a\0", 5, b"street"])
def test_a_model_must_be_a_name(name):
    with pytest.raises(ConfigError, match="must be the name of a model"):
        client.segment("http://localhost:9", b"", model=name)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v1/models/street", "grpc://127.0.0.1:9/street"]
)
def test_an_unreachable_server_gives_one_line(url):
    message = refusal(url)
    assert message.startswith(f"{url}: no answer (") and "refused" in message


@pytest.mark.parametrize(
    "url",
    ["http://-/v1/models/street", "https://127.0.0.1:9/v1/models/street", "grpc://-:1/street"],
)
def test_hosts_that_do_not_exist_give_one_line(url):
    assert refusal(url, timeout=30).startswith(f"{url}: no answer ")


@pytest.mark.parametrize("way", ["http", "grpc"])
def test_a_slow_server_gives_a_timeout(way):
    with model_server.ThreadingHTTPServer(("127.0.0.1", 0), None) as silent:  # Never accepts.
        url = f"{way}://127.0.0.1:{silent.server_port}/v1"
        with pytest.raises(ServingError, match=r"no answer within 0\.5 s.*timeout="):
            client.segment(url, b"", timeout=0.5)


@contextlib.contextmanager
def answering(answer):
    """A server over HTTP that reads each request and lets `answer` write; yields its URL."""

    class Other(model_server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.suppress(ConnectionError):
                answer(self)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *arguments):
            pass

    with model_server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{other.server_port}/v1/models/street"
        finally:
            other.shutdown()
            thread.join()


def replying(status, content, **headers):
    def answer(to):
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(content)

    return answer


def as_png(picture):
    file = io.BytesIO()
    picture.save(file, "png")
    return file.getvalue()


def predictions(mask):
    return json.dumps({"predictions": [{"b64": base64.b64encode(mask).decode()}]}).encode()


def refusal(url, image=None, **options):
    """Returns the client's error."""
    with pytest.raises(ServingError) as error:
        client.segment(
            url, encode(np.zeros((5, 6, 3), "uint8")) if image is None else image, **options
        )
    assert "\n" not in str(error.value) and str(error.value).isprintable()
    assert len(str(error.value)) < 1000
    return str(error.value)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((200, predictions(as_png(Image.new("1", (6, 5))))), "found a PNG of the mode 1"),
        ((200, predictions(as_png(Image.new("RGB", (6, 5))))), "found a PNG of the mode RGB"),
        ((200, b"<html>Welcome"), "has no `mask_bytes`: <html>Welcome"),
        ((200, b'{"predictions": [1]}'), "has no `mask_bytes`"),
        ((200, b'{"predictions": [{"b64": "AAAA"}]}'), "is not a PNG"),
        ((200, 100_000 * b"["), "has no `mask_bytes`: [[["),
        ((200, b'{"predictions": ' + 900 * b"[" + 900 * b"]" + b"}"), "has no `mask_bytes`"),
        ((200, b'{"predictions": ' + 9000 * b"9" + b"}"), "has no `mask_bytes`"),
        ((502, b"<h1>Bad\nGateway</h1>"), "HTTP 502: <h1>Bad Gateway"),
        ((503, b""), "HTTP 503: Service Unavailable"),
        ((404, b'{"error": "Not\\nthere"}'), "HTTP 404: Not there"),
        ((404, b'{"error": "\\u001b[2J"}'), "HTTP 404: \\x1b[2J"),
        ((404, b'{"error": ' + 900 * b"[" + 900 * b"]" + b"}"), "HTTP 404: {"),
        ((200, b"\xff\xfe\xff"), "has no `mask_bytes`"),
    ],
)
def test_an_unexpected_reply_is_quoted(reply, message):
    with answering(replying(*reply)) as url:
        assert message in refusal(url)


def test_a_redirect_is_not_followed():
    seen = []
    with answering(lambda to: seen.append(to.path)) as other:
        for status in (301, 302, 303, 307, 308):
            with answering(replying(status, b"", Location=other)) as url:
                assert f"HTTP {status}: redirects to {other}" in refusal(url)
    assert not seen


def dripping(parts):
    def answer(to):
        for part in parts:
            to.wfile.write(part)
            to.wfile.flush()
            time.sleep(0.1)

    return answer


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nX-Slow: ", *40 * [b"x"]],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", *40 * [b"x"]],
    ],
    ids=["headers", "body"],
)
def test_the_timeout_is_for_the_whole_call(parts):
    with answering(dripping(parts)) as url:
        start = time.monotonic()
        assert "no answer within 0.5 s" in refusal(url, timeout=0.5)
        assert time.monotonic() - start < 2.5


def test_an_answer_is_limited_in_bytes():
    def endless(to):
        to.send_response(200)
        to.end_headers()
        while True:
            to.wfile.write(bytes(1 << 20))

    with answering(endless) as url:
        # 1 MiB, and for each of 5 x 6 pixels 2 bytes in base64.
        assert "more than 1,048,676 bytes" in refusal(url)
    packed = gzip.compress(predictions(b"a" * 10**8))
    with answering(replying(200, packed, Content_Encoding="gzip")) as url:
        assert "the answer is compressed (gzip)" in refusal(url)


def flat(height, width):
    return png(width, height, (b"\0" + bytes(width)) * height)


def coloured(mode):
    return encode(np.zeros((5, 6, 3), "uint8")) if mode == "RGB" else saved(Image.new(mode, (6, 5)))


def saved(image, kind="png"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (flat(6, 5), "has 6 x 5 pixels (height x width), but the image 5 x 6"),
        (flat(1, 1), "has 1 x 1 pixels"),
        (flat(13000, 13000), "has 13000 x 13000 pixels"),
        (png(2**31 - 1, 2**31 - 1, b""), "is not a PNG (it: too large"),
        (coloured("RGB"), "found a PNG of the mode RGB"),
        (coloured("P"), "found a PNG of the mode P"),
        (coloured("1"), "found a PNG of the mode 1"),
        (coloured("LA"), "found a PNG of the mode LA"),
        (saved(Image.new("L", (6, 5)), "gif"), "it is a GIF"),
        (flat(5, 6)[:-20], "is not a PNG (it: damaged"),
        (png(6, 5, bytes(7)), "is not a PNG"),
        (b"", "is not a PNG"),
    ],
)
def test_a_mask_must_be_class_ids_of_the_images_size(mask, message):
    with answering(replying(200, predictions(mask))) as url:
        assert message in refusal(url)


def test_a_mask_of_16_bits_is_returned_as_it_is(rng):
    mask = rng.integers(0, 65536, (300, 200), "uint16")  # Noise: the largest answer.
    with answering(replying(200, predictions(encode(mask)))) as url:
        found = client.segment(url, np.zeros((300, 200, 3), "uint8"))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_an_answer_over_grpc_is_limited_in_bytes(compression):
    response = predict_pb2.PredictResponse()
    response.outputs["mask_bytes"].CopyFrom(tf.make_tensor_proto([bytes(5_000_000)]))
    server = grpc.server(model_server.ThreadPoolExecutor(1), compression=compression)
    service = prediction_service_pb2_grpc.PredictionServiceServicer()
    service.Predict = lambda request, context: response
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert "RESOURCE_EXHAUSTED: " in refusal(f"grpc://127.0.0.1:{port}/street")
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("way", ["http", "grpc"])
def test_a_photo_comes_back_upright(model, server, rng, tmp_path, way):
    exif, path = Image.Exif(), tmp_path / "photo.jpg"
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (31, 45, 3), "uint8")).save(path, exif=exif)
    with Image.open(path) as photo:
        upright = np.asarray(ImageOps.exif_transpose(photo))
    mask = client.segment(address(server, way), path)
    np.testing.assert_array_equal(mask, fcn_keras.predict(model, upright))


def test_the_client_needs_no_tensorflow(server, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(encode(np.zeros((9, 9, 3), "uint8")))
    code = (
        "import sys\n"
        "from fcn_keras.serving import client\n"
        "for url in sys.argv[2:]:\n"
        "    assert client.segment(url, sys.argv[1]).shape == (9, 9)\n"
        "assert not {'tensorflow', 'keras', 'tensorflow_serving'} & sys.modules.keys()\n"
    )
    urls = [address(server, way) for way in ("http", "grpc")]
    done = subprocess.run([sys.executable, "-c", code, str(path), *urls], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_messages_equal_those_of_tensorflow_serving():
    ours = messages.predict_request("street", [b"\xff\0"], version=3)
    ours.output_filter.append("mask_bytes")
    real = predict_pb2.PredictRequest()
    real.model_spec.name, real.model_spec.signature_name = "street", "encoded"
    real.model_spec.version.value = 3
    real.output_filter.append("mask_bytes")
    real.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"\xff\0"]))
    read = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert read.inputs["image_bytes"].dtype == tf.string
    assert read == real
    assert type(ours).FromString(real.SerializeToString()) == ours
    answer = predict_pb2.PredictResponse()
    answer.outputs["mask_bytes"].CopyFrom(tf.make_tensor_proto([b"\xff\0"]))
    reply = messages.message_class("Response").FromString(answer.SerializeToString())
    assert reply.outputs["mask_bytes"].string_val == [b"\xff\0"]


# Requests


def test_images_in_one_request_do_not_affect_each_other(model, server, rng):
    images = [rng.integers(0, 256, (*size, 3), "uint8") for size in SIZES]
    body = {"signature_name": "encoded", "instances": [instance(encode(i)) for i in images]}
    for mask, image in zip(post(server, body).json()["predictions"], images, strict=True):
        mask = decode(base64.b64decode(mask["b64"]))
        np.testing.assert_array_equal(mask, fcn_keras.predict(model, image))


def test_a_jpeg_is_decoded_as_in_training(model, server, rng, tmp_path):
    from pipelines import read_image

    small = rng.integers(0, 256, (9, 13, 3), "uint8")
    path = tmp_path / "image.jpg"
    Image.fromarray(small).resize((130, 90)).save(path, quality=90)
    expected = fcn_keras.predict(model, read_image(path))
    np.testing.assert_array_equal(client.segment(address(server, "grpc"), path), expected)


def test_row_and_column_format_of_json(model, server, rng):
    images = rng.integers(0, 256, (2, 5, 7, 3), "uint8")
    expected = [fcn_keras.predict(model, image).tolist() for image in images]
    assert post(server, {"instances": images.tolist()}).json() == {"predictions": expected}
    assert post(server, {"inputs": {"image": images.tolist()}}).json() == {"outputs": expected}


@pytest.mark.parametrize(
    "given",
    [
        {"instances": [{"image_bytes": {"b64": "?"}}]},
        {"instances": [{"image_bytes": {"b64": ""}}]},
        {"instances": [{"image_bytes": {"base64": ""}}]},
        {"instances": [{"picture": {"b64": ""}}]},
        {"instances": [instance(encode(np.zeros((4, 4, 3), "uint8"))), instance(b"\xff\xd8\xff")]},
        {"inputs": {"picture": [{"b64": ""}]}},
    ],
)
def test_a_bad_request_is_refused_with_its_key(server, given):
    reply = post(server, {"signature_name": "encoded", **given})
    assert reply.status_code == 400
    assert "image_bytes" in reply.json()["error"]
    if "picture" not in str(given) and len(given["instances"]) == 2:
        assert "image_bytes[1]" in reply.json()["error"]


def test_invalid_requests_are_refused(server):
    assert post(server, "{").status_code == 400
    assert post(server, {}).status_code == 400
    assert post(server, {"instances": [[[[1, 2, 999]]]]}).status_code == 400
    assert post(server, {"signature_name": "other", "instances": []}).status_code == 412


@pytest.mark.parametrize("way", ["http", "grpc"])
def test_other_and_truncated_files_are_refused(server, rng, way, tmp_path):
    gif = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(gif, "gif")
    for data in (b"", b"\x89PNG", b"\xff\xd8\xff", b"GIF89a", gif.getvalue()):
        with pytest.raises(ServingError, match="refused image: [0-9]+ bytes that are not a JPEG"):
            client.segment(address(server, way), data)
    (tmp_path / "a.jpg").write_bytes(encode(np.zeros((9, 9, 3), "uint8"), "jpeg")[:-2])
    with pytest.raises(ServingError) as error:
        client.segment(address(server, way), tmp_path / "a.jpg")
    told = f"refused {tmp_path}/a.jpg: truncated: its end is missing."
    assert str(error.value) == f"{address(server, way)}: {told}"
    noise = rng.integers(0, 256, (90, 90, 3), "uint8")
    for kind in ("png", "jpeg"):  # The header does not show the truncation.
        with pytest.raises(ServingError, match="refused image: truncated: its end is missing"):
            client.segment(address(server, way), encode(noise, kind)[:1000])


@pytest.mark.slow
def test_bombs_are_refused_before_decoding(version):
    def peak():
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    gif = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(gif, "gif")
    command = [sys.executable, str(HELPERS / "model_server.py"), str(version.parent)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        port = json.loads(process.stdout.readline())["grpc"]
        url = f"grpc://127.0.0.1:{port}/street"
        client.segment(url, np.zeros((64, 64, 3), "uint8"))
        before = peak()
        for data in (bomb(), gif.getvalue()):
            for _ in range(5):
                with pytest.raises(ServingError, match="refused image: "):
                    client.segment(url, data)
        assert peak() - before < 50  # MB
        process.stdin.close()


def test_a_new_version_takes_over_without_failures(model, tmp_path, rng):
    image = rng.integers(0, 256, (20, 30, 3), "uint8")
    folder = tmp_path / "street"
    fcn_keras.export(model, folder)
    other = randomise_scores(fcn_keras.FCN32s(3, backbone="tiny", head_width=16, weights=None))
    expected = [fcn_keras.predict(net, image) for net in (model, other)]
    assert (expected[0] != expected[1]).any()
    with model_server.Server(folder, poll=0.02) as server:
        seen = []
        publishing = threading.Thread(target=fcn_keras.export, args=(other, folder))
        publishing.start()
        end = time.monotonic() + 60
        while 1 not in seen and time.monotonic() < end:
            mask = client.segment(address(server, "grpc"), image)
            seen.append([np.array_equal(mask, one) for one in expected].index(True))
        publishing.join()
    assert seen[0] == 0 and seen[-1] == 1 and sorted(seen) == seen


# The file


def test_the_warm_up_requests_run(version, server):
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    assert logs
    for log in logs:
        request = log.predict_log.request
        feeds = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        assert server.version.run(request.model_spec.signature_name, feeds)


def warm_up_sizes(version):
    """Returns (width, height) of each image in the warm-up requests."""
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    sizes = []
    for record in tf.data.TFRecordDataset(str(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        files = tf.make_ndarray(log.predict_log.request.inputs["image_bytes"])
        sizes += [Image.open(io.BytesIO(file)).size for file in files]
    return sizes


def test_the_warm_up_keeps_to_the_limit_of_pixels(model, version, tmp_path):
    assert (500, 375) in warm_up_sizes(version)
    small = fcn_keras.export(model, tmp_path / "street", max_pixels=1000).path
    sizes = warm_up_sizes(small)
    assert sizes and all(width * height <= 1000 for width, height in sizes)


@pytest.fixture(scope="module")
def pictures(model, tmp_path_factory):
    """A file with two images, and their masks."""
    path = tmp_path_factory.mktemp("pictures") / "images.npy"
    images = np.random.default_rng(1).integers(0, 256, (2, 45, 67, 3), "uint8")
    np.save(path, images)
    return path, np.stack([fcn_keras.predict(model, image) for image in images])


def run(*command, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done


def plain():
    """A network without layers of this package, so that nothing pads its image."""
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.Conv2D(3, 1)(x), name="plain")


def of_bytes(*shape):
    return np.full(shape, b"no image", object)


IMAGE, FILES = (
    "image: must be [n, height, width, 3], found shape",
    "image_bytes: must be a list [n]",
)
MALFORMED = [
    (np.zeros((4, 5, 3), "uint8"), f"{IMAGE} [4 5 3]."),
    (np.zeros((1, 4, 5, 4), "uint8"), f"{IMAGE} [1 4 5 4]."),
    (np.zeros((1, 4, 5, 1), "uint8"), f"{IMAGE} [1 4 5 1]."),
    (np.zeros((1, 1, 4, 5, 3), "uint8"), f"{IMAGE} [1 1 4 5 3]."),
    (np.zeros((), "uint8"), f"{IMAGE} []."),
    (np.zeros((3,), "uint8"), f"{IMAGE} [3]."),
    (np.zeros((1, 4, 5, 3), "float32"), "Expects arg[0] to be uint8 but float is provided"),
    (np.zeros((1, 4, 5, 3), "int32"), "Expects arg[0] to be uint8 but int32 is provided"),
    (np.zeros((0, 4, 5, 3), "uint8"), "image: its shape [0 4 5 3] has no pixels."),
    (np.zeros((1, 4, 0, 3), "uint8"), "image: its shape [1 4 0 3] has no pixels."),
    (np.zeros((1, 4097, 4096, 3), "uint8"), "at most 16777216 pixels in total are allowed"),
    (np.zeros((65536, 1, 1, 3), "uint8"), "sides below 256 count as 256"),
]
MALFORMED_FILES = [
    (of_bytes(), f"{FILES} of one or more files, found shape []."),
    (of_bytes(0), f"{FILES} of one or more files, found shape [0]."),
    (of_bytes(1, 1), f"{FILES} of one or more files, found shape [1 1]."),
    (np.zeros((1,), "uint8"), "Expects arg[0] to be string but uint8 is provided"),
    (of_bytes(2), "image_bytes[0]: 8 bytes that are not a JPEG or PNG file."),
]


def padded():
    return fcn_keras.FCN32s(2, backbone="tiny", weights=None)


@pytest.mark.parametrize(
    ("build", "freeze"),
    [
        (plain, True),
        pytest.param(plain, False, marks=pytest.mark.slow),
        pytest.param(padded, True, marks=pytest.mark.slow),
        pytest.param(padded, False, marks=pytest.mark.slow),
    ],
)
def test_malformed_requests_end_as_errors_in_tensorflows_cpp_loader(build, freeze, tmp_path):
    # Some would abort the whole process, so each server's requests share one.
    version = fcn_keras.export(build(), tmp_path / "m", freeze=freeze).path
    with model_server.Server(version.parent) as server:
        signatures = server.version.signatures
    good = np.zeros((2, 4, 5, 3), "uint8")
    for name, feed, output, requests_ in [
        ("serving_default", "image", "mask", [*MALFORMED, (good, None)]),
        ("confidence", "image", "confidence", [*MALFORMED, (good, None)]),
        ("encoded", "image_bytes", "mask_bytes", MALFORMED_FILES),
    ]:
        ends = signatures[name].inputs[feed].name, signatures[name].outputs[output].name
        files = []
        for number, (request, _) in enumerate(requests_):
            files += [tmp_path / f"{number}.npy", tmp_path / f"{number}-out.npy"]
            np.save(files[-2], request, allow_pickle=True)
        done = run(HELPERS / "c_loader.py", version, *ends, *files, cwd=tmp_path)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        for (request, message), answer in zip(requests_, answers, strict=True):
            assert answer is None if message is None else message in answer, request.shape


def test_tensorflows_cpp_loader_returns_the_same_masks(version, server, pictures, tmp_path):
    signature = server.version.signatures["serving_default"]
    names = signature.inputs["image"].name, signature.outputs["mask"].name
    out = tmp_path / "masks.npy"
    run(HELPERS / "c_loader.py", version, *names, pictures[0], out, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(out), pictures[1])


@pytest.mark.slow
def test_saved_model_cli_returns_the_same_masks(version, pictures, tmp_path):
    run(
        *("-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", version),
        *("--tag_set", "serve", "--signature_def", "serving_default"),
        *("--inputs", f"image={pictures[0]}", "--outdir", tmp_path),
        cwd=tmp_path,
    )
    np.testing.assert_array_equal(np.load(tmp_path / "mask.npy"), pictures[1])


@pytest.mark.slow
def test_a_tensorflow_1_session_returns_the_same_masks(version, pictures, tmp_path):
    code = (
        "import sys, numpy as np, tensorflow.compat.v1 as tf\n"
        "with tf.Session(graph=tf.Graph()) as session:\n"
        "    loaded = tf.saved_model.loader.load(session, ['serve'], sys.argv[1])\n"
        "    signature = loaded.signature_def['serving_default']\n"
        "    feed = {signature.inputs['image'].name: np.load(sys.argv[2])}\n"
        "    np.save('masks.npy', session.run(signature.outputs['mask'].name, feed))\n"
        "assert 'fcn_keras' not in sys.modules\n"
    )
    run("-c", code, version, pictures[0], cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "masks.npy"), pictures[1])


def test_a_real_server(rng):
    host = os.environ.get("FCN_KERAS_TF_SERVING")
    if not host:
        pytest.skip("no TensorFlow Serving (set FCN_KERAS_TF_SERVING=host:port, gRPC)")
    for size in SIZES:
        mask = client.segment(f"grpc://{host}/street", rng.integers(0, 256, (*size, 3), "uint8"))
        assert mask.shape == size


def test_the_server_examples_are_valid():
    folder = HELPERS.parents[1] / "examples" / "serving"
    service = yaml.safe_load((folder / "compose.yaml").read_text("utf-8"))["services"]["serving"]
    for option in service["command"]:
        name, value = option.split("=")
        if value.startswith("/config/"):
            assert (folder / Path(value).name).is_file(), option
    config = text_format.Parse(
        (folder / "models.config").read_text("utf-8"), model_server_config_pb2.ModelServerConfig()
    )
    (street,) = config.model_config_list.config
    assert street.base_path == f"/models/{street.name}"
