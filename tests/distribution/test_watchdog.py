import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

CODE = """
import sys, time
from fcn_keras.distribution.watchdog import time_limit
with time_limit(float(sys.argv[1]), "error: too late"):
    print("in", flush=True)
    time.sleep(float(sys.argv[2]))
print("out", flush=True)
"""


def start(limit, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(limit), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_block_in_time_goes_on():
    with start(60, 0) as process:
        assert process.communicate(timeout=30) == ("in\nout\n", "")
    assert process.returncode == 0


def test_a_late_process_is_killed_with_a_line():
    with start(0.5, 600) as process:
        assert process.communicate(timeout=30) == ("in\n", "error: too late\n")
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_group_ends_a_process_that_is_deaf_to_it(number):
    with start(600, 600) as process:
        process.stdout.readline()
        os.killpg(process.pid, number)
        process.communicate(timeout=30)
    assert process.returncode < 0


# TensorFlow's C++ code holds the GIL and catches SIGTERM.
ALONE = """
import sys
from fcn_keras.distribution import workers
workers.START_LIMIT = 3.0
print("in", flush=True)
workers.strategy()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_whose_peer_has_died_ends(number, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        places = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    config = {"cluster": {"worker": places}, "task": {"type": "worker", "index": number}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=200
    )
    assert done.stdout == "in\n" and time.monotonic() - start < 120
    assert done.returncode == -signal.SIGKILL
    assert "error: TF_CONFIG: TensorFlow has not started on all workers within 3 s." in done.stderr
