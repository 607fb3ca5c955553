"""Reads everything before the first training step, and reports all faults at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipelines.errors import DataError, raise_all
from pipelines.examples import read_example
from pipelines.split import IGNORE


def check(split, progress=None):
    """Reads every image and mask of a split.

    Args:
        split: a `Split`.
        progress: called with no argument after each example, or None.

    Returns:
        int64 `[classes]`: the labelled pixels of each class.

    Raises:
        DataError: the split is empty, every pixel of it is void, or there is but one class and
            void (as if a class were ignored), or files have faults; all of
            them are in the message, a line each.
    """
    if not len(split):
        raise DataError(f"{split.name}: the split is empty.")

    def read(index):
        try:
            return np.bincount(read_example(split, index)[1].ravel(), minlength=256)
        except DataError as error:
            return error

    pixels, faults = np.zeros(256, "int64"), []
    with ThreadPoolExecutor() as pool:
        for result in pool.map(read, range(len(split))):
            if isinstance(result, DataError):
                faults.append(result)
            else:
                pixels += result
            if progress:
                progress()
    raise_all(faults)
    labelled = pixels[: split.num_classes]
    if not labelled.sum():
        raise DataError(
            f"{split.name}: every pixel of every mask is void ({IGNORE}): there is nothing to "
            "learn or to score."
        )
    if np.count_nonzero(labelled) == 1 and pixels[IGNORE] > 0.01 * labelled.sum():
        ignored = [value for value, class_id in split.mask_values.items() if class_id == IGNORE]
        raise DataError(
            f"{split.name}: all labelled pixels are {split.class_names[labelled.argmax()]!r}; the "
            f"others are ignored (values {ignored}). If one of these values is a class, say so: "
            "`{name: object, value: 255}`, without it in `ignore`."
        )
    return labelled
