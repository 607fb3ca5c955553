"""The devices of a training run: one, or several on one machine that share each batch.

The batch size is global: each of n devices takes one n-th of the batch, and the learning rate
applies to the whole batch. So several devices make the same steps as one, except for rounding and
for random draws within a step: dropout, and the pixels of `sample_rate`.
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
    """Returns the number of devices to train on.

    Args:
        devices: A number, "all" GPUs, or "auto": as many GPUs as can share the batch evenly. A
            machine without a GPU uses its CPU.
        batch_size: Images per batch, over all devices.

    Raises:
        ConfigError: The machine has fewer devices, or they cannot share the batch evenly.
    """
    if devices == "auto":
        return max(n for n in range(1, max(len(gpus()), 1) + 1) if batch_size % n == 0)
    available = len(_names())
    wanted = available if devices == "all" else devices
    if wanted > available:
        what = (
            f"{available} GPU{'s' * (available > 1)}. Use --devices all, or fewer"
            if gpus()
            else "no GPU that TensorFlow can use. Leave out --devices, or check that nvidia-smi "
            "lists the GPUs and TensorFlow is installed with CUDA (pip install '.[gpu]')"
        )
        raise ConfigError(f"devices={devices}: this machine has {what}.")
    if batch_size % wanted:
        raise ConfigError(
            f"batch_size={batch_size}, devices={devices}: {wanted} devices cannot share a batch "
            f"evenly. Use a multiple of {wanted} (--batch-size), or --devices auto."
        )
    return wanted


def gpus() -> list[str]:
    """Returns the names of the GPUs that TensorFlow can use."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def strategy_for(number: int) -> tf.distribute.Strategy:
    """Returns the strategy for `number` devices; for one device, the current strategy."""
    return _mirrored(number) if number > 1 else tf.distribute.get_strategy()


def synchronise(model: keras.Model) -> None:
    """Synchronises batch normalisation: statistics come from the whole batch of all devices."""
    for layer in _batch_norms(model):
        layer.synchronized = True


@contextlib.contextmanager
def as_on_one_device(model: keras.Model) -> Iterator[None]:
    """Reverts `synchronise` temporarily, so a saved model equals that of one device."""
    changed = [layer for layer in _batch_norms(model) if layer.synchronized]
    for layer in changed:
        layer.synchronized = False
    try:
        yield
    finally:
        for layer in changed:
            layer.synchronized = True


def validation(data: tf.data.Dataset, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
    """Prepares validation data so that `fit` computes the same loss and metrics as on one device.

    Images of different sizes cannot share a batch. So the first replica gets all images, and the
    others get void images of the same sizes, which are ignored. This takes as long as on one
    device.

    Args:
        data: A `tf.data.Dataset`: images `[b, h, w, c]`, masks `[b, h, w]`.
        strategy: A `tf.distribute.Strategy`.

    Returns:
        A `tf.data.Dataset` with b images per replica and batch; `data` itself for one replica.
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


@functools.cache  # The reductions of two strategies in one process interfere.
def _mirrored(number: int) -> tf.distribute.MirroredStrategy:
    return tf.distribute.MirroredStrategy(_names()[:number])


def _batch_norms(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _batch_norms(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            yield layer


def _names() -> list[str]:
    """Returns the GPUs; without any, the CPU or its logical devices."""
    return gpus() or [device.name for device in tf.config.list_logical_devices("CPU")]
