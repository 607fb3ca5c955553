"""Measures requests per second and latency of a served model, beside the model's own rate.

The server is the tests' stand-in for TensorFlow Serving (`tests/helpers/model_server.py`: the same
graph in a session, behind the same gRPC interface, eight requests at a time) in a separate process
on the same cores. Clients are threads that use `fcn_keras.serving.client`; each waits for its mask
before it sends the next image. Images are JPEG files of mixed sizes.

"model alone" is the rate of the same session with the same files in this process, called by as many
threads, without a server and a client: "share" is how much of it the clients get.

At last, with the most clients, a second version is published after half of the requests. No request
may fail, and memory at the end should equal that in the middle.

Run `python benchmarks/serving.py [--model RUN] [--requests 400] [--clients 1 4 16]`.
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
from machine import machine
from PIL import Image

import fcn_keras
from fcn_keras.serving import client
from fcn_keras.serving.messages import ENCODED, IMAGE_BYTES

HELPERS = Path(__file__).parents[1] / "tests" / "helpers"
SERVER = HELPERS / "model_server.py"
SIZES = [(120, 160), (31, 31), (240, 320), (337, 501), (3, 2000), (360, 480)]


def main():
    """Prints throughput and latency by number of clients, then failures and memory of a swap."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a run's folder or a model file [a tiny FCN-8s]")
    parser.add_argument(
        "--requests", type=int, default=400, help="requests for each number of clients [400]"
    )
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[1, 4, 16], help="numbers of clients [1 4 16]"
    )
    arguments = parser.parse_args()
    if arguments.model:
        model = fcn_keras.load(arguments.model).model
    else:
        model = fcn_keras.FCN8s(11, backbone="tiny", head_width=16, weights=None)
    print(machine())
    print(f"{model.name}, {arguments.requests} requests of {len(SIZES)} sizes each, over gRPC\n")
    files = jpeg_files()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "street"
        fcn_keras.export(model, base)
        alone = own_rates(base, files, arguments)
        command = [sys.executable, str(SERVER), str(base)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            port = json.loads(server.stdout.readline())["grpc"]
            url = f"grpc://127.0.0.1:{port}/street"
            for file in files:  # A warm-up, not measured.
                client.segment(url, file)
            show_rates(url, files, alone, arguments)
            swap(url, files, server.pid, lambda: fcn_keras.export(model, base), arguments)
            server.stdin.close()


def jpeg_files():
    """Returns JPEG files of `SIZES`."""
    files, rng = [], np.random.default_rng(0)
    for height, width in SIZES:
        small = rng.integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), "uint8")
        file = io.BytesIO()
        Image.fromarray(small).resize((width, height)).save(file, "jpeg", quality=90)
        files.append(file.getvalue())
    return files


def own_rates(base, files, arguments):
    """Returns the requests per second of the server's session without the server, by threads."""
    sys.path.append(str(HELPERS))
    from model_server import Version

    version = Version(next(path for path in base.iterdir() if path.name.isdecimal()))

    def run(number):
        version.run(ENCODED, {IMAGE_BYTES: np.array([files[number % len(files)]], object)})

    for number in range(len(files)):
        run(number)
    rates = {}
    for threads in arguments.clients:
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, range(arguments.requests)))
        rates[threads] = arguments.requests / (time.perf_counter() - start)
    version.session.close()
    return rates


def show_rates(url, files, alone, arguments):
    """Prints a row for each number of clients."""
    print(
        "| clients | requests/s | model alone | share | median | p99 |\n|---|---|---|---|---|---|"
    )
    for clients in arguments.clients:
        times, failures, seconds = send(url, files, arguments.requests, clients)
        if failures:
            raise SystemExit(failures[0])
        rate, (half, most) = arguments.requests / seconds, np.percentile(times, [50, 99]) * 1000
        print(
            f"| {clients} | {rate:.0f} | {alone[clients]:.0f} | {rate / alone[clients]:.2f} "
            f"| {half:.0f} ms | {most:.0f} ms |"
        )


def send(url, files, requests, clients, in_the_middle=None):
    """Sends the requests; returns the seconds of each, the failures, and the seconds in all."""
    lock, done = threading.Lock(), 0

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
            if in_the_middle and done == requests // 2:
                in_the_middle()
        return taken, failure

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(ask, range(requests)))
    seconds = time.perf_counter() - start
    failures = [failure for _, failure in answers if failure]
    return [taken for taken, _ in answers], failures, seconds


def swap(url, files, pid, publish, arguments):
    """Publishes a version among the requests, and prints failures, latency and memory."""
    memory, publishing = {"start": resident(pid)}, threading.Thread(target=publish)

    def in_the_middle():
        memory["middle"] = resident(pid)
        publishing.start()

    clients = max(arguments.clients)
    times, failures, _ = send(url, files, arguments.requests, clients, in_the_middle)
    publishing.join()
    swapped = wait_for_version(url, 2)
    memory["end"] = resident(pid)
    print(f"\nA new version in the middle, {clients} clients")
    print(f"  failed       {len(failures)}")
    print(f"  p99          {1000 * np.percentile(times, 99):.0f} ms")
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
