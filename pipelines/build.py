"""From a split to `tf.data.Dataset`s of (image, mask).

Images are RGB uint8 `[b, h, w, 3]`, masks uint8 `[b, h, w]`; 255 is ignored.
"""

import itertools
import threading

import numpy as np
import tensorflow as tf

from pipelines.augment import seed_and_apply, transform
from pipelines.errors import DataError
from pipelines.examples import read_example


def train_dataset(split, *, batch_size, augmentation, seed=0):
    """Shuffled, augmented crops or whole images: one pass over the split.

    Each time it is iterated the order is a new one. Two data sets of the same seed give the same
    batches, whatever the number of threads.

    Args:
        split: a `Split`.
        batch_size: images in a batch; the examples that do not fill the last batch are dropped.
        augmentation: an `Augmentation`; its crop is the size of what comes out. Without one the
            images keep their own sizes, which takes batches of one.
        seed: of order and augmentation.

    Returns:
        A `tf.data.Dataset` of known cardinality: images `[b, *crop, 3]`, masks `[b, *crop]`.

    Raises:
        DataError: the split has fewer examples than one batch, or whole images are to be batched.
    """
    if augmentation.crop is None and batch_size != 1:
        raise DataError(
            f"batch_size={batch_size}: whole images differ in size and go one by one. Use 1, or "
            "give a crop."
        )
    if len(split) < batch_size:
        raise DataError(
            f"{split.name}: {len(split)} examples do not fill one batch of {batch_size}. "
            "Use a smaller batch size (--batch-size)."
        )
    thread = threading.local()  # An albumentations pipeline has a random state of its own.

    def load(index, sample_seed):
        if not hasattr(thread, "compose"):
            thread.compose = transform(augmentation)
        image, mask = read_example(split, index)
        return seed_and_apply(thread.compose, image, mask, int(sample_seed))

    count, epochs = len(split), itertools.count()
    size = (None, None) if augmentation.crop is None else tuple(augmentation.crop)

    def order():
        """Indices are shuffled, not images; a seed for each sample, before anything is parallel."""
        # NumPy's numbers: tf.data mixes TensorFlow's global seed into its own.
        rng = np.random.default_rng((seed, next(epochs)))
        yield from zip(rng.permutation(count), rng.integers(2**32, size=count), strict=True)

    number = tf.TensorSpec((), tf.int64)
    ds = tf.data.Dataset.from_generator(order, output_signature=(number, number))
    ds = ds.apply(tf.data.experimental.assert_cardinality(count))  # A generator's is unknown.
    ds = ds.map(_as_tensors(load, size), num_parallel_calls=tf.data.AUTOTUNE)
    ds = ds.batch(batch_size, drop_remainder=True)
    return ds.prefetch(tf.data.AUTOTUNE)


def eval_dataset(split):
    """Every example once, in order, whole and at its own size: batches of one.

    Args:
        split: a `Split`.

    Returns:
        A `tf.data.Dataset` of known cardinality: images `[1, h, w, 3]`, masks `[1, h, w]`.
    """
    ds = tf.data.Dataset.range(len(split))
    ds = ds.map(
        _as_tensors(lambda index: read_example(split, index), (None, None)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return ds.batch(1).prefetch(tf.data.AUTOTUNE)


def _as_tensors(load, size):
    """`load`, a Python function of numbers, as a function of tensors with known shapes."""

    def call(*numbers):
        image, mask = tf.numpy_function(
            lambda *args: tuple(map(np.ascontiguousarray, load(*args))),
            numbers,
            (tf.uint8, tf.uint8),
        )
        return tf.ensure_shape(image, (*size, 3)), tf.ensure_shape(mask, size)

    return call
