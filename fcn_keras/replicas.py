"""Sums over the replicas of a `tf.distribute` strategy: the parts of a batch, one on each device.

Everything here is the identity where there is one replica, and where nothing is replicated: while
Keras builds a model symbolically, and outside of `strategy.run`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    import keras
    import numpy as np

_is_local = False  # Not of a thread: each replica has one of its own.


def in_replica_context() -> tf.distribute.ReplicaContext | None:
    """The replica context, if this is one of several replicas; else None."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def all_reduce_sum(value: tf.Tensor) -> tf.Tensor:
    """The sum of a tensor over all replicas, on each of them; its gradient is summed too."""
    context = in_replica_context()
    if context is None or _is_local:
        return value
    # A tensor even of a variable: on several machines TensorFlow cannot place a variable's sum.
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))


@contextlib.contextmanager
def local_only() -> Iterator[None]:
    """Within it (where a step is traced) `all_reduce_sum` is of this replica alone.

    In validation each replica has a batch of its own, not its part of one: the mean of their losses
    is then that of one device, which takes one batch after the other.
    """
    global _is_local
    _is_local = True
    try:
        yield
    finally:
        _is_local = False


def own_seed(seed: tf.Tensor) -> tf.Tensor:
    """A seed for stateless random numbers, `[2]`, that differs from replica to replica."""
    context = in_replica_context()
    if context is None:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, context.replica_id_in_sync_group)


def assign_total(variable: keras.Variable, value: np.ndarray) -> None:
    """Makes `value` what the parts of a metric's variable on all replicas add up to, exactly.

    `assign` would give each replica an equal part: integers would be rounded, and in floats the sum
    could be another.
    """
    strategy = getattr(variable.value, "distribute_strategy", tf.distribute.get_strategy())
    whole = tf.constant(value, variable.value.dtype)

    def assign() -> None:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        variable.value.assign(tf.where(tf.equal(number, 0), whole, tf.zeros_like(whole)))

    strategy.run(assign)
