"""The devices of a training: one, or several on one machine that share each batch.

A batch is the global one: each of n devices takes an n-th of it, and the learning rate is that of
the whole. Several devices then make the same steps as one but for rounding, apart from what is
drawn at random in a step: dropout, and the pixels of `sample_rate`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Literal

import keras
import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID


def count(devices: int | Literal["auto", "all"], batch_size: int) -> int:
    """How many devices a training takes.

    Args:
        devices: a number, or "all", which are the GPUs, or "auto", which is as many of them as can
            share the batch evenly. A machine without a GPU has its CPU.
        batch_size: images in a batch, of all devices together.

    Raises:
        ConfigError: there are not so many devices, or they cannot share the batch evenly.
    """
    if devices == "auto":
        return max(n for n in range(1, max(len(gpus()), 1) + 1) if batch_size % n == 0)
    there = len(_names())
    wanted = there if devices == "all" else devices
    if wanted > there:
        what = (
            f"{there} GPU{'s' * (there > 1)}. Use --devices all, or fewer"
            if gpus()
            else "no GPU that TensorFlow can use. Leave out --devices, or look whether nvidia-smi "
            "lists the GPUs and TensorFlow was installed with CUDA (pip install '.[gpu]')"
        )
        raise ConfigError(f"devices={devices}: this machine has {what}.")
    if batch_size % wanted:
        raise ConfigError(
            f"batch_size={batch_size}, devices={devices}: {wanted} devices cannot share the images "
            f"of a batch evenly. Use a multiple of {wanted} (--batch-size), or --devices auto."
        )
    return wanted


def gpus() -> list[str]:
    """The names of the GPUs that TensorFlow can use."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def strategy_for(number: int) -> tf.distribute.Strategy:
    """What `number` devices train under: for one the strategy that is in force, by default none."""
    return _mirrored(number) if number > 1 else tf.distribute.get_strategy()


def synchronise(model: keras.Model) -> None:
    """Lets batch normalisations take their statistics from the batch of all devices together."""
    for layer in _batch_norms(model):
        layer.synchronized = True


@contextlib.contextmanager
def as_on_one_device(model: keras.Model) -> Iterator[None]:
    """Takes back `synchronise` for a while: a model saved now is that of a training on one."""
    changed = [layer for layer in _batch_norms(model) if layer.synchronized]
    for layer in changed:
        layer.synchronized = False
    try:
        yield
    finally:
        for layer in changed:
            layer.synchronized = True


def validation(data: tf.data.Dataset, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
    """Validation data for `fit` of a model under this strategy: loss and figures as on one device.

    Images of sizes of their own cannot be shared. So the first replica gets all of them, and the
    others void ones of the same sizes, which count nowhere. That takes as long as on one device.

    Args:
        data: a `tf.data.Dataset`: images `[b, h, w, c]`, masks `[b, h, w]`.
        strategy: a `tf.distribute.Strategy`.

    Returns:
        A `tf.data.Dataset` whose batches are b for each replica; the data itself for a single one.
    """
    others = strategy.num_replicas_in_sync - 1
    if not others:
        return data

    def with_void(images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        added = [0, others * (images.shape[0] or tf.shape(images)[0])]
        return (
            tf.pad(images, [added, *[[0, 0]] * 3]),
            tf.pad(masks, [added, *[[0, 0]] * 2], constant_values=VOID),
        )

    return data.map(with_void, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


@functools.cache  # In one process, the sums of a second strategy get mixed up with the first's.
def _mirrored(number: int) -> tf.distribute.MirroredStrategy:
    return tf.distribute.MirroredStrategy(_names()[:number])


def _batch_norms(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _batch_norms(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            yield layer


def _names() -> list[str]:
    """The GPUs; without one the CPU, or the logical devices that it has been divided into."""
    return gpus() or [device.name for device in tf.config.list_logical_devices("CPU")]
