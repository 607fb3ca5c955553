"""Comparison of an exported model's logits and masks with those of the Keras model."""

from collections.abc import Sequence

import numpy as np

from fcn_keras.errors import ModelError
from fcn_keras.prediction.signature import class_ids


def compare(
    expected: Sequence[np.ndarray], found: Sequence[tuple[np.ndarray, np.ndarray]], bound: float
) -> tuple[float, float]:
    """Measures the error of the logits and the agreement of the masks.

    Args:
        expected: The Keras model's logits, a list of arrays `[n, h, w, classes]`.
        found: The exported model's mask `[n, h, w]` and logits for each of them.
        bound: The largest allowed logit difference, relative to the largest logit magnitude.

    Returns:
        The largest relative logit difference, and the share of pixels with the Keras model's class.

    Raises:
        ModelError: The shapes differ, a logit differs by more than the bound, a mask has a class id
            that the model has not, or differs where the two highest logits are farther apart than
            rounding explains.
    """
    for mine, (mask, logits) in zip(expected, found, strict=True):
        if mask.shape != mine.shape[:3] or logits.shape != mine.shape:
            raise ModelError(
                f"not written: for images {mine.shape[:3]} the exported model returns masks "
                f"{mask.shape} and logits {logits.shape}."
            )
    largest = max(abs(mine).max() for mine in expected)
    off = max(abs(logits - mine).max() for mine, (_, logits) in zip(expected, found, strict=True))
    error = float(off / largest) if largest else float(off)
    if not error <= bound:  # Refuses NaN too.
        raise ModelError(
            f"not written: the exported logits differ from the model's by {error:.2g} of the "
            f"largest magnitude; at most {bound:g} is allowed."
        )
    same = []
    for mine, (mask, _) in zip(expected, found, strict=True):
        count = mine.shape[-1]
        if mask.min() < 0 or mask.max() >= count:
            unknown = mask[(mask < 0) | (mask >= count)][0]
            raise ModelError(
                f"not written: the exported masks have class id {unknown}; the model has {count} "
                f"classes, 0 to {count - 1}."
            )
        differs = mask != class_ids(mine).numpy()
        chosen = np.take_along_axis(mine, mask[..., None].astype("int64"), axis=-1)[..., 0]
        if (mine.max(axis=-1) - chosen)[differs].max(initial=0) > 2 * off:
            raise ModelError("not written: the exported masks differ from the model's.")
        same.append(np.ravel(~differs))
    return error, float(np.concatenate(same).mean())
