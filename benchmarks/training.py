"""Measures images per second of an FCN-8s training step, of PyTorch and of the machine's limit.

A step is forward pass, loss, gradients, AdamW and confusion matrix. There are two models on VGG16:
`head4096` uses the default recipe, `camvid` the recipe of that name (a head of width 1024, the
first two blocks frozen). The PyTorch model is written below from plain layers: the same
multiplications, channels last, autocast, fused AdamW. It is skipped if PyTorch is not installed.

The limit is the best rate at which TensorFlow or PyTorch multiplies matrices in that precision.
"of peak" is the share of it that the step's convolutions reach, counting frozen layers without
their gradients. Ours and PyTorch's run in separate processes and take turns, step by step; medians
are reported. CPU seconds are more reliable than images/s while other programs are running, so the
share of the peak is given for both.

Run `python benchmarks/training.py [--only camvid] [--precision float32] [--crop 256 352]`.
"""

import argparse
import importlib.util
import multiprocessing
import os
import resource
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from machine import cores, machine

from fcn_keras.runs.resolve import resolve

MODELS = {"head4096": ("default", 21), "camvid": ("camvid", 11)}  # Recipe, number of classes.
VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # Width and convolutions per block.
CORES = cores()
WARM_UP = 2  # Steps that are not measured.


def main():
    """Prints a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=MODELS, help="run only this model")
    parser.add_argument(
        "--precision", choices=("auto", "float32", "mixed_bfloat16"), default="auto"
    )
    parser.add_argument(
        "--crop", type=int, nargs=2, help="height and width of the crops [from the recipe]"
    )
    parser.add_argument("--batch", type=int, help="crops per batch [from the recipe]")
    parser.add_argument("--repeats", type=int, default=7, help="measured steps [7]")
    arguments = parser.parse_args()
    print(machine())
    for net in [arguments.only] if arguments.only else MODELS:
        compare(net, arguments)


def compare(net, arguments):
    """Prints the time and memory of a step for each of the two."""
    recipe, classes = MODELS[net]
    options = {"precision": arguments.precision, "weights": None, "data": "none"}
    options |= {"batch_size": arguments.batch} if arguments.batch else {}
    options |= {"crop": arguments.crop} if arguments.crop else {}
    config = resolve(recipe, options)
    sides = {"fcn_keras": Worker(Ours, config, classes)}
    config = config.model_copy(update={"precision": sides["fcn_keras"].do("precision")})
    if importlib.util.find_spec("torch"):
        sides["PyTorch"] = Worker(Theirs, config, classes)
    else:
        print("PyTorch is not installed: its model is skipped.")
    steps, products = {name: [] for name in sides}, []
    for repetition in range(WARM_UP + arguments.repeats):
        for name, worker in sides.items():
            products.append(worker.do("multiply"))
            taken = worker.do("step")
            if repetition >= WARM_UP:
                steps[name].append(taken)
    memory = {name: worker.do("memory") for name, worker in sides.items()}
    flop = {name: worker.do("flop") for name, worker in sides.items()}
    for worker in sides.values():
        worker.end()
    if len(set(flop.values())) > 1:
        raise SystemExit(f"The models differ: {flop} operations per step.")

    (flop,) = set(flop.values())
    wall, cpu = (
        {name: statistics.median(taken[i] for taken in steps[name]) for name in sides}
        for i in (0, 1)
    )
    best, best_cpu = (max(product[i] for product in products) for i in (0, 1))
    height, width = config.crop
    print(
        f"{net}: batches of {config.batch_size} crops of {height} x {width}, {config.precision}, "
        f"medians of {arguments.repeats}; {flop / 1e9 / config.batch_size:.0f} "
        f"GFLOP per image, matrix product at {best / 1e9:.0f} GFLOP/s"
    )
    print(f"  {'':12}images/s  of peak   CPU s / image  of peak  memory")
    for name in sides:
        print(
            f"  {name:12}{config.batch_size / wall[name]:8.2f}{flop / wall[name] / best:9.2f}"
            f"{cpu[name] / config.batch_size:16.3f}{flop / cpu[name] / best_cpu:9.2f}"
            f"{memory[name] / 1e9:5.1f} GB"
        )
    if len(sides) > 1:
        ratios = [values["PyTorch"] / values["fcn_keras"] for values in (wall, cpu)]
        print(f"  ours is {ratios[0]:.2f} times as fast, {ratios[1]:.2f} times in CPU time")


class Worker:
    """A process that holds one of the two models and runs one task at a time."""

    def __init__(self, side, config, classes):
        """`side` is `Ours` or `Theirs`."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, side, config, classes))
        self.process.start()

    def do(self, name):
        """Runs a method of the side by name and returns its result."""
        self.connection.send(name)
        return self.connection.recv()

    def end(self):
        """Ends the process."""
        self.connection.send(None)
        self.process.join()


def serve(connection, side, config, classes):
    """Runs in a worker's process: builds a side and answers its requests."""
    rng = np.random.default_rng(0)
    shape = (config.batch_size, *config.crop)
    images = rng.integers(0, 256, (*shape, 3)).astype("uint8")
    masks = rng.integers(0, classes, shape).astype("uint8")
    masks[:, :16] = 255
    side = side(config, classes, images, masks)
    for name in iter(connection.recv, None):
        if name == "step":
            answer = timed(side.step)
        elif name == "multiply":
            size = 2048
            taken = [timed(side.multiply(size)) for _ in range(6)]
            answer = [2 * size**3 / min(column) for column in zip(*taken, strict=True)]
        elif name == "memory":
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        else:
            answer = getattr(side, name)()
        connection.send(answer)


