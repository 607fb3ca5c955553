"""Measures the time per mask of this package's exports and of the usual alternatives.

The task is FCN-8s on VGG16 with the 4096-wide head, one image, from uint8 pixels to class ids.
"ours" uses the `same` geometry. The peers are the reference implementation's model, with its
padding of 100 pixels, in TensorFlow, PyTorch (channels last), ONNX Runtime and OpenVINO, all with
the same weights. "frozen" is the function inside an exported SavedModel. "oneDNN" turns on
TensorFlow's oneDNN, which is off by default on processors without AVX512. Each row runs in a
separate process, because within a process oneDNN may reuse for one graph what it prepared for
another.

The ratio is to the fastest peer of the same precision. GFLOP are counted in the graph of the row's
geometry. The peak is a 2048 x 2048 matrix product in the same run, before and after the rows, the
faster of TensorFlow and PyTorch. Error (relative to the largest logit) and agreement (of masks) are
relative to Keras in float32 with the same geometry. bfloat16 rows are skipped on processors without
bfloat16 instructions, because emulation takes minutes.

Run `python benchmarks/inference.py [--model RUN] [--image FILE] [--size 375x500]
[--only NAME ...]`. A narrower head is widened to 4096 without changing what it computes.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from machine import machine

import fcn_keras
from fcn_keras.errors import ConfigError
from fcn_keras.prediction import engines
from fcn_keras.prediction.frozen import freeze
from fcn_keras.prediction.precision import in_precision
from fcn_keras.prediction.signature import class_ids
from fcn_keras.serving.writers.engine_file import write_engine
from fcn_keras.training.compiling import resolve_precision
from pipelines import read_image

WIDTH = 4096
CALIBRATION = 8  # Number of crops of the image.
MATRIX = 2048
REFERENCE_CROPS = 5, 9, 31
ONEDNN = (("TF_ENABLE_ONEDNN_OPTS", "1"),)


class Candidate(NamedTuple):
    """A row of the table: `make` returns a function of an image `[1, h, w, 3]`."""

    name: str
    precision: str
    geometry: str
    make: object
    environment: tuple = ()  # (variable, value)

    @property
    def is_peer(self):
        """Whether it is an alternative to this package."""
        return self.geometry == "reference"


def main():
    """Prints a table and the goals for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a trained FCN-8s on VGG16 [random weights, 21 classes]")
    parser.add_argument("--image", help="an image, which is resized [noise of several scales]")
    parser.add_argument(
        "--size", action="append", help="HEIGHTxWIDTH, repeatable [375x500 and 500x500]"
    )
    parser.add_argument("--repeats", type=int, default=7, help="measured runs [7]")
    parser.add_argument("--only", nargs="+", help="names of the rows to run")
    arguments = parser.parse_args()
    sizes = [tuple(map(int, s.split("x"))) for s in arguments.size or ("375x500", "500x500")]
    images = {size: picture(arguments.image, size) for size in sizes}
    precisions = ["float32", "int8"]
    if resolve_precision("auto") == "mixed_bfloat16":
        precisions.append("bfloat16")
    models = build_models(arguments.model)
    work = {size: {name: gflop(model, size) for name, model in models.items()} for size in sizes}
    expected = {
        (geometry, size): logits_of(model)(images[size]).numpy()
        for geometry, model in models.items()
        for size in sizes
    }
    kinds = [precision for precision in precisions if precision != "int8"]
    peaks = {precision: peak(precision) for precision in kinds}
    with tempfile.TemporaryDirectory() as folder:
        chosen = [
            candidate
            for candidate in candidates(models, Path(folder), images[sizes[0]])
            if candidate.name in (arguments.only or [candidate.name])
            and candidate.precision in precisions
        ]
        rows = {size: [] for size in sizes}
        for candidate in chosen:
            print(f"... {candidate.name}", file=sys.stderr, flush=True)
            task = candidate.name, Path(folder), images, expected, arguments
            try:
                found = measure_alone(*task, candidate.environment)
            except (ImportError, ConfigError) as error:  # Not installed.
                print(f"{candidate.name}: skipped ({error})")
                continue
            for size, measured in found.items():
                rows[size].append((candidate, *measured))
                ms = f"    {size[0]} x {size[1]}: {measured[0]:.0f} ms"
                print(ms, file=sys.stderr, flush=True)
    peaks = {precision: max(value, peak(precision)) for precision, value in peaks.items()}
    print(machine())
    for size in sizes:
        show(size, rows[size], work[size], peaks)


