"""Builds `tf.data.Dataset`s for models with several inputs or heads.

Images are RGB uint8 `[1, h, w, 3]`, or float32 with more channels if their split's reader returns
them. Masks are uint8 `[1, h, w]`; 255 is ignored. Images are whole, one example per batch, as in
the paper's recipes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from pipelines.batches.shutdown import ended_at_exit, stopped_at_exit
from pipelines.errors import DataError
from pipelines.examples import check_sizes, class_ids, image_of, mask_of
from pipelines.split import Split


def joint_dataset(
    images: Split | dict[str, Split],
    masks: Split | dict[str, Split],
    *,
    shuffle: bool = False,
    seed: int = 0,
    mirror: bool = False,
) -> tf.data.Dataset:
    """Builds one pass over examples that have several images, several masks, or both.

    With `shuffle`, each iteration has a new order. Two data sets with the same seed give the same
    examples, whatever the number of threads.

    Args:
        images: A `Split` that gives the images, or a dict of them by the model's input names.
        masks: A `Split` that gives the masks, or a dict of them by the model's head names.
        shuffle: Reshuffle in each epoch; otherwise keep the order of the splits.
        seed: Seed of the order and of mirroring.
        mirror: Flip left-right with probability 0.5, all images and masks of an example alike.

    Returns:
        A `tf.data.Dataset` of known cardinality of (images, masks): each a tensor if a `Split` was
        given, or a dict of tensors if a dict was given.

    Raises:
        DataError: An argument is neither a split nor a dict of splits; or the splits are empty, do
            not have the same examples in the same order, or the first example cannot be read.
    """
    pictures, labels = _splits("images", images), _splits("masks", masks)
    count = _common_length([*pictures, *labels])
    epochs = itertools.count()

    @ended_at_exit
    def order() -> Iterator[tuple[int, bool]]:
        # NumPy's generator: tf.data mixes TensorFlow's global seed into its own.
        rng = np.random.default_rng((seed, next(epochs)))
        indices = rng.permutation(count) if shuffle else np.arange(count)
        flips = rng.random(count) < 0.5 if mirror else np.zeros(count, bool)
        yield from zip(indices, flips, strict=True)

    @stopped_at_exit
    def load(index: int, is_flipped: bool) -> list[np.ndarray]:
        arrays = _read(pictures, labels, index)
        return [(a[:, ::-1] if is_flipped else a)[np.newaxis] for a in arrays]

    # The first example shows the images' types and channels.
    specs = [
        tf.TensorSpec((1, None, None, *array.shape[3:]), array.dtype) for array in load(0, False)
    ]

    def as_tensors(
        index: tf.Tensor, is_flipped: tf.Tensor
    ) -> tuple[tf.Tensor | dict[str, tf.Tensor], tf.Tensor | dict[str, tf.Tensor]]:
        arrays = tf.numpy_function(load, (index, is_flipped), [spec.dtype for spec in specs])
        arrays = [tf.ensure_shape(a, spec.shape) for a, spec in zip(arrays, specs, strict=True)]
        return tf.nest.pack_sequence_as((images, masks), arrays)

    numbers = (tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.bool))
    ds = tf.data.Dataset.from_generator(order, output_signature=numbers)
    ds = ds.apply(tf.data.experimental.assert_cardinality(count))  # Unknown for a generator.
    ds = ds.map(as_tensors, num_parallel_calls=tf.data.AUTOTUNE)
    return ds.prefetch(tf.data.AUTOTUNE)


def _splits(name: str, given: Split | dict[str, Split]) -> list[Split]:
    """Returns the splits in the order of `tf.nest.flatten`."""
    splits = tf.nest.flatten(given) if isinstance(given, dict) else [given]
    if not splits or not all(isinstance(split, Split) for split in splits):
        found = f"a dict of {len(splits)}" if isinstance(given, dict) else type(given).__name__
        raise DataError(
            f"{name}: must be a split from pipelines.read, or a dict of at least one by name, "
            f"found {found}."
        )
    return splits


def _common_length(splits: Sequence[Split]) -> int:
    """Returns the number of examples, and checks that all splits have the same ones."""
    first = splits[0]
    if not len(first):
        raise DataError(f"{first.name}: the split is empty.", kind="empty split")
    for other in splits[1:]:
        pairs = itertools.zip_longest(first.examples, other.examples)
        for number, (one, another) in enumerate(pairs, 1):
            ids = [repr(example.id) if example else "missing" for example in (one, another)]
            if ids[0] != ids[1]:
                raise DataError(
                    f"{first.name} and {other.name}: example {number} is {ids[0]} in the first and "
                    f"{ids[1]} in the second. Give splits with the same examples in the same order."
                )
    return len(first)


def _read(pictures: Sequence[Split], labels: Sequence[Split], index: int) -> list[np.ndarray]:
    """Reads the images and masks of one example into a list, and checks their sizes."""
    images = [image_of(split, split.examples[index]) for split in pictures]
    masks = [
        class_ids(split, split.examples[index], mask_of(split, split.examples[index]))
        for split in labels
    ]
    for split, image in zip(pictures, images, strict=True):
        for other, mask in zip(labels, masks, strict=True):
            pair = replace(other.examples[index], image=split.examples[index].image)
            check_sizes(split, pair, image, mask)
    return [*images, *masks]