def timed(run):
    """Returns wall seconds and CPU seconds (summed over all cores) of a run."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


class Ours:
    """The step that `fcn-keras train` runs."""

    def __init__(self, config, classes, images, masks):
        """Builds and compiles the model."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras
        import tensorflow as tf

        from fcn_keras.training.compiling import build_model, compile_model, resolve_precision

        self.used = resolve_precision(config.precision)
        keras.config.set_dtype_policy(self.used)
        self.dtype = keras.config.dtype_policy().compute_dtype
        self.images = images
        self.model = build_model(config, classes)
        compile_model(self.model, config, 1000, np.ones(classes))
        self.data = iter(tf.data.Dataset.from_tensors((images, masks)).repeat())
        self.model.make_train_function()

    def precision(self):
        """Returns the precision that "auto" resolves to."""
        return self.used

    def step(self):
        """Runs one step and waits for it."""
        float(self.model.train_function(self.data)["loss"])

    def multiply(self, size):
        """Returns a function that multiplies two matrices."""
        import tensorflow as tf

        a = tf.ones((size, size), self.dtype)
        return lambda: tf.matmul(a, a)[0, 0].numpy()

    def flop(self):
        """Counts the operations of a step's convolutions, two per multiplication."""
        import keras

        convs = [layer for layer in self.model.layers if isinstance(layer, keras.layers.Conv2D)]
        maps = keras.Model(self.model.input, [layer.output for layer in convs])(self.images)
        total, any_trained = 0, False
        for layer, scores in zip(convs, maps, strict=True):
            # Forward, the kernel's gradient, and the input's gradient if an earlier layer is
            # trained. The layers are in order, the frozen ones first.
            passes = 1 + layer.trainable + any_trained
            any_trained |= layer.trainable
            total += passes * 2 * int(np.prod(scores.shape[:3])) * int(np.prod(layer.kernel.shape))
        return total


class Theirs:
    """The same step in PyTorch."""

    def __init__(self, config, classes, images, masks):
        """Builds the model."""
        import torch

        self.torch, self.classes = torch, classes
        torch.set_num_threads(CORES)
        self.dtype = torch.float32 if config.precision == "float32" else torch.bfloat16
        self.net = torch_fcn8s(config, classes).to(memory_format=torch.channels_last)
        trained = [p for p in self.net.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, config.rate, weight_decay=config.weight_decay, fused=True
        )
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2)  # Channels last in memory.
        self.masks = torch.from_numpy(masks)
        self.mean = torch.tensor([123.68, 116.779, 103.939])[:, None, None]
        self.matrix = torch.zeros(classes * classes, dtype=torch.int64)

    def step(self):
        """Runs one step."""
        torch = self.torch
        self.optimizer.zero_grad()
        masks = self.masks.long()
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            scores = self.net(self.images.float() - self.mean)
        loss = torch.nn.functional.cross_entropy(scores, masks, ignore_index=255)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            valid = masks != 255
            cells = masks[valid] * self.classes + scores.argmax(1)[valid]
            self.matrix += torch.bincount(cells, minlength=self.classes**2)
        loss.item()

    def multiply(self, size):
        """Returns a function that multiplies two matrices."""
        a = self.torch.ones((size, size), dtype=self.dtype)
        return lambda: a @ a

    def flop(self):
        """Counts the operations of a step's convolutions with PyTorch's counter."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.step()
        counts = counter.get_flop_counts()["Global"]
        return sum(n for operation, n in counts.items() if "conv" in str(operation))


def torch_fcn8s(config, classes):
    """Builds FCN-8s from plain layers: `[b, 3, h, w]` -> `[b, classes, h, w]`, multiples of 32."""
    from torch import nn
    from torch.nn.functional import interpolate

    class FCN8s(nn.Module):
        def __init__(self):
            super().__init__()
            blocks, channels, width = [], 3, config.head_width
            for number, (filters, count) in enumerate(VGG16, start=1):
                block = []
                for _ in range(count):
                    block += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
                    channels = filters
                blocks.append(nn.Sequential(*block, nn.MaxPool2d(2)))
                blocks[-1].requires_grad_(f"block{number}" not in config.freeze)
            self.blocks = nn.ModuleList(blocks)
            top = []
            for size in (7, 1):
                conv = nn.Conv2d(channels, width, size, padding=size // 2)
                top += [conv, nn.ReLU(inplace=True), nn.Dropout(config.dropout)]
                channels = width
            self.top = nn.Sequential(*top)
            self.scores = nn.ModuleList(nn.Conv2d(c, classes, 1) for c in (width, 512, 256))

        def forward(self, x):
            maps = []
            for block in self.blocks:
                x = block(x)
                maps.append(x)
            taps = (self.top(x), maps[3], maps[2])
            scores = [score(tap).float() for score, tap in zip(self.scores, taps, strict=True)]
            x = scores[0]
            for finer in scores[1:]:
                x = interpolate(x, scale_factor=2, mode="bilinear") + finer
            return interpolate(x, scale_factor=8, mode="bilinear")

    return FCN8s()


if __name__ == "__main__":
    main()
