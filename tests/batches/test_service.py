import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pipelines
from pipelines.batches import service

OPTIONS = {
    "batch_size": 4,
    "augmentation": pipelines.Augmentation(crop=(48, 64), scale=(0.8, 1.2), colour=0.5),
    "seed": 3,
}


def three_ports():
    """The first of three consecutive free ports."""
    while True:
        with socket.create_server(("", 0)) as first:
            port = first.getsockname()[1]
            if port > 65533:
                continue
            try:
                for after in (1, 2):
                    socket.create_server(("", port + after)).close()
            except OSError:
                continue
            return port


@pytest.fixture(scope="module")
def split():
    return pipelines.read("synthetic", "train")


@pytest.fixture(scope="module")
def server(split):
    """The port of a server in this process."""
    return service.Server(split, three_ports(), "127.0.0.1").port


def same_batches(one, two, count):
    pairs = zip(one.take(count), two.take(count), strict=True)
    return [all(np.array_equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairs] == [
        True
    ] * count


@pytest.mark.parametrize(
    "choice", [{}, {"shard": (1, 2)}, {"augmentation": pipelines.Augmentation(crop=None)}]
)
def test_server_makes_the_same_batches(split, server, choice):
    options = {**OPTIONS, **choice, "start": (1, 37)}  # Three steps before the end of the epoch.
    served = service.served_dataset([("127.0.0.1", server)], split, **options)
    local = pipelines.train_dataset(split, **options)
    assert served.element_spec == local.element_spec
    assert served.cardinality() == local.cardinality()
    assert same_batches(served, local, 50)


@pytest.mark.slow
def test_several_servers_take_turns(split, server):
    port = three_ports()
    command = ["data", "serve", "synthetic", "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fcn_keras", *command],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == (
                f"serving synthetic train, 160 examples, on ports {port} to {port + 2}. Train "
                f"with --data-service grpc://127.0.0.1:{port}\n"
            )
            both = [("127.0.0.1", server), ("127.0.0.1", port)]
            served = service.served_dataset(both, split, start=(0, 5), **OPTIONS)
            local = pipelines.train_dataset(split, start=(0, 5), **OPTIONS)
            assert same_batches(served, local, 60)
            lost = []
            service.watch([("127.0.0.1", port)], lost.append, silence=1.2)
            unheard = []
            service.watch([("127.0.0.1", port)], unheard.append, silence=1.2).set()
            time.sleep(2)
            assert lost == []
        finally:
            process.terminate()
    deadline = time.monotonic() + 20
    while not lost and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lost[0].startswith(f"--data-service grpc://127.0.0.1:{port}: has not answered for 1 s.")
    assert unheard == []  # It was stopped before.


def test_epoch_length_needs_no_server(split):
    nobody = [("127.0.0.1", 1)]
    assert service.served_dataset(nobody, split, **OPTIONS).cardinality() == 40


def test_missing_server_is_named(split):
    port = three_ports()
    with pytest.raises(pipelines.DataError, match=f"grpc://127.0.0.1:{port}: no answer from port"):
        service.served_dataset([("127.0.0.1", port)], split, start=(0, 0), **OPTIONS)


def test_server_with_other_data_is_rejected(server):
    other = pipelines.read("synthetic", "test")
    with pytest.raises(pipelines.DataError, match="synthetic train on 127.0.0.1 has no example"):
        service.served_dataset([("127.0.0.1", server)], other, start=(0, 0), **OPTIONS)


def test_server_errors_reach_the_client(split, server):
    options = {**OPTIONS, "shard": (0, 3)}
    with pytest.raises(pipelines.DataError, match="4 images cannot be shared by 3 workers"):
        service.served_dataset([("127.0.0.1", server)], split, start=(0, 0), **options)


def test_unreachable_host_is_named(split):
    port = service.Server(split, three_ports(), "nowhere.invalid").port
    with pytest.raises(pipelines.DataError, match="cannot be reached at nowhere.invalid"):
        service.served_dataset([("127.0.0.1", port)], split, start=(0, 0), **OPTIONS)


def test_port_in_use_is_named(split, server):
    with pytest.raises(pipelines.DataError, match=f"port {server}: this port and the next two"):
        service.Server(split, server)


@pytest.mark.parametrize("text", ["host", "host:", "http://host:1", "host:99999", "a:1,,b:2"])
def test_malformed_address_is_rejected(text):
    with pytest.raises(pipelines.DataError, match="must be grpc://host:port"):
        service.parse_addresses(text)


def test_addresses_are_parsed():
    text = "grpc://a:5050, grpc://[::1]:6060,b:7"
    assert service.parse_addresses(text) == [("a", 5050), ("::1", 6060), ("b", 7)]
