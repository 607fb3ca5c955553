"""The workers of a training run: reads `TF_CONFIG`, and checks that all have the same options.

`TF_CONFIG` is TensorFlow's own format, JSON in the environment of each process:

    {"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}

TensorFlow waits an hour for missing workers without any message, holding Python's GIL. So the
workers meet before it starts: each sends its options to the chief, which compares them. This module
does not import TensorFlow.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fcn_keras.errors import ConfigError

TIMEOUT = 600.0  # Seconds: queued jobs and pods may start minutes apart.
MESSAGE_INTERVAL = 5.0  # Seconds before the first waiting message, and between messages.
EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Cluster:
    """The workers of a training run, and which of them this process is.

    Attributes:
        names: "worker 0", ...; the first is the chief.
        addresses: (host, port) of each worker.
        number: The position of this process among them.
    """

    names: tuple[str, ...]
    addresses: tuple[tuple[str, int], ...]
    number: int

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that writes files and shows progress."""
        return self.number == 0

    def __len__(self) -> int:
        """Returns the number of workers."""
        return len(self.names)

    def describe(self, number: int) -> str:
        """Returns a worker's name and address, such as "worker 1 (host1:2222)"."""
        host, port = self.addresses[number]
        return f"{self.names[number]} ({host}:{port})"


def from_environment(environ: Mapping[str, str] = os.environ) -> Cluster | None:
    """Parses `TF_CONFIG`; returns None if it is not set or has only one worker.

    Raises:
        ConfigError: `TF_CONFIG` is not JSON, or does not have the format shown above.
    """
    text = environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise _malformed(f"must be JSON, found {text[:60]!r} ({error})") from None
    jobs = config.get("cluster") if isinstance(config, dict) else None
    if jobs is None and isinstance(config, dict) and set(config) <= {"environment"}:
        return None
    if not isinstance(jobs, dict) or not jobs:
        raise _malformed(f'must have a "cluster" with the addresses of the workers, found {jobs!r}')
    for job, addresses in jobs.items():
        if job not in ("chief", "worker"):
            raise _malformed(
                f'"cluster" may contain only "worker" and "chief", found {job!r}: parameter '
                "servers and evaluators are unsupported"
            )
        if not isinstance(addresses, list) or not addresses:
            raise _malformed(f'"{job}" must be a list of host:port, found {addresses!r}')
    if len(jobs.get("chief", [])) > 1:
        raise _malformed(f'"chief" must be one address, found {jobs["chief"]!r}')
    tasks = [(job, i) for job in ("chief", "worker") for i in range(len(jobs.get(job, [])))]
    addresses = tuple(_address(jobs[job][i]) for job, i in tasks)
    if len(set(addresses)) < len(addresses):
        raise _malformed(f"every worker must have its own address, found {jobs!r}")
    task = config.get("task")
    here = (task.get("type"), task.get("index")) if isinstance(task, dict) else None
    if here is None or isinstance(here[1], bool) or here not in tasks:
        raise _malformed(
            f'"task" must be the "type" and "index" of one of the {len(tasks)} processes in '
            f'"cluster", found {task!r}'
        )
    if len(tasks) == 1:
        return None
    return Cluster(tuple(f"{job} {i}" for job, i in tasks), addresses, tasks.index(here))


def meet(
    cluster: Cluster,
    options: dict[str, Any],
    patience: float = TIMEOUT,
    say: Callable[[str], object] = print,
) -> None:
    """Waits until all workers are present and compares their options.

    Args:
        cluster: A `Cluster`.
        options: A JSON dict of everything that must be the same on all workers.
        patience: Timeout in seconds.
        say: Called with a message while workers are missing.

    Raises:
        ConfigError: A worker is missing after the timeout, its port is in use, or its options
            differ from the chief's. All present workers raise it.
    """
    mine = {
        "number": cluster.number,
        "workers": cluster.names,
        "options": options,
        "fault": None,
    }
    mine = json.loads(json.dumps(mine, default=str))
    meeting = _gather if cluster.is_chief else _join
    fault = meeting(cluster, mine, _Clock(patience, say))
    if fault:
        raise ConfigError(fault)


def _gather(cluster: Cluster, mine: dict[str, Any], clock: _Clock) -> str | None:
    """Runs on the chief: receives every worker's options and sends all the fault, or None."""
    server, fault = _listen(cluster)
    if server is None:
        return fault
    peers: dict[int, socket.socket] = {}
    said = {0: mine}
    with server:
        while len(said) < len(cluster) and not fault:
            fault = clock.tick([i for i in range(len(cluster)) if i not in said], cluster)
            if not _readable(server, 0.2):
                continue
            peer = server.accept()[0]
            theirs = _receive(peer)
            if (
                theirs is None
                or theirs.keys() != mine.keys()
                or theirs["number"] not in range(1, len(cluster))
            ):
                peer.close()  # Not a worker: anyone may connect to the port.
                continue
            number = theirs["number"]
            before = peers.pop(number, None)
            peers[number], said[number] = peer, theirs
            if before and not _readable(before, 0):  # Otherwise it has reconnected.
                fault = (
                    f"TF_CONFIG: two processes claim to be {cluster.names[number]}. Give each "
                    'its own "index".'
                )
                _send(before, {"fault": fault})
            if before:
                before.close()
        fault = fault or _difference(cluster, said)
        for peer in peers.values():
            _send(peer, {"fault": fault})
            peer.close()
    return fault


