"""Measures CPU time and images per second of the training pipeline, of decoding and of PyTorch.

Decoding alone, with the same reader on all cores, is the lower limit of the CPU time. "Without
tf.data" reads, checks and augments in one thread; what `train_dataset` takes above that is the
cost of its threads and of tf.data. CPU time is that of the whole process and all its threads; it
says more than images/s while other programs are running.

PyTorch's DataLoader uses the same transform and one worker process per core; once with Pillow, as
in most scripts, and once with our reader. Its CPU time, in other processes, is not shown. It is
skipped if PyTorch is not installed.

Run `python benchmarks/input_pipeline.py [--images 600] [--data voc2012 --data-dir DIR]`.
Without --data it creates images of PASCAL VOC's image and file size in a temporary folder.
"""

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from machine import cores, machine
from PIL import Image

import pipelines
from pipelines.batches.augment import seed_and_apply, transform

BATCH = 8
CORES = cores()


def main():
    """Prints a table for each crop size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=600, help="images per epoch [600]")
    parser.add_argument(
        "--crops", type=int, nargs="+", default=[320, 480], help="crop sizes [320 480]"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measured epochs [5]")
    parser.add_argument("--data", help="a data set to use instead of generated images")
    parser.add_argument("--data-dir", help="the data set's folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data:
            split = pipelines.read(arguments.data, "train", arguments.data_dir)
            numbers = np.arange(arguments.images) % len(split)
            split = replace(split, examples=tuple(split.examples[n] for n in numbers))
        else:
            split = make_voc_like(Path(folder), arguments.images)
        for crop in arguments.crops:
            compare(split, crop, arguments.rounds)


def compare(split, crop, rounds):
    """Prints the median CPU time and rate of each method, and their ratios."""
    augmentation = pipelines.Augmentation((crop, crop), scale=(0.75, 1.5), colour=0.5)
    ds = pipelines.train_dataset(split, batch_size=BATCH, augmentation=augmentation)
    methods = {
        "decoding alone": lambda: decode(split),
        "without tf.data": lambda: augment(split, augmentation),
        "pipelines.train_dataset": lambda: [None for _ in ds],
    }
    for name, read in (("Pillow", with_pillow), ("our reader", with_our_reader)):
        loader = torch_loader(split, augmentation, read)
        if loader is not None:
            methods[f"DataLoader, {name}"] = lambda loader=loader: [None for _ in loader]
    seconds, cpu = {name: [] for name in methods}, {name: [] for name in methods}
    for repetition in range(rounds + 1):  # The first one is a warm-up.
        for name, run in methods.items():
            started, busy = time.perf_counter(), time.process_time()
            run()
            if repetition:
                seconds[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - busy)
    print(f"{machine()}\n{crop} x {crop} crops, batches of {BATCH}, medians of {rounds}")
    print(f"  {'':26s}CPU us / image   / decoding   images/s")
    decoding = statistics.median(cpu["decoding alone"])
    for name in methods:
        rate, busy = len(split) / statistics.median(seconds[name]), statistics.median(cpu[name])
        shares = f"{busy / len(split) * 1e6:14.0f}{busy / decoding:13.2f}"
        print(f"  {name:26s}{'' if 'DataLoader' in name else shares:27s}{rate:11.0f}")


def make_voc_like(folder, count):
    """Creates VOC-like pairs: 500 x 375, JPEGs of about 90 KB, palette PNGs of large regions."""
    examples = []
    for number in range(count):
        rng = np.random.default_rng(number)
        noise = sum(
            np.kron(rng.normal(0, 30, (-(-375 // s), -(-500 // s), 3)), np.ones((s, s, 1)))[
                :375, :500
            ]
            for s in (1, 2, 8, 56)
        )
        image = np.clip(128 + 0.6 * noise, 0, 255).astype("uint8")
        regions = rng.choice([0, 0, 0, 5, 15, 255], (5, 10)).astype("uint8")
        mask = Image.fromarray(np.kron(regions, np.ones((75, 50), "uint8")))
        mask.putpalette(pipelines.distinct_palette(256).tobytes())
        paths = folder / f"{number}.jpg", folder / f"{number}.png"
        Image.fromarray(image).save(paths[0], quality=80)
        mask.save(paths[1])
        examples.append(pipelines.Example(f"{number}", *paths))
    template = pipelines.read("synthetic", "val")
    values = {**{value: min(value, 4) for value in range(21)}, 255: 255}
    return replace(template, name="generated", examples=tuple(examples), mask_values=values)


def decode(split):
    """Reads every image and mask on all cores, and discards them."""

    def read(example):
        pipelines.read_image(example.image), pipelines.read_mask(example.mask)

    with ThreadPoolExecutor(CORES) as pool:
        for _ in pool.map(read, split.examples):
            pass


def augment(split, augmentation):
    """Reads and augments every example in this thread, and discards it."""
    compose = transform(augmentation)
    for index in range(len(split)):
        seed_and_apply(compose, *pipelines.read_example(split, index), index)


class Pairs:
    """A map-style data set as a PyTorch user would write it."""

    def __init__(self, split, augmentation, read):
        """`read` returns the image and mask of an example."""
        self.split, self.augmentation, self.read = split, augmentation, read
        self.compose = None

    def __len__(self):
        """Returns the number of examples."""
        return len(self.split)

    def __getitem__(self, index):
        """Returns one augmented example."""
        if self.compose is None:
            self.compose = transform(self.augmentation)
        return seed_and_apply(self.compose, *self.read(self.split.examples[index]), index)


def with_pillow(example):
    """Reads an example with Pillow alone."""
    with Image.open(example.image) as image, Image.open(example.mask) as mask:
        return np.asarray(image.convert("RGB")), np.asarray(mask)


def with_our_reader(example):
    """Reads an example with `pipelines`, including its file checks."""
    return pipelines.read_image(example.image), pipelines.read_mask(example.mask)


def torch_loader(split, augmentation, read):
    """Builds a DataLoader with one worker process per core; None without PyTorch."""
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        print("PyTorch is not installed: its DataLoader is skipped.")
        return None
    return DataLoader(
        Pairs(split, augmentation, read),
        batch_size=BATCH,
        shuffle=True,
        num_workers=CORES,
        drop_last=True,
        persistent_workers=True,
        multiprocessing_context="spawn",  # TensorFlow's threads do not survive a fork.
    )


if __name__ == "__main__":
    main()