def candidates(models, folder, image):
    """Lists all candidates, peers first."""
    ours, reference = models["same"], models["reference"]

    def engine(model, name, format, precision="float32", opened=None):
        def make():
            path = folder / name
            if not path.exists():
                crops = calibration(image) if precision == "int8" else None
                write_engine(model, path, format, precision=precision, calibration=crops)
            return engines.open_engine(path, precision=opened)

        return make

    rows = [
        ("Keras predict, reference", "float32", "reference", lambda: keras_predict(reference)),
        ("PyTorch", "float32", "reference", lambda: pytorch(reference, None)),
        ("PyTorch bf16", "bfloat16", "reference", lambda: pytorch(reference, "bfloat16")),
        (
            "OpenVINO f32, reference",
            "float32",
            "reference",
            engine(reference, "r.xml", "openvino", opened="f32"),
        ),
        (
            "OpenVINO bf16, reference",
            "bfloat16",
            "reference",
            engine(reference, "r.xml", "openvino", opened="bf16"),
        ),
        ("ONNX Runtime, reference", "float32", "reference", engine(reference, "r.onnx", "onnx")),
        ("ours, Keras predict", "float32", "same", lambda: keras_predict(ours)),
        ("ours, variables", "float32", "same", lambda: masks_of(logits_of(ours))),
        ("ours, frozen", "float32", "same", lambda: masks_of(freeze(ours))),
        (
            "ours, frozen, oneDNN",
            "float32",
            "same",
            lambda: masks_of(freeze(ours)),
            ONEDNN,
        ),
        (
            "ours, frozen bf16",
            "bfloat16",
            "same",
            lambda: masks_of(freeze(in_precision(ours, "bfloat16"))),
            ONEDNN,
        ),
        ("ours, OpenVINO f32", "float32", "same", engine(ours, "o.xml", "openvino", opened="f32")),
        (
            "ours, OpenVINO bf16",
            "bfloat16",
            "same",
            engine(ours, "o.xml", "openvino", opened="bf16"),
        ),
        ("ours, OpenVINO int8", "int8", "same", engine(ours, "q.xml", "openvino", "int8")),
        ("ours, ONNX Runtime", "float32", "same", engine(ours, "o.onnx", "onnx")),
    ]
    return [Candidate(*row) for row in rows]


def measure_alone(name, folder, images, expected, arguments, environment):
    """Runs `measure` for each size in a separate process; returns the results by size."""
    with mock.patch.dict(os.environ, environment):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            task = measure_named, name, folder, images, expected, arguments
            return process.submit(*task).result()


def measure_named(name, folder, images, expected, arguments):
    """Runs in the process of `measure_alone`; the first of `images` is used for calibration."""
    models, image = build_models(arguments.model), next(iter(images.values()))
    (candidate,) = (one for one in candidates(models, folder, image) if one.name == name)
    run = candidate.make()
    return {
        size: measure(run, image, expected[candidate.geometry, size], arguments.repeats)
        for size, image in images.items()
    }


def measure(run, image, expected, repeats):
    """Returns median ms, error of the logits (None if it returns only a mask), and agreement."""
    logits, mask = None, None
    for _ in range(2):
        answer = run(image)
    if isinstance(answer, tuple):
        mask, logits = (np.asarray(part) for part in answer)
    else:
        mask = np.asarray(answer)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = run(image)
        np.asarray(answer[0] if isinstance(answer, tuple) else answer)
        times.append(time.perf_counter() - start)
    error = None if logits is None else abs(logits - expected).max() / abs(expected).max()
    agreement = (mask == class_ids(expected).numpy()).mean()
    return 1000 * statistics.median(times), error, agreement


