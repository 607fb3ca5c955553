"""Reading one example: image and mask together, checked against each other and the classes."""

import numpy as np

from pipelines.decode import read_image, read_mask
from pipelines.errors import DataError


def read_example(split, index):
    """Image and mask of one example.

    Args:
        split: a `Split`.
        index: position in `split.examples`.

    Returns:
        RGB uint8 `[h, w, 3]`, and class ids uint8 `[h, w]`, 255 where void.

    Raises:
        DataError: a file cannot be read, the two differ in size, or the mask has a value that is
            neither a class nor ignored.
    """
    example = split.examples[index]
    image, values = read_image(example.image), read_mask(example.mask)
    if image.shape[:2] != values.shape:
        raise DataError(
            f"{example.mask}: the mask is {values.shape[1]} x {values.shape[0]}, its image "
            f"{example.image} is {image.shape[1]} x {image.shape[0]}. They must be of one size."
        )
    mask = split.lookup[values]
    if (mask < 0).any():
        raise DataError(_unknown_values(split, example, values, mask < 0))
    return image, mask.astype("uint8")


def _unknown_values(split, example, values, unknown):
    found, counts = np.unique(values[unknown], return_counts=True)
    row, column = np.argwhere(unknown)[0]
    listed = ", ".join(f"{v} ({n} pixels)" for v, n in zip(found[:5], counts[:5], strict=True))
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    ignored = [value for value, class_id in split.mask_values.items() if class_id == 255]
    hint = (
        " Masks of 0 and 255 usually mean: 255 is class 1; give that class `value: 255`."
        if sorted(np.unique(values)) == [0, 255]
        else f" Add the class, or ignore it: `ignore: [{found[0]}]`."
    )
    return (
        f"{example.mask}: label value {listed}{more}, first at row {row}, column {column}, but "
        f"{split.name} has {split.num_classes} classes and ignores {ignored}.{hint}"
    )
