"""Whether what was written gives the logits and masks of the model."""

from collections.abc import Sequence

import numpy as np

from fcn_keras.errors import ModelError
from fcn_keras.prediction.signature import class_ids


def compare(
    expected: Sequence[np.ndarray], found: Sequence[tuple[np.ndarray, np.ndarray]], bound: float
) -> tuple[float, float]:
    """The error of logits and the agreement of masks; raises if they are too bad.

    Args:
        expected: the model's logits, a list of `[n, h, w, classes]`.
        found: for each of them a mask `[n, h, w]` and logits, of what was written.
        bound: for the largest difference of a logit, over the largest magnitude of all.

    Returns:
        The largest difference so measured, and the share of pixels that have the model's class.

    Raises:
        ModelError: the sizes differ, a logit differs by more than the bound, or a mask where the
            two highest logits are farther apart than rounding explains.
    """
    for mine, (mask, logits) in zip(expected, found, strict=True):
        if mask.shape != mine.shape[:3] or logits.shape != mine.shape:
            raise ModelError(
                f"not written: for images {mine.shape[:3]} it gives masks {mask.shape} and logits "
                f"{logits.shape}."
            )
    largest = max(abs(mine).max() for mine in expected)
    off = max(abs(logits - mine).max() for mine, (_, logits) in zip(expected, found, strict=True))
    error = float(off / largest) if largest else float(off)
    if not error <= bound:  # NaN is refused too.
        raise ModelError(
            f"not written: its logits differ from the model's by {error:.2g} of their largest "
            f"magnitude; {bound:g} is allowed."
        )
    same = []
    for mine, (mask, _) in zip(expected, found, strict=True):
        differs = mask != class_ids(mine).numpy()
        chosen = np.take_along_axis(mine, mask[..., None].astype("int64"), axis=-1)[..., 0]
        if (mine.max(axis=-1) - chosen)[differs].max(initial=0) > 2 * off:
            raise ModelError("not written: it gives other masks than the model.")
        same.append(np.ravel(~differs))
    return error, float(np.concatenate(same).mean())
