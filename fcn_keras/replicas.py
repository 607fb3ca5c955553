"""Sums over the replicas of a `tf.distribute` strategy: the parts of a batch, one on each device.

Everything here is the identity where there is one replica, and where nothing is replicated: while
Keras builds a model symbolically, and outside of `strategy.run`.
"""

import tensorflow as tf


def several():
    """The replica context, if this is one of several replicas; else None."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def total(value):
    """The sum of a tensor over all replicas, on each of them; its gradient is summed too."""
    context = several()
    if context is None:
        return value
    # A tensor even of a variable: on several machines TensorFlow cannot place a variable's sum.
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))


def own_seed(seed):
    """A seed for stateless random numbers, `[2]`, that differs from replica to replica."""
    context = several()
    if context is None:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, context.replica_id_in_sync_group)
