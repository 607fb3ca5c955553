"""A replacement for TensorFlow Serving: its PredictionService and REST API on a loopback port.

Like TensorFlow Serving, it loads the SavedModel in a session and runs its signatures, with the same
messages and status codes. It watches the model's folder and switches to new versions.
`python tests/helpers/model_server.py FOLDER` prints the ports as JSON and runs until stdin is
closed.
"""

import base64
import contextlib
import gc
import json
import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

tf.get_logger().setLevel("ERROR")  # It warns that TensorFlow 1 functions are deprecated.
Code = grpc.StatusCode
CODES = {code.value[0]: code for code in Code}
HTTP = {
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.FAILED_PRECONDITION: 412,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
}


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Version:
    """One SavedModel, unloaded after the last request that uses it."""

    def __init__(self, path):
        self.number = int(path.name)
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        load = tf.compat.v1.saved_model.loader.load
        with self.session.graph.as_default():
            self.signatures = load(self.session, ["serve"], str(path)).signature_def

    def signature(self, name):
        if name not in self.signatures:
            raise Refused(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def run(self, name, feeds, wanted=()):
        signature = self.signature(name)
        if feeds.keys() != signature.inputs.keys():
            raise Refused(
                Code.INVALID_ARGUMENT,
                f"input size does not match signature. Sent extra: "
                f"{sorted(feeds.keys() - signature.inputs.keys())}. Missing but required: "
                f"{sorted(signature.inputs.keys() - feeds.keys())}.",
            )
        wanted = sorted(wanted or signature.outputs)
        try:
            values = self.session.run(
                [signature.outputs[output].name for output in wanted],
                {signature.inputs[key].name: value for key, value in feeds.items()},
            )
        except tf.errors.OpError as error:
            raise Refused(CODES[error.error_code], error.message) from None
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(Code.INVALID_ARGUMENT, str(error)) from None
        return dict(zip(wanted, values, strict=True))


class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Context manager that serves the highest version in `folder` under the folder's name."""

    def __init__(self, folder, poll=0.1):
        self.folder, self.name, self.poll = Path(folder), Path(folder).name, poll
        self.version, self.stopping = Version(self._newest()), threading.Event()
        largest = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        self.grpc = grpc.server(ThreadPoolExecutor(8), options=largest)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self.grpc)
        self.grpc_port = self.grpc.add_insecure_port("127.0.0.1:0")
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _rest(self))
        self.http.daemon_threads = True
        self.rest_port = self.http.server_port
        self.threads = [threading.Thread(target=t) for t in (self.http.serve_forever, self._watch)]

    def __enter__(self):
        self.grpc.start()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.stopping.set()
        self.grpc.stop(None).wait()
        self.http.shutdown()
        self.http.server_close()
        for thread in self.threads:
            thread.join()

    def _newest(self):
        # As in TensorFlow Serving, a version is a folder whose name is a number.
        return max(
            (p for p in self.folder.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name)
        )

    def _watch(self):
        while not self.stopping.wait(self.poll):
            newest = self._newest()
            if int(newest.name) != self.version.number:
                self.version = Version(newest)
                gc.collect()

    def find(self, name, number=None):
        version = self.version
        if name != self.name or number not in (None, version.number):
            which = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise Refused(Code.NOT_FOUND, f"Servable not found for request: {which}")
        return version

    def Predict(self, request, context):  # noqa: N802
        spec = request.model_spec
        try:
            version = self.find(spec.name, spec.version.value if spec.HasField("version") else None)
            signature = spec.signature_name or "serving_default"
            feeds = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            outputs = version.run(signature, feeds, request.output_filter)
        except Refused as error:
            context.abort(error.code, str(error))
        response = predict_pb2.PredictResponse()
        response.model_spec.name, response.model_spec.signature_name = spec.name, signature
        response.model_spec.version.value = version.number
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def _rest(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_POST(self):  # noqa: N802
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status, answer = 200, _predict(server, self.path, body)
            except Refused as error:
                status, answer = HTTP.get(error.code, 500), {"error": str(error)}
            answer = json.dumps(answer).encode()
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

    return Handler


def _predict(server, path, body):
    match = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", path)
    if not match:
        raise Refused(Code.INVALID_ARGUMENT, f"Malformed request: POST {path}")
    version = server.find(match[1], int(match[2]) if match[2] else None)
    try:
        request = json.loads(body)
        rows = "instances" in request
        given = request["instances"] if rows else request["inputs"]
    except (ValueError, TypeError, KeyError):
        raise Refused(Code.INVALID_ARGUMENT, "JSON Parse error, or no `instances`") from None
    name = request.get("signature_name", "serving_default")
    inputs = version.signature(name).inputs
    feeds = {}
    for key, info in inputs.items():
        named = isinstance(given[0] if rows and given else given, dict)
        named = named and "b64" not in (given[0] if rows else given)
        try:
            if named:
                value = [row[key] for row in given] if rows else given[key]
            else:
                value = given
        except (KeyError, TypeError):
            what = f"JSON object: does not have named input: {key}"
            raise Refused(Code.INVALID_ARGUMENT, what) from None
        try:
            feeds[key] = np.array(_decoded(value), tf.DType(info.dtype).as_numpy_dtype)
        except (ValueError, TypeError, OverflowError) as error:
            what = f"Failed to process key: {key} of the request. Error: {error}"
            raise Refused(Code.INVALID_ARGUMENT, what) from None
    outputs = {key: _encoded(key, value) for key, value in version.run(name, feeds).items()}
    if len(outputs) == 1:
        (outputs,) = outputs.values()
    elif rows:
        outputs = [
            dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)
        ]
    return {"predictions" if rows else "outputs": outputs}


def _decoded(value):
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if isinstance(value, dict):
        if value.keys() != {"b64"}:
            raise ValueError(f"JSON object has the keys {sorted(value)}, expected b64")
        return base64.b64decode(value["b64"], validate=True)
    return value.encode() if isinstance(value, str) else value


def _encoded(name, value):
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tolist()
    if isinstance(value, bytes):  # TensorFlow Serving encodes only these names as binary.
        binary = name.endswith("_bytes")
        return {"b64": base64.b64encode(value).decode()} if binary else value.decode()
    return [_encoded(name, one) for one in value]


if __name__ == "__main__":
    with Server(sys.argv[1]) as running:
        print(json.dumps({"grpc": running.grpc_port, "rest": running.rest_port}), flush=True)
        sys.stdin.read()
