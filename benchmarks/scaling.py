"""Measures how a prediction's cost grows with pixels, classes, images per batch and workers.

FCN-8s on VGG16 runs in float32 with constant weights, as in an exported SavedModel, from uint8
pixels to class ids. An FCN consists of convolutions, so time and memory should grow in proportion
to the pixels and to the images, and more workers should not make the images of each slower.

Memory is the process's peak minus its memory with the model loaded and one pixel predicted; it is
available on Linux only. Each table is measured in separate processes that may use only the given
cores. Workers are processes of one core each that predict at the same time.

The last table says for each axis from where a cost is superlinear: where it grows by more than the
axis to the power 1.1 between two neighbours, and what does it. It uses CPU time, which includes
waits for memory but not the work of other programs.

Run `python benchmarks/scaling.py [--head-width 1024] [--backbone vgg16] [--repeats 3]
[--largest 1024]`.
"""

import argparse
import ctypes
import gc
import math
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from machine import machine

CONTEXT = get_context("spawn")
SIDES = 128, 192, 256, 384, 512, 768, 1024, 1536  # Ascending: memory is a peak so far.
CLASSES = 2, 21, 150, 1000
BATCHES = 1, 2, 4
SIDE = 384  # Image size for comparing classes, batches and workers.
USUAL = 21  # Classes for comparing the others.
together = None  # The barrier of a worker's process.
ALLOWED = 1.1  # Exponents above this are superlinear; noise stays below it.
NOTED = 50  # MB below which memory says nothing: it is memory that building the model has freed.
WHY = {  # Of CPU time and of memory.
    "pixels": (
        "a convolution waits for memory once its maps, 256 bytes per pixel in the first block of "
        "VGG16, no longer fit into the cache, {cache}",
        "linear beyond about 100 MB that building the model has freed and that small images reuse; "
        "so large ones seem dearer",
    ),
    "classes": (
        "the last layer and the argmax pass over classes x pixels logits, the only maps of full "
        "size; below that, the network's own cost hides them",
        "the logits take 4 bytes per class and pixel; below that, the first block's maps are "
        "larger. Tiles bound both",
    ),
    "images": ("all images share the cache, {cache}", "as for pixels"),
    "workers": ("all workers share the memory's bandwidth and the last cache, {cache}", "unknown"),
}


class Shape(NamedTuple):
    """What one prediction computes."""

    images: int = 1
    side: int = SIDE
    classes: int = USUAL


