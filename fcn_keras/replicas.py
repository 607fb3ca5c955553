"""Sums over the replicas of a `tf.distribute` strategy; each device holds a part of the batch.

All functions are the identity with a single replica and outside a replica context: while Keras
builds a model symbolically, and outside `strategy.run`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    import keras
    import numpy as np

_is_local = False  # Not thread-local, since each replica runs in its own thread.


def in_replica_context() -> tf.distribute.ReplicaContext | None:
    """Returns the replica context if there are several replicas, else None."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def all_reduce_sum(value: tf.Tensor) -> tf.Tensor:
    """Sums a tensor over all replicas; the gradient is summed too."""
    context = in_replica_context()
    if context is None or _is_local:
        return value
    # TensorFlow cannot place the sum of a variable on several machines, so pass a tensor.
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))


@contextlib.contextmanager
def local_only() -> Iterator[None]:
    """Disables `all_reduce_sum` for steps traced inside this context.

    In validation each replica has its own batch instead of a part of a global one. The mean of the
    replicas' losses then equals that of one device that processes the batches one by one.
    """
    global _is_local
    _is_local = True
    try:
        yield
    finally:
        _is_local = False


def per_replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """Returns a seed for stateless random numbers, `[2]`, that differs per replica."""
    context = in_replica_context()
    if context is None:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, context.replica_id_in_sync_group)


def assign_total(variable: keras.Variable, value: np.ndarray) -> None:
    """Assigns a metric's variable so that its sum over all replicas is exactly `value`.

    `assign` would give each replica an equal part: integers would be rounded, and the sum of
    floats could differ.
    """
    strategy = getattr(variable.value, "distribute_strategy", tf.distribute.get_strategy())
    whole = tf.constant(value, variable.value.dtype)

    def assign() -> None:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        variable.value.assign(tf.where(tf.equal(number, 0), whole, tf.zeros_like(whole)))

    strategy.run(assign)
