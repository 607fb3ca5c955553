"""Makes training batches on other machines with tf.data service: the same batches, same order.

Decoding and augmentation are Python code, which tf.data service can run only in the process that
created the data set. So the server creates the data set, from its own files, when a training run
requests it, and tf.data service transfers the batches. The request alone determines the batches:
the examples, the augmentation, the seed, the position and the share. The training machine still
reads validation images and checks all files itself.

A server uses three consecutive ports: tf.data service's dispatcher and worker, and an HTTP port for
requests (JSON).
"""

import dataclasses
import http.server
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pipelines.batches import tf_datasets
from pipelines.batches.augment import Augmentation
from pipelines.errors import DataError
from pipelines.split import Split

PORT = 5050
SILENCE = 30.0  # Seconds without an answer until a server is lost; TensorFlow waits forever.
Address = tuple[str, int]  # Host, and the first of its three ports.
_LARGEST = 2**26  # Largest request in bytes: enough for the names of a million examples.


class Server:
    """Serves the batches of one split until the process ends."""

    def __init__(self, split: Split, port: int = PORT, host: str | None = None) -> None:
        """Starts the server.

        Args:
            split: A `Split`.
            port: The first of three consecutive ports.
            host: The name or address at which training runs reach this machine; by default its
                host name.

        Raises:
            DataError: One of the ports is in use.
        """
        self.split, self.host, self.port = split, host or socket.gethostname(), port
        # Kept, because a data set's Python functions are deleted with it.
        self._made: list[tf.data.Dataset] = []
        service = tf.data.experimental.service
        try:
            self._asked = http.server.ThreadingHTTPServer(("", port + 2), self._handler())
            self._dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
            self._worker = service.WorkerServer(
                service.WorkerConfig(
                    dispatcher_address=f"localhost:{port}",
                    worker_address=f"{self.host}:{port + 1}",
                    port=port + 1,
                )
            )
        except (OSError, RuntimeError, tf.errors.OpError) as error:
            raise DataError(
                f"port {port}: this port and the next two must be free on this machine "
                f"({error}). Choose another (--port)."
            ) from None
        threading.Thread(target=self._asked.serve_forever, daemon=True).start()

    def wait(self) -> None:
        """Waits until the process is stopped, for example with Ctrl-C."""
        threading.Event().wait()

    def _register(self, request: dict[str, Any]) -> dict[str, Any]:
        """Registers the requested data set; returns its id, its shape and the worker."""
        by_id = {example.id: example for example in self.split.examples}
        missing = [name for name in request["examples"] if name not in by_id]
        if missing or request["meaning"] != _meaning(self.split):
            fault = f"no example {missing[0]}" if missing else "different classes or mask values"
            raise DataError(
                f"{self.split.name} on {self.host} has {fault}. Serve the data set that the "
                "training run uses."
            )
        chosen = tuple(by_id[name] for name in request["examples"])
        split = dataclasses.replace(self.split, examples=chosen)
        changes = Augmentation(**request["augmentation"])
        data = tf_datasets.train_dataset(split, augmentation=changes, **request["options"])
        number = tf.data.experimental.service.register_dataset(
            f"grpc://localhost:{self.port}", data, compression=None
        )
        self._made.append(data)
        return {
            "id": number.numpy().decode(),
            "shape": data.element_spec[1].shape.as_list(),
            "worker": [self.host, self.port + 1],
        }

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        register = self._register

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802 (named by the base class)
                self._answer(200, {})

            def do_POST(self) -> None:  # noqa: N802
                try:
                    length = min(int(self.headers.get("Content-Length", 0)), _LARGEST)
                    answer = 200, register(json.loads(self.rfile.read(length)))
                except DataError as error:
                    answer = 400, {"error": str(error)}
                except (KeyError, TypeError, ValueError, RecursionError) as error:
                    fault = f"the server does not understand the request ({error!r}). Use the"
                    answer = 400, {"error": f"{fault} same version of fcn-keras on both machines."}
                self._answer(*answer)

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


