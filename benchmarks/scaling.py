"""Measures how time and memory of a prediction grow with pixels, batch size and cores.

FCN-8s on VGG16 runs in float32 with constant weights, as in an exported SavedModel. An FCN consists
of convolutions, so time and memory should grow in proportion to the pixels: the log-log slope
should be 1, and the milliseconds per megapixel constant. Memory is the process's peak minus its
memory with the model loaded and one pixel predicted; it is available on Linux only. Each table is
measured in separate processes that may use only the given cores.

Run `python benchmarks/scaling.py [--head-width 1024] [--backbone vgg16] [--repeats 5]`.
"""

import argparse
import ctypes
import gc
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIDES = (
    128,
    192,
    256,
    384,
    512,
    768,
    1024,
    1536,
)  # Ascending: memory is a peak so far.
BATCHES = 1, 2, 4, 8
SIDE = 384  # Image size for comparing batches and cores.
FIRST_PIXELS = 256**2  # In smaller images, padding to a multiple of 32 and the border dominate.


def main():
    """Prints the three tables and the slopes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vgg16", help="backbone [vgg16]")
    parser.add_argument("--head-width", type=int, default=1024, help="width of the head [1024]")
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs, of which the median is reported [5]"
    )
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    print(f"FCN-8s, {arguments.backbone}, head {arguments.head_width}, {len(cores)} cores\n")

    by_pixels = measure_alone(cores, arguments, [(1, side) for side in SIDES])
    print("| image | ms | ms per megapixel | MB | MB per megapixel |\n|---|---|---|---|---|")
    for (_, side), (seconds, memory) in by_pixels.items():
        megapixels = side**2 / 1e6
        print(
            f"| {side} x {side} | {1000 * seconds:.0f} | {1000 * seconds / megapixels:.0f} "
            f"| {memory:.0f} | {memory / megapixels:.0f} |"
        )
    large = {side**2: figures for (_, side), figures in by_pixels.items()}
    large = {pixels: figures for pixels, figures in large.items() if pixels >= FIRST_PIXELS}
    for what, values in zip(("time", "memory"), zip(*large.values(), strict=True), strict=True):
        print(f"slope of log {what} on log pixels: {slope(list(large), values):.2f}")

    print(f"\n| images of {SIDE} x {SIDE} per batch | ms per image | MB per image |\n|---|---|---|")
    for (count, _), (seconds, memory) in measure_alone(
        cores, arguments, [(count, SIDE) for count in BATCHES]
    ).items():
        print(f"| {count} | {1000 * seconds / count:.0f} | {memory / count:.0f} |")

    print(f"\n| cores, {SIDE} x {SIDE} | ms | speed-up over one core |\n|---|---|---|")
    one = None
    for count in [2**power for power in range(len(cores).bit_length())]:
        ((seconds, _),) = measure_alone(cores[:count], arguments, [(1, SIDE)]).values()
        one = one or seconds
        print(f"| {count} | {1000 * seconds:.0f} | {one / seconds:.2f} |")


def measure_alone(cores, arguments, shapes):
    """Returns seconds and MB by (count, side), measured in a separate process on these cores."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=os.sched_setaffinity, initargs=(0, cores)
    ) as process:
        return process.submit(measure, arguments, shapes).result()


def measure(arguments, shapes):
    """Measures the median seconds and peak MB for each (number of square images, side)."""
    import tensorflow as tf  # Imported here because it counts the cores on import.

    import fcn_keras
    from fcn_keras.prediction.frozen import freeze
    from fcn_keras.prediction.signature import class_ids

    tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    model = fcn_keras.FCN8s(
        21, backbone=arguments.backbone, head_width=arguments.head_width, weights=None
    )
    logits = freeze(model)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def masks(images):
        return class_ids(logits(images)[0])

    rng, found = np.random.default_rng(0), {}
    masks(tf.zeros((1, 1, 1, 3), tf.uint8))
    before = resident("VmRSS", forget=True)
    for count, side in shapes:
        images = tf.constant(rng.integers(0, 256, (count, side, side, 3), "uint8"))
        times = []
        for _ in range(arguments.repeats + 1):
            start = time.perf_counter()
            masks(images).numpy()
            times.append(time.perf_counter() - start)
        found[count, side] = statistics.median(times[1:]), resident("VmHWM") - before
    return found


def resident(which, *, forget=False):
    """Returns this process's MB now (VmRSS), or its peak since the last `forget` (VmHWM)."""
    if forget:  # Returns the memory used for building the model, and resets the peak.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/status").read_text().split(f"{which}:")[1].split()[0]) / 1024


def slope(pixels, values):
    """Returns the slope of the least-squares line through the logarithms."""
    return np.polyfit(np.log(pixels), np.log(values), 1)[0]


if __name__ == "__main__":
    main()