def _join(cluster: Cluster, mine: dict[str, Any], clock: _Clock) -> str | None:
    """Runs on the other workers: sends the options to the chief and receives the fault, or None."""
    server, mine["fault"] = _listen(cluster)  # TensorFlow will need the port.
    if server:
        server.close()
    while True:
        fault = clock.tick([0], cluster)
        if fault:
            return fault
        try:
            chief = socket.create_connection(cluster.addresses[0], timeout=2)
        except OSError:  # The chief has not started; its host name may not resolve yet.
            time.sleep(0.2)
            continue
        with chief:
            _send(chief, mine)
            # The chief reports missing workers, so wait a little longer than it does.
            others = _Clock(clock.patience + MESSAGE_INTERVAL, clock.say)
            while not _readable(chief, 0.5) and not fault:
                fault = others.tick([], cluster)
            # No answer, or another one, comes from an earlier run that has not ended yet.
            answer = None if fault else _receive(chief)
        if answer and "fault" in answer:
            return answer["fault"]
        time.sleep(0.2)


def _listen(cluster: Cluster) -> tuple[socket.socket | None, str | None]:
    """Opens a server at this worker's port; returns (server, None) or (None, fault)."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        address = ("", cluster.addresses[cluster.number][1])
        return socket.create_server(address, family=family, dualstack_ipv6=both), None
    except OSError as error:
        where = cluster.describe(cluster.number)
        return None, f"TF_CONFIG: {where} cannot listen on its port: {error.strerror}."


def _difference(cluster: Cluster, said: Mapping[int, dict[str, Any]]) -> str | None:
    """Describes how the first mismatched worker differs from the chief; None if all match."""
    chief = said[0]
    for number in range(1, len(cluster)):
        theirs = said[number]
        if theirs["fault"]:
            return theirs["fault"]
        if theirs["workers"] != chief["workers"]:
            return (
                f"TF_CONFIG: {cluster.describe(number)} has a cluster of "
                f"{len(theirs['workers'])} processes, {cluster.names[0]} one of {len(cluster)}. "
                'Give all workers the same "cluster".'
            )
        for name in (*chief["options"], *theirs["options"]):
            here, there = chief["options"].get(name), theirs["options"].get(name)
            if here != there:
                return (
                    f"{name}: {cluster.names[0]} has {here!r}, {cluster.describe(number)} "
                    f"{there!r}. Start all workers with the same options, versions and data."
                )
    return None


class _Clock:
    """Prints waiting messages, and reports a timeout."""

    def __init__(self, patience: float, say: Callable[[str], object]) -> None:
        self.started = self.said = time.monotonic()
        self.patience, self.say = patience, say

    def tick(self, missing: Iterable[int], cluster: Cluster) -> str | None:
        names = ", ".join(map(cluster.describe, missing)) or "the other workers"
        waited = time.monotonic() - self.started
        if waited > self.patience:
            return (
                f"{names}: missing after {self.patience:.0f} s. Start fcn-keras with the same "
                "options on every host of TF_CONFIG, and make sure that the hosts can reach each "
                "other's ports."
            )
        if time.monotonic() - self.said > MESSAGE_INTERVAL:
            self.said = time.monotonic()
            self.say(f"waiting for {names}, timeout in {self.patience - waited:.0f} s")
        return None


def _send(peer: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # A lost worker reconnects or times out.
        peer.sendall(json.dumps(message).encode() + b"\n")


def _receive(peer: socket.socket) -> dict[str, Any] | None:
    """Receives a dict as one line of JSON; None for anything else."""
    peer.settimeout(5)
    data = b""
    try:
        while not data.endswith(b"\n"):
            part = peer.recv(65536)
            data += part
            if not part or len(data) > 2**20:
                return None
        message = json.loads(data)
    except (OSError, ValueError):
        return None
    return message if isinstance(message, dict) else None


def _readable(peer: socket.socket, seconds: float) -> bool:
    return bool(select.select([peer], [], [], seconds)[0])


def _malformed(rule: str) -> ConfigError:
    return ConfigError(f"TF_CONFIG: {rule}. Example: {EXAMPLE}")


def _address(text: object) -> tuple[str, int]:
    """Splits "host:port" or "[::1]:port" into host and port."""
    host, _, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    name = host.strip("[]")
    is_name = name.isascii() and all(name.split(".")) and not set(name) & set("/ \t")
    if not is_name or not port.isdecimal() or not 0 < int(port) < 65536:
        raise _malformed(f"an address must be host:port with a port of 1 to 65535, found {text!r}")
    return name, int(port)