def show(size, rows, work, peaks):
    """Prints the table of one size, and the ratios to compare with the goals."""
    ms = {candidate.name: milliseconds for candidate, milliseconds, _, _ in rows}
    fastest = {}
    for candidate, milliseconds, _, _ in rows:
        if candidate.is_peer:
            known = fastest.get(candidate.precision, milliseconds)
            fastest[candidate.precision] = min(known, milliseconds)
    print(
        f"\n{size[0]} x {size[1]}; peak in GFLOP/s: "
        + ", ".join(f"{precision} {value:.0f}" for precision, value in peaks.items())
    )
    print("| | ms | speed-up over fastest peer | GFLOP | of peak | logit error | mask agreement |")
    print("|---|---|---|---|---|---|---|")
    for candidate, milliseconds, error, agreement in rows:
        ratio = fastest.get(candidate.precision)
        cells = [
            candidate.name,
            f"{milliseconds:.0f}",
            f"{ratio / milliseconds:.2f}" if ratio else "",
            f"{work[candidate.geometry]:.0f}",
            f"{work[candidate.geometry] / milliseconds * 1000 / peaks[candidate.precision]:.2f}"
            if candidate.precision in peaks
            else "",
            "" if error is None else f"{error:.1e}",
            f"{100 * agreement:.2f} %",
        ]
        print(f"| {' | '.join(cells)} |")
    openvino = ms.get("OpenVINO bf16, reference")
    goals = [
        ("float32 over its fastest peer", fastest.get("float32"), "ours, frozen, oneDNN", 1.9),
        ("frozen bf16 over PyTorch float32", ms.get("PyTorch"), "ours, frozen bf16", 4.5),
        ("frozen bf16 over OpenVINO bf16", openvino, "ours, frozen bf16", 1.7),
        ("int8 over PyTorch float32", ms.get("PyTorch"), "ours, OpenVINO int8", 10),
        ("int8 over OpenVINO bf16", openvino, "ours, OpenVINO int8", 3.6),
    ]
    for said, peer, name, goal in goals:
        if peer and name in ms:
            print(f"{said}: {peer / ms[name]:.2f} (goal {goal})")


def build_models(path):
    """Builds FCN-8s in both geometries with the same weights."""
    keras.utils.set_random_seed(0)
    trained = None if path is None else in_precision(fcn_keras.load(path).model, "float32")
    classes = 21 if trained is None else trained.output_shape[-1]
    models = {
        geometry: fcn_keras.FCN8s(
            classes, backbone="vgg16", head_width=WIDTH, weights=None, geometry=geometry
        )
        for geometry in ("same", "reference")
    }
    weights = random_weights(models["same"]) if trained is None else widen_head(trained)
    for model in models.values():
        for layer in model.layers:
            if layer.name in weights and layer.name.startswith(("block", "fc", "score")):
                layer.set_weights(weights[layer.name])
    return models


def random_weights(model):
    """Draws He-initialised kernels and small biases, so that activations keep their scale."""
    rng, found = np.random.default_rng(0), {}
    for layer in model.layers:
        if layer.name.startswith(("block", "fc", "score")) and len(layer.get_weights()) == 2:
            kernel, bias = layer.get_weights()
            spread = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            found[layer.name] = [
                rng.normal(0, spread, kernel.shape).astype("float32"),
                rng.normal(0, 0.1, bias.shape).astype("float32"),
            ]
    return found


def widen_head(model):
    """Returns a trained model's weights with its head's channels repeated up to `WIDTH`."""
    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.get_weights()}
    times = WIDTH // weights["fc6"][1].size
    fc6, fc7, score = (weights[name][0] for name in ("fc6", "fc7", "score_fr"))
    weights["fc6"] = [np.tile(fc6, times), np.tile(weights["fc6"][1], times)]
    tiled = np.tile(fc7, (1, 1, times, times)) / times
    weights["fc7"] = [tiled, np.tile(weights["fc7"][1], times)]
    weights["score_fr"][0] = np.tile(score, (1, 1, times, 1)) / times
    for layer in model.layers:  # The next layer absorbs the fixed factors on pool4 and pool3.
        if layer.name.startswith("scale_"):
            weights[layer.name.replace("scale_", "score_")][0] *= layer.scale
    return weights


def logits_of(model):
    """Builds a function images -> logits, with the weights as variables."""
    return tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
    )


def keras_predict(model):
    """Predicts as in the first page of Keras's guide."""
    return lambda image: np.argmax(model.predict(image, verbose=0), axis=-1).astype("uint8")


