"""Builds `tf.data.Dataset`s of (image, mask) from a split.

Images are RGB uint8 `[b, h, w, 3]`, masks uint8 `[b, h, w]`; 255 is ignored.

One Python call reads and augments a whole batch, and several calls run at a time: decoding and
OpenCV release the GIL, and TensorFlow's cost per call is paid once per batch.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import tensorflow as tf

from pipelines.batches.augment import MEAN_COLOUR, Augmentation, seed_and_apply, transform
from pipelines.batches.memory import aligned, keep_freed_memory
from pipelines.batches.shutdown import ended_at_exit, stopped_at_exit
from pipelines.batches.sizes import check_batch_size, portrait, positions_by, sizes_of
from pipelines.errors import DataError
from pipelines.examples import read_example
from pipelines.files.images import read_image
from pipelines.split import IGNORE, Split

if TYPE_CHECKING:
    import albumentations as A

Batches = Iterator[tuple[np.ndarray, np.ndarray]]  # Example indices `[b]` and seeds `[b]`.
T = TypeVar("T")


def train_dataset(
    split: Split,
    *,
    batch_size: int,
    augmentation: Augmentation,
    seed: int = 0,
    cache: bool = False,
    start: tuple[int, int] | None = None,
    shard: tuple[int, int] = (0, 1),
    turn: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Builds one pass over the split: shuffled, augmented crops or whole images.

    Each iteration has a new order. Two data sets with the same seed give the same batches, whatever
    the number of threads. A training run that can be resumed gives `start`: the data set then
    begins there and continues, epoch after epoch, without end.

    Batches are made in parallel, so OpenCV's own threads are turned off in this process. Your code
    can turn them on again with `cv2.setNumThreads`.

    Args:
        split: A `Split`.
        batch_size: Images per batch. Examples that do not fill a batch are dropped, different ones
            in each epoch.
        augmentation: An `Augmentation`; its crop is the output size. Without a crop, images keep
            their sizes: portrait and landscape images are in separate batches, except for one
            batch of what is left of both. In a batch, smaller images are padded with void on the
            right and at the bottom.
        seed: Seed of the order and the augmentation.
        cache: Keep the decoded images and masks in memory.
        start: (epoch, step) of the first batch, counted from 0. None gives a single pass.
        shard: (number, count), counted from 0: this worker's share of each batch, which is every
            `count`-th example. The shares of all workers together are the batch that a single
            process would get.
        turn: (number, count), counted from 0, only with `start`: only every `count`-th batch, for
            machines that take turns.

    Returns:
        A `tf.data.Dataset` of known cardinality, infinite with `start`: images `[b, h, w, 3]`,
        masks `[b, h, w]`; h and w are the crop's, if there is one.

    Raises:
        DataError: The batch size is not a whole number above 0; the split has fewer examples than
            one batch, is too large for the cache, or has images with more than three channels; or
            the workers cannot share a batch evenly.
    """
    check_batch_size(batch_size)
    number, workers = shard
    if batch_size % workers:
        raise DataError(
            f"a batch of {batch_size} images cannot be shared by {workers} workers. Use a multiple "
            f"of {workers} (--batch-size)."
        )
    if len(split) < batch_size:
        raise DataError(
            f"{split.name}: {len(split)} examples do not fill one batch of {batch_size}. "
            "Use a smaller batch size (--batch-size)."
        )
    read = _reader(split, cache)
    cv2.setNumThreads(1)  # Batches run in parallel; each would wait for OpenCV's threads.
    # A pipeline has a random state, so each call needs its own. Building one takes as long as a
    # tenth of a batch, and `threading.local` forgets it: to Python, TensorFlow's threads are new
    # ones at each call.
    idle: list[A.Compose] = []

    def load(index: int, sample_seed: int) -> tuple[np.ndarray, np.ndarray]:
        example = read(index)
        try:
            compose = idle.pop()
        except IndexError:
            compose = transform(augmentation)
        try:
            return seed_and_apply(compose, *example, int(sample_seed))
        finally:
            idle.append(compose)

    order = _Order(split, batch_size, augmentation, seed)

    def share_of(epoch: int, first: int = 0) -> Batches:
        indices, seeds = order.of_epoch(epoch)
        return zip(indices[first:, number::workers], seeds[first:, number::workers], strict=True)

    def endless(epoch: int, step: int) -> Batches:
        yield from share_of(epoch, step)
        for later in itertools.count(epoch + 1):
            yield from share_of(later)

    size = augmentation.crop or (None, None)
    shape = (batch_size // workers, *size)
    if start is not None:
        mine = functools.partial(_every, functools.partial(endless, *start), *turn)
        return _dataset(mine, tf.data.INFINITE_CARDINALITY, load, shape)
    passes = itertools.count()
    return _dataset(lambda: share_of(next(passes)), order.steps, load, shape)


def batch_ids(
    split: Split,
    *,
    batch_size: int,
    augmentation: Augmentation,
    seed: int = 0,
    epoch: int,
    step: int,
) -> list[str]:
    """Returns the ids of the examples in one batch of `train_dataset`, for messages.

    Args:
        split: A `Split`, as in `train_dataset`.
        batch_size: As in `train_dataset`.
        augmentation: As in `train_dataset`.
        seed: As in `train_dataset`.
        epoch: The epoch, counted from 0.
        step: The step in that epoch, counted from 0.

    Returns:
        A list of ids.
    """
    indices, _ = _Order(split, batch_size, augmentation, seed).of_epoch(epoch)
    return [split.examples[index].id for index in indices[step]]


class _Order:
    """The examples in each epoch's batches, and a seed per sample."""

    def __init__(
        self, split: Split, batch_size: int, augmentation: Augmentation, seed: int
    ) -> None:
        """Sets `steps`, the number of batches per epoch."""
        self.batch_size, self.seed = batch_size, seed
        self.steps = len(split) // batch_size
        is_padded = augmentation.crop is None and batch_size > 1
        self.groups = portrait(split) if is_padded else np.zeros(len(split), bool)

    def of_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws example indices and seeds, both `[steps, b]`, before anything runs in parallel."""
        # NumPy's generator: tf.data mixes TensorFlow's global seed into its own.
        rng = np.random.default_rng((self.seed, epoch))
        size = self.batch_size
        order = rng.permutation(len(self.groups))[: self.steps * size]
        full, rest = [], []
        for group in (False, True):
            members = order[self.groups[order] == group]
            whole = len(members) // size * size
            full.append(members[:whole])
            rest.append(members[whole:])
        # What is left of both groups is one batch or none.
        batches = np.concatenate([*full, *rest]).reshape(-1, size)
        return rng.permutation(batches), rng.integers(2**32, size=batches.shape)


def eval_dataset(split: Split, *, batch_size: int = 1) -> tf.data.Dataset:
    """Builds a data set of every example once, whole and unpadded at its own size.

    Args:
        split: A `Split`.
        batch_size: Most images per batch; all images of a batch have the same size. With 1 the
            order is the split's.

    Returns:
        A `tf.data.Dataset` of known cardinality: images `[b, h, w, 3]`, masks `[b, h, w]`.

    Raises:
        DataError: The batch size is not a whole number above 0, or the images have more than three
            channels.
    """
    check_batch_size(batch_size)
    batches = [[index] for index in range(len(split))]
    if batch_size > 1:
        batches = [
            group[at : at + batch_size]
            for group in positions_by(sizes_of(split)).values()
            for at in range(0, len(group), batch_size)
        ]

    def order() -> Batches:
        return ((np.array(batch), np.zeros(len(batch), "int64")) for batch in batches)

    read = _reader(split, cache=False)
    shape = (1 if batch_size == 1 else None, None, None)
    return _dataset(order, len(batches), lambda index, _: read(index), shape)


def _every(batches: Callable[[], Iterator[T]], first: int, step: int) -> Iterator[T]:
    return itertools.islice(batches(), first, None, step)


def _dataset(
    order: Callable[[], Batches],
    count: int,
    load: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    shape: tuple[int | None, ...],
) -> tf.data.Dataset:
    """Builds a data set from the batches that `order()` yields: indices `[b]` and seeds `[b]`.

    `shape` is the masks' shape (b, h, w), with None where it varies.
    """
    known = tuple(size for size in shape if size is not None)

    @stopped_at_exit
    def load_batch(indices: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        loaded = (load(index, seed) for index, seed in zip(indices, seeds, strict=True))
        if known != shape:
            images, masks = zip(*loaded, strict=True)
            return _padded(images, MEAN_COLOUR), _padded(masks, IGNORE)
        batch = aligned((*known, 3)), aligned(known)
        for number, (image, mask) in enumerate(loaded):
            batch[0][number], batch[1][number] = image, mask
        return batch

    def as_tensors(indices: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, masks = tf.numpy_function(load_batch, (indices, seeds), (tf.uint8, tf.uint8))
        return tf.ensure_shape(images, (*shape, 3)), tf.ensure_shape(masks, shape)

    keep_freed_memory()
    numbers = tf.TensorSpec(shape[:1], tf.int64)
    ds = tf.data.Dataset.from_generator(ended_at_exit(order), output_signature=(numbers, numbers))
    ds = ds.apply(tf.data.experimental.assert_cardinality(count))  # Unknown for a generator.
    ds = ds.map(as_tensors, num_parallel_calls=tf.data.AUTOTUNE)
    return ds.prefetch(tf.data.AUTOTUNE)


def _padded(arrays: Sequence[np.ndarray], outside: int | Sequence[int]) -> np.ndarray:
    """Stacks arrays; smaller ones are padded on the right and at the bottom."""
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    height, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    batch = aligned((len(arrays), height, width, *arrays[0].shape[2:]))
    for place, array in zip(batch, arrays, strict=True):
        rows, columns = array.shape[:2]
        place[:rows, :columns] = array
        place[rows:], place[:rows, columns:] = outside, outside
    return batch


def _reader(split: Split, cache: bool) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Returns a function index -> (image, mask), which keeps them in memory if `cache`."""
    if split.read_image is not read_image:
        raise DataError(
            f"{split.name}: its images have more than three channels. Use pipelines.joint_dataset."
        )
    read = functools.partial(read_example, split)
    if not cache:
        return read
    needed, memory = 4 * sum(h * w for h, w in sizes_of(split)), _memory()
    if needed > memory / 2:
        raise DataError(
            f"{split.name}: the decoded split takes {needed / 1e9:.1f} GB, more than half of the "
            f"memory ({memory / 1e9:.1f} GB). Turn off cache (--cache)."
        )
    return functools.cache(read)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
