"""Training batches made on other machines, by tf.data service: the same ones in the same order.

Decoding and augmentation are Python, which tf.data service can run only in the process that made
the data set. So the serving machine makes it, from files of its own, when a training asks for it;
its batches then travel by tf.data service. What a training asks for is all that decides them: the
examples, the augmentation, the seed, the position and the share. Validation images and the check of
all files stay with the training.

A server has three ports in a row: tf.data service's dispatcher and worker, and the one where a
training asks (HTTP, JSON).
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
SILENCE = 30.0  # Seconds until a server that does not answer has gone; TensorFlow waits for ever.
Address = tuple[str, int]  # A host, and the first of its three ports.
_LARGEST = 2**26  # Bytes of a request: the names of a million examples.


class Server:
    """Serves the batches of one split, until the process ends."""

    def __init__(self, split: Split, port: int = PORT, host: str | None = None) -> None:
        """Starts to serve.

        Args:
            split: a `Split`.
            port: the first of three in a row.
            host: the name or address by which trainings reach this machine; its own name unless
                given.

        Raises:
            DataError: one of the ports is taken.
        """
        self.split, self.host, self.port = split, host or socket.gethostname(), port
        # The Python functions of a data set live no longer than the data set.
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
                f"port {port}: it and the next two must be free on this machine ({error}). Choose "
                "another (--port)."
            ) from None
        threading.Thread(target=self._asked.serve_forever, daemon=True).start()

    def wait(self) -> None:
        """Waits until the process is stopped; Ctrl-C does, too."""
        threading.Event().wait()

    def _register(self, wish: dict[str, Any]) -> dict[str, Any]:
        """What a training asks for, as a data set of the service: its id and shapes."""
        by_id = {example.id: example for example in self.split.examples}
        missing = [name for name in wish["examples"] if name not in by_id]
        if missing or wish["meaning"] != _meaning(self.split):
            fault = f"no example {missing[0]}" if missing else "classes of another meaning"
            raise DataError(
                f"{self.split.name} of {self.host} has {fault}. Serve the data set that is trained "
                "on."
            )
        chosen = tuple(by_id[name] for name in wish["examples"])
        split = dataclasses.replace(self.split, examples=chosen)
        changes = Augmentation(**wish["augmentation"])
        data = tf_datasets.train_dataset(split, augmentation=changes, **wish["options"])
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
            def do_GET(self) -> None:  # noqa: N802 The base class's name for it.
                self._answer(200, {})

            def do_POST(self) -> None:  # noqa: N802
                try:
                    length = min(int(self.headers.get("Content-Length", 0)), _LARGEST)
                    answer = 200, register(json.loads(self.rfile.read(length)))
                except DataError as error:
                    answer = 400, {"error": str(error)}
                except (KeyError, TypeError, ValueError) as error:
                    fault = f"a request that it does not know ({error!r}). Use the same version"
                    answer = 400, {"error": f"it has got {fault} of fcn-keras there and here."}
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
    """`train_dataset`, made by servers: the same batches in the same order.

    Args:
        addresses: of the servers, as `parse_addresses` gives them; they make the batches in turn.
        split: a `Split`, whose examples the servers must have.
        start: as in `train_dataset`; without it the data set is the local one, which tells how
            many batches an epoch has.
        **options: further arguments of `train_dataset`; `cache` has no say.

    Returns:
        A `tf.data.Dataset` as of `train_dataset`.

    Raises:
        DataError: a server does not answer, or has other data.
    """
    options.pop("cache", None)
    if start is None:
        return tf_datasets.train_dataset(split, **options)
    augmentation = dataclasses.asdict(options.pop("augmentation"))
    parts = []
    for number, address in enumerate(addresses):
        wish = {
            "examples": [example.id for example in split.examples],
            "meaning": _meaning(split),
            "augmentation": augmentation,
            "options": {**options, "start": start, "turn": (number, len(addresses))},
        }
        parts.append(_from_server(address, _ask(address, wish)))
    count = len(parts)
    turns = tf.data.Dataset.range(count).repeat()
    data = tf.data.Dataset.choose_from_datasets(parts, turns) if count > 1 else parts[0]
    data = data.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return data.prefetch(tf.data.AUTOTUNE)


def parse_addresses(text: str) -> list[Address]:
    """Hosts and ports of "grpc://host:port", several with commas between them.

    Raises:
        DataError: it is something else.
    """
    found = []
    for address in text.split(","):
        scheme, _, rest = address.strip().rpartition("://")
        host, _, port = rest.rpartition(":")
        if scheme not in ("", "grpc") or not host or not port.isdecimal() or int(port) > 65533:
            raise DataError(
                f"--data-service {text}: must be grpc://host:port, as `fcn-keras data serve` "
                f"prints it, or several with commas between them; found {address!r}."
            )
        found.append((host.strip("[]"), int(port)))
    return found


def watch(
    addresses: Sequence[Address], lost: Callable[[str], object], silence: float = SILENCE
) -> None:
    """Calls `lost(message)` when a server has not answered for `silence` seconds."""

    def look() -> None:
        heard = dict.fromkeys(addresses, time.monotonic())
        while True:
            time.sleep(silence / 6)
            for host, port in addresses:
                try:
                    with urllib.request.urlopen(_url(host, port), timeout=silence / 6):
                        heard[host, port] = time.monotonic()
                except OSError:
                    if time.monotonic() - heard[host, port] > silence:
                        lost(
                            f"--data-service grpc://{host}:{port}: has not answered for "
                            f"{silence:.0f} s. Start it again (fcn-keras data serve)"
                        )
                        return

    threading.Thread(target=look, daemon=True).start()


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


def _ask(address: Address, wish: dict[str, Any]) -> dict[str, Any]:
    """A server's answer, once what it says of itself can be reached too."""
    host, port = address
    name = f"--data-service grpc://{host}:{port}"
    request = urllib.request.Request(_url(host, port), json.dumps(wish).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise DataError(f"{name}: {json.load(error)['error']}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            f"{name}: no answer from its port {port + 2} ({reason}). Start it with `fcn-keras data "
            f"serve --port {port}`, and let its three ports from {port} on be reached."
        ) from None
    for place in (address, tuple(answer["worker"])):
        try:
            socket.create_connection(place, timeout=10).close()
        except OSError as error:
            raise DataError(
                f"{name}: its port {place[1]} cannot be reached at {place[0]} ({error}). Let it be "
                "reached, or serve with --host and the name by which this machine knows it."
            ) from None
    return answer


def _meaning(split: Split) -> list[Any]:
    """What a split's masks mean, as JSON has it."""
    meaning = [
        list(split.class_names),
        sorted(map(list, split.mask_values.items())),
        sorted([list(colour), class_id] for colour, class_id in split.mask_colours.items()),
    ]
    return json.loads(json.dumps(meaning, default=int))


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port + 2}/"