def main():
    """Prints a table for each axis, and where it is superlinear."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vgg16", help="backbone [vgg16]")
    parser.add_argument("--head-width", type=int, default=1024, help="width of the head [1024]")
    parser.add_argument("--largest", type=int, default=1024, help="longest side [1024]")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs, of which the median is reported [3]"
    )
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    print(machine())
    print(f"FCN-8s, {arguments.backbone}, head {arguments.head_width}, {USUAL} classes, {SIDE} px")
    sides = [side for side in SIDES if side <= arguments.largest]
    axes = {
        "pixels": [(side**2, Shape(side=side)) for side in sides],
        "classes": [(number, Shape(classes=number)) for number in CLASSES],
        "images": [(count, Shape(images=count)) for count in BATCHES],
    }
    found = {axis: table(cores, arguments, axis, points) for axis, points in axes.items()}
    found["workers"] = workers(cores, arguments)
    summarise(found)


def table(cores, arguments, axis, points):
    """Measures and prints the points of an axis; returns their (CPU seconds, MB) by value."""
    print(f"\n| {axis} | ms | CPU ms | MB | CPU ms each | MB each |\n|---|---|---|---|---|---|")
    found = {}
    for classes in dict.fromkeys(shape.classes for _, shape in points):
        part = [(x, shape) for x, shape in points if shape.classes == classes]
        with alone(cores) as process:
            results = process.submit(measure, arguments, [shape for _, shape in part]).result()
        for (x, shape), (seconds, cpu, memory) in zip(part, results, strict=True):
            each, name = (x / 1e6, f"{shape.side} x {shape.side}") if axis == "pixels" else (x, x)
            print(
                f"| {name} | {1000 * seconds:.0f} | {1000 * cpu:.0f} | {memory:.0f} "
                f"| {1000 * cpu / each:.1f} | {memory / each:.1f} |"
            )
            found[x] = cpu, memory
    print("Each: per megapixel." if axis == "pixels" else f"Each: divided by the {axis}.")
    return found


def workers(cores, arguments):
    """Measures processes of one core each that predict at the same time, by their number."""
    found = {}
    print("\n| workers | images/s of all | CPU ms per image | MB of all |\n|---|---|---|---|")
    for count in [2**power for power in range(len(cores).bit_length()) if 2**power <= len(cores)]:
        barrier = CONTEXT.Barrier(count)
        pools = [alone([core], barrier) for core in cores[:count]]
        tasks = [pool.submit(measure, arguments, [Shape()]) for pool in pools]
        each = [task.result()[0] for task in tasks]
        for pool in pools:
            pool.shutdown()
        rate, memory = sum(1 / seconds for seconds, _, _ in each), sum(mb for _, _, mb in each)
        cpu = sum(taken for _, taken, _ in each)
        print(f"| {count} | {rate:.2f} | {1000 * cpu / count:.0f} | {memory:.0f} |")
        found[count] = cpu, memory
    return found


def summarise(found):
    """Prints for each axis how the costs grow, and where and why they are superlinear."""
    print("\n| axis | CPU time | memory | superlinear | why |\n|---|---|---|---|---|")
    for axis, figures in found.items():
        cpu, cpu_at = growth({x: seconds for x, (seconds, _) in figures.items()})
        memory, memory_at = growth({x: mb for x, (_, mb) in figures.items() if mb >= NOTED})
        steep = zip(("CPU time", "memory"), (cpu_at, memory_at), WHY[axis], strict=True)
        where = [
            (f"{what} between {at[0]:,} and {at[1]:,}", f"{what}: {why.format(cache=last_cache())}")
            for what, at, why in steep
            if at
        ]
        columns = zip(*(where or [("nowhere", "")]), strict=True)
        places, reasons = ("; ".join(column) for column in columns)
        print(f"| {axis} | {cpu:.2f} | {memory:.2f} | {places} | {reasons} |")
    print("CPU time and memory: the power of the axis with which they grow, from end to end.")


def alone(cores, barrier=None):
    """Returns a new process that may use only these cores."""
    return ProcessPoolExecutor(
        1, mp_context=CONTEXT, initializer=prepare, initargs=(cores, barrier)
    )


def prepare(cores, barrier):
    """Runs first in a process: limits it to these cores, and keeps the barrier for `measure`."""
    global together
    os.sched_setaffinity(0, cores)
    together = barrier


def measure(arguments, shapes):
    """Returns the median seconds and CPU seconds, and the peak MB, of shapes of equal classes."""
    import tensorflow as tf  # Imported here because it counts the cores on import.

    import fcn_keras
    from fcn_keras.prediction.frozen import freeze
    from fcn_keras.prediction.signature import class_ids

    tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    model = fcn_keras.FCN8s(
        shapes[0].classes,
        backbone=arguments.backbone,
        head_width=arguments.head_width,
        weights=None,
    )
    logits = freeze(model)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def masks(images):
        return class_ids(logits(images)[0])

    rng, found = np.random.default_rng(0), []
    masks(tf.zeros((1, 1, 1, 3), tf.uint8))
    before = resident("VmRSS", forget=True)
    for shape in shapes:
        size = (shape.images, shape.side, shape.side, 3)
        images = tf.constant(rng.integers(0, 256, size, "uint8"))
        masks(images).numpy()
        if together:
            together.wait()  # So that all workers predict at the same time.
        times = []
        for _ in range(arguments.repeats):
            start = time.perf_counter(), time.process_time()
            masks(images).numpy()
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        found.append((wall, cpu, resident("VmHWM") - before))
    return found


def growth(values):
    """Returns the power with which values grow with their keys, and the keys where by too much.

    The power is that from end to end; too much is a power above `ALLOWED` between two neighbours,
    of which the first two are returned, or None.
    """
    points = list(values.items())
    if len(points) < 2:
        return math.nan, None
    pairs = list(zip(points, points[1:], strict=False))
    steep = [(one[0], two[0]) for one, two in pairs if slope(one, two) > ALLOWED]
    return slope(points[0], points[-1]), steep[0] if steep else None


def slope(one, two):
    """Returns the slope between two points, on logarithmic axes."""
    (x1, y1), (x2, y2) = one, two
    return math.log(y2 / y1) / math.log(x2 / x1)


def last_cache():
    """Returns the size of the last-level cache as Linux tells it, such as "32768K"."""
    sizes = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    return sizes[-1].read_text().strip() if sizes else "size unknown"


def resident(which, *, forget=False):
    """Returns this process's MB now (VmRSS), or its peak since the last `forget` (VmHWM)."""
    if forget:  # Returns the memory used for building the model, and resets the peak.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/status").read_text().split(f"{which}:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