def served_dataset(
    addresses: Sequence[Address],
    split: Split,
    *,
    start: tuple[int, int] | None = None,
    **options: Any,
) -> tf.data.Dataset:
    """Builds `train_dataset` from batches made by servers: the same batches in the same order.

    Args:
        addresses: The servers' addresses from `parse_addresses`. The servers take turns.
        split: A `Split`; the servers must have its examples.
        start: As in `train_dataset`. Without it the data set is local, which is enough to count
            the batches per epoch.
        **options: Further arguments of `train_dataset`; `cache` is ignored.

    Returns:
        A `tf.data.Dataset` like that of `train_dataset`.

    Raises:
        DataError: A server does not answer, or has different data.
    """
    options.pop("cache", None)
    if start is None:
        return tf_datasets.train_dataset(split, **options)
    augmentation = dataclasses.asdict(options.pop("augmentation"))
    parts = []
    for number, address in enumerate(addresses):
        request = {
            "examples": [example.id for example in split.examples],
            "meaning": _meaning(split),
            "augmentation": augmentation,
            "options": {**options, "start": start, "turn": (number, len(addresses))},
        }
        parts.append(_from_server(address, _ask(address, request)))
    count = len(parts)
    turns = tf.data.Dataset.range(count).repeat()
    data = tf.data.Dataset.choose_from_datasets(parts, turns) if count > 1 else parts[0]
    data = data.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return data.prefetch(tf.data.AUTOTUNE)


def parse_addresses(text: str) -> list[Address]:
    """Parses "grpc://host:port", or several separated by commas, into hosts and ports.

    Raises:
        DataError: The text has another form.
    """
    found = []
    for address in text.split(","):
        scheme, _, rest = address.strip().rpartition("://")
        host, _, port = rest.rpartition(":")
        if scheme not in ("", "grpc") or not host or not port.isdecimal() or int(port) > 65533:
            raise DataError(
                f"--data-service {text}: must be grpc://host:port, as `fcn-keras data serve` "
                f"prints it, or several separated by commas; found {address!r}."
            )
        found.append((host.strip("[]"), int(port)))
    return found


def watch(
    addresses: Sequence[Address], lost: Callable[[str], object], silence: float = SILENCE
) -> threading.Event:
    """Calls `lost(message)` when a server has not answered for `silence` seconds.

    Returns:
        An event; set it to stop watching.
    """
    stop = threading.Event()

    def look() -> None:
        heard = dict.fromkeys(addresses, time.monotonic())
        while not stop.wait(silence / 6):
            for host, port in addresses:
                try:
                    with urllib.request.urlopen(_url(host, port), timeout=silence / 6):
                        heard[host, port] = time.monotonic()
                except OSError:
                    if time.monotonic() - heard[host, port] > silence and not stop.is_set():
                        lost(
                            f"--data-service grpc://{host}:{port}: has not answered for "
                            f"{silence:.0f} s. Start it again (fcn-keras data serve)"
                        )
                        return

    threading.Thread(target=look, daemon=True).start()
    return stop


def _from_server(address: Address, answer: dict[str, Any]) -> tf.data.Dataset:
    host, port = address
    batch, *size = answer["shape"]
    spec = (
        tf.TensorSpec((batch, *size, 3), tf.uint8),
        tf.TensorSpec((batch, *size), tf.uint8),
    )
    service = tf.data.experimental.service
    return service.from_dataset_id(
        service.ShardingPolicy.OFF, f"grpc://{host}:{port}", answer["id"], spec
    )


def _ask(address: Address, request: dict[str, Any]) -> dict[str, Any]:
    """Sends a request to a server, and checks that its dispatcher and worker can be reached."""
    host, port = address
    name = f"--data-service grpc://{host}:{port}"
    http_request = urllib.request.Request(_url(host, port), json.dumps(request).encode())
    try:
        with urllib.request.urlopen(http_request, timeout=60) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise DataError(f"{name}: {json.load(error)['error']}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            f"{name}: no answer from port {port + 2} ({reason}). Start the server with "
            f"`fcn-keras data serve --port {port}`, and open ports {port} to {port + 2}."
        ) from None
    for place in (address, tuple(answer["worker"])):
        try:
            socket.create_connection(place, timeout=10).close()
        except OSError as error:
            raise DataError(
                f"{name}: port {place[1]} cannot be reached at {place[0]} ({error}). Open the "
                "port, or start the server with --host and a name that this machine can reach."
            ) from None
    return answer


def _meaning(split: Split) -> list[Any]:
    """Returns the meaning of a split's masks as JSON restores it."""
    meaning = [
        list(split.class_names),
        sorted(map(list, split.mask_values.items())),
        sorted([list(colour), class_id] for colour, class_id in split.mask_colours.items()),
    ]
    return json.loads(json.dumps(meaning, default=int))


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port + 2}/"
