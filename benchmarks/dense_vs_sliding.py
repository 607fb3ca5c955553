"""Compares one dense pass of a model with scoring the same grid of windows crop by crop.

The paper (section 3.1) reports for AlexNet on a GPU: a 10 x 10 grid on a 500 x 500 image takes
22 ms, 100 crops of 1.2 ms each more than five times as long. The models here are untrained, which
does not affect the times.

Run `python benchmarks/dense_vs_sliding.py [--classifier small|vgg16|alexnet] [--grid 10]`.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from machine import machine

import fcn_keras


def small():
    """Builds a LeNet-like model without padding: window 64, stride 8."""
    return keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 4, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )


def vgg16():
    """Builds VGG16: window 224, stride 32."""
    return keras.applications.VGG16(weights=None)


def alexnet():
    """Builds AlexNet: window 227, stride 32."""
    from fcn_keras.models.classifiers.alexnet import AlexNet

    return AlexNet(weights=None)


CLASSIFIERS = {"small": small, "vgg16": vgg16, "alexnet": alexnet}


def main():
    """Prints the seconds of both methods, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classifier", choices=CLASSIFIERS, default="small")
    parser.add_argument("--grid", type=int, default=10, help="cells per side [10]")
    parser.add_argument("--batch", type=int, default=10, help="crops per batch [10]")
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs, of which the median is reported [5]"
    )
    options = parser.parse_args()

    classifier = CLASSIFIERS[options.classifier]()
    net = fcn_keras.convolutionalize(classifier)
    window = classifier.input_shape[1]
    stride = np.max(fcn_keras.receptive_field(net).stride)
    side = window + (options.grid - 1) * stride
    image = np.random.default_rng(0).normal(size=(1, side, side, 3)).astype("float32")
    corners = [(i * stride, j * stride) for i, j in np.ndindex(options.grid, options.grid)]
    crops = np.concatenate([image[:, i : i + window, j : j + window] for i, j in corners])
    batches = [
        tf.constant(crops[i : i + options.batch]) for i in range(0, len(crops), options.batch)
    ]
    image = tf.constant(image)

    dense_pass, classify = (
        tf.function(lambda x, model=model: model(x, training=False), reduce_retracing=True)
        for model in (net, classifier)
    )
    dense, scores = median(lambda: dense_pass(image), options.repeats)
    sliding, _ = median(lambda: [classify(batch) for batch in batches], options.repeats)
    print(machine())
    print(
        f"{options.classifier}, medians of {options.repeats}: "
        f"{options.grid} x {options.grid} windows of {window} px, {stride} px apart, on "
        f"{side} x {side} px; dense output {scores.shape[1]} x {scores.shape[2]}"
    )
    print(f"dense {dense:.3f} s, sliding {sliding:.3f} s: speed-up {sliding / dense:.1f}")


def median(run, repeats):
    """Returns the median seconds of a run after one warm-up run, and the run's result."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        result = run()
        keras.tree.map_structure(lambda tensor: tensor.numpy(), result)  # Waits for the result.
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]), result


if __name__ == "__main__":
    main()
