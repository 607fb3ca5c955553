"""Measures requests per second of a served model, and what a change of version does to them.

The server is the tests' stand-in for TensorFlow Serving (`tests/helpers/model_server.py`: the same
graph in a session, behind the same gRPC interface) in a separate process. Clients are threads that
use `fcn_keras.serving.client`; each waits for its mask before it sends the next image. Images are
JPEG files of mixed sizes. After half of the requests a second version is published. No request may
fail, and memory at the end should equal that in the middle.

Run `python benchmarks/serving.py [--model RUN] [--requests 1000] [--clients 8]`.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

import fcn_keras
from fcn_keras.serving import client

SERVER = Path(__file__).parents[1] / "tests" / "helpers" / "model_server.py"
SIZES = [(120, 160), (31, 31), (240, 320), (337, 501), (3, 2000), (360, 480)]


def main():
    """Prints failures, latencies, throughput and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a run's folder or a model file [a tiny FCN-8s]")
    parser.add_argument("--requests", type=int, default=1000, help="number of requests [1000]")
    parser.add_argument("--clients", type=int, default=8, help="number of clients [8]")
    arguments = parser.parse_args()
    if arguments.model:
        model = fcn_keras.load(arguments.model).model
    else:
        model = fcn_keras.FCN8s(11, backbone="tiny", head_width=16, weights=None)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "street"
        fcn_keras.export(model, base)
        command = [sys.executable, str(SERVER), str(base)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            port = json.loads(server.stdout.readline())["grpc"]
            url = f"grpc://127.0.0.1:{port}/street"
            measure(arguments, url, server.pid, lambda: fcn_keras.export(model, base))
            server.stdin.close()


def measure(arguments, url, pid, publish):
    """Sends the requests, calls `publish` in the middle, and prints the results."""
    files, rng = [], np.random.default_rng(0)
    for height, width in SIZES:
        small = rng.integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), "uint8")
        file = io.BytesIO()
        Image.fromarray(small).resize((width, height)).save(file, "jpeg", quality=90)
        files.append(file.getvalue())
    for file in files:  # A warm-up, not measured.
        client.segment(url, file)
    memory, lock, done = {"start": resident(pid)}, threading.Lock(), 0
    publishing = threading.Thread(target=publish)

    def ask(number):
        nonlocal done
        size, start = SIZES[number % len(SIZES)], time.perf_counter()
        try:
            mask = client.segment(url, files[number % len(SIZES)])
            failure = None if mask.shape == size else f"a mask of {mask.shape} for {size}"
        except fcn_keras.FcnKerasError as error:
            failure = str(error)
        taken = time.perf_counter() - start
        with lock:
            done += 1
            if done == arguments.requests // 2:
                memory["middle"] = resident(pid)
                publishing.start()
        return taken, failure

    start = time.perf_counter()
    with ThreadPoolExecutor(arguments.clients) as clients:
        answers = list(clients.map(ask, range(arguments.requests)))
    seconds = time.perf_counter() - start
    publishing.join()
    swapped = wait_for_version(url, 2)
    memory["end"] = resident(pid)
    failures = [failure for _, failure in answers if failure]
    half, most = np.percentile([taken for taken, _ in answers], [50, 99]) * 1000
    print(
        f"{arguments.requests} requests of {len(SIZES)} sizes from {arguments.clients} clients, "
        f"{len(os.sched_getaffinity(0))} cores, a new version in the middle"
    )
    print(f"  failed       {len(failures)}")
    print(f"  latency      {half:.0f} ms median, {most:.0f} ms p99")
    print(f"  throughput   {arguments.requests / seconds:.0f} requests/s")
    print(f"  memory       {', '.join(f'{mb:.0f} MB at the {at}' for at, mb in memory.items())}")
    if failures or not swapped:
        raise SystemExit(failures[0] if failures else "The server did not load the new version.")


def wait_for_version(url, number, seconds=60):
    """Waits until the server answers with that version; returns whether it does."""
    end = time.monotonic() + seconds
    pixel = np.zeros((1, 1, 3), "uint8")
    while time.monotonic() < end:
        try:
            client.segment(f"{url}/versions/{number}", pixel)
            return True
        except fcn_keras.FcnKerasError:
            time.sleep(0.2)
    return False


def resident(pid):
    """Returns a process's resident memory in MB; NaN without /proc."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float("nan")
    return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