def masks_of(logits):
    """Turns a function that computes logits into one that returns mask and logits."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def run(images):
        (scores,) = keras.tree.flatten(logits(images))
        return class_ids(scores), scores

    return lambda image: run(tf.constant(image))


def pytorch(model, precision):
    """Builds the reference model in PyTorch, channels last."""
    import torch
    from torch.nn import functional

    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.get_weights()}
    kind = torch.bfloat16 if precision else torch.float32
    classes = weights["score_fr"][1].size
    last = {"memory_format": torch.channels_last}

    def convolution(name):
        kernel, bias = weights[name]
        kernel = torch.tensor(kernel.transpose(3, 2, 0, 1)).to(kind).contiguous(**last)
        bias = torch.tensor(bias).to(kind)
        return lambda x, padding=0: functional.conv2d(x, kernel, bias, padding=padding)

    def bilinear(factor):
        at = np.arange(2 * factor)
        line = 1 - abs(at - (factor - 0.5)) / factor
        kernel = np.zeros((classes, classes, 2 * factor, 2 * factor), "float32")
        kernel[np.arange(classes), np.arange(classes)] = np.outer(line, line)
        kernel = torch.tensor(kernel).to(kind)
        return lambda x: functional.conv_transpose2d(x, kernel, stride=factor)

    layers = {name: convolution(name) for name in weights if len(weights[name]) == 2}
    double, double_again, eight = bilinear(2), bilinear(2), bilinear(8)
    blocks = [
        [f"block{block}_conv{place}" for place in range(1, count + 1)]
        for block, count in enumerate((2, 2, 3, 3, 3), 1)
    ]
    mean = torch.tensor(model.get_layer("preprocessing").mean)

    def crop(x, like, offset):
        return x[:, :, offset : offset + like.shape[2], offset : offset + like.shape[3]]

    def run(image):
        with torch.inference_mode():
            pixels = torch.from_numpy(image[..., ::-1].copy()).float() - mean
            x = pixels.permute(0, 3, 1, 2).to(kind)
            whole, pooled = x, []
            for number, block in enumerate(blocks):
                for place, name in enumerate(block):
                    x = functional.relu(layers[name](x, 100 if number == place == 0 else 1))
                x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
                pooled.append(x)
            x = functional.relu(layers["fc7"](functional.relu(layers["fc6"](x))))
            x = double(layers["score_fr"](x))
            four = layers["score_pool4"](pooled[3])
            x = double_again(x + crop(four, x, REFERENCE_CROPS[0]))
            three = layers["score_pool3"](pooled[2])
            x = eight(x + crop(three, x, REFERENCE_CROPS[1]))
            scores = crop(x, whole, REFERENCE_CROPS[2])
            mask = scores.argmax(1).to(torch.uint8)
            return mask.numpy(), scores.float().permute(0, 2, 3, 1).numpy()

    return run


def gflop(model, size):
    """Counts 2 x the multiplications in the graph for one image, in 1e9."""
    spec = tf.TensorSpec((1, *size, 3), tf.uint8)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    profile = tf.compat.v1.profiler.profile(graph, options=options)
    return profile.total_float_ops / 1e9


def peak(precision):
    """Measures the GFLOP/s of a matrix product, the faster of TensorFlow and PyTorch."""

    def fastest(multiply):
        times = []
        for _ in range(8):
            start = time.perf_counter()
            multiply()
            times.append(time.perf_counter() - start)
        return 2 * MATRIX**3 / min(times) / 1e9

    a = tf.cast(tf.random.normal((MATRIX, MATRIX)), precision)
    found = [fastest(lambda: tf.linalg.matmul(a, a).numpy())]
    try:
        import torch
    except ImportError:
        return found[0]
    b = torch.randn(MATRIX, MATRIX).to(getattr(torch, precision))
    return max(found[0], fastest(lambda: b @ b))


def picture(path, size):
    """Loads or generates one image `[1, h, w, 3]`."""
    if path:
        resized = tf.image.resize(read_image(path), size, antialias=True)
        return np.round(resized.numpy())[None].astype("uint8")
    rng, image = np.random.default_rng(0), 0
    for scale in (1, 4, 16, 64):
        small = rng.normal(0, scale, (-(-size[0] // scale), -(-size[1] // scale), 3))
        image = image + tf.image.resize(small, size).numpy()
    image = (image - image.min()) / (image.max() - image.min())
    return np.round(255 * image)[None].astype("uint8")


def calibration(image):
    """Returns several crops, uint8 `[h, w, 3]`."""
    rng = np.random.default_rng(0)
    tops = [(rng.integers(0, 40), rng.integers(0, 40)) for _ in range(CALIBRATION)]
    return [image[0, top:, left:] for top, left in tops]


if __name__ == "__main__":
    main()
