"""The paper's experiments that need no training."""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID

FACTORS = (128, 64, 32, 16, 8, 4)
# The paper's upper bounds on PASCAL VOC: the mean IU of a perfect model per stride (section 3).
PUBLISHED_BOUNDS = {128: 0.509, 64: 0.733, 32: 0.861, 16: 0.928, 8: 0.964, 4: 0.985}
RESAMPLINGS = {
    "subsample-bilinear": "one-hot labels at the centre of each cell, void as an extra label, "
    "upsampled bilinearly, argmax",
    "average-bilinear": "one-hot labels averaged over each cell, void as an extra label, "
    "upsampled bilinearly, argmax",
    "subsample-nearest": "the label at the centre of each cell, repeated",
}


def iu_bounds(
    masks: Iterable[np.ndarray],
    num_classes: int,
    factors: Sequence[int] = FACTORS,
    resample: str = "subsample-bilinear",
) -> dict[int, float]:
    """Computes the mean IU of a perfect model per stride: labels downsampled and upsampled again.

    The paper does not describe its resampling; `RESAMPLINGS` lists candidates. The IU is computed
    over the whole data set. Void pixels are ignored; a labelled pixel that becomes void is a false
    negative of its class.

    Args:
        masks: Class ids `[h, w]`; void is 255.
        num_classes: Number of classes.
        factors: Downsampling factors.
        resample: A key of `RESAMPLINGS`.

    Returns:
        A dict of mean IU, 0..1, by factor.

    Raises:
        ConfigError: `resample` is unknown, or a mask has a label that is neither a class nor void.
    """
    if resample not in RESAMPLINGS:
        raise ConfigError(
            f"resample={resample!r}: unknown; choose one of {', '.join(RESAMPLINGS)}."
        )
    size = num_classes + 1  # Void is the last label.
    counts = {factor: np.zeros((size, size), "int64") for factor in factors}
    for mask in masks:
        unknown = (mask >= num_classes) & (mask != VOID)
        if unknown.any():
            raise ConfigError(
                f"masks: class ids must be 0 to {num_classes - 1}, or {VOID} (void), found "
                f"{mask[unknown][0]}."
            )
        labels = np.minimum(mask, num_classes).astype("int64")
        for factor, matrix in counts.items():
            again = _resampled(labels, size, factor, resample)
            pairs = np.bincount((labels * size + again).ravel(), minlength=size**2)
            matrix += pairs.reshape(size, size)
    return {factor: _mean_iu(matrix[:-1]) for factor, matrix in counts.items()}


def _resampled(labels: np.ndarray, size: int, factor: int, resample: str) -> np.ndarray:
    """Downsamples labels `[h, w]` by `factor` and upsamples them again."""
    height, width = labels.shape
    # Incomplete cells at the edges repeat the last labels.
    padded = np.pad(labels, [(0, -height % factor), (0, -width % factor)], mode="edge")
    middle = padded[factor // 2 :: factor, factor // 2 :: factor]
    if resample == "subsample-nearest":
        fine = middle.repeat(factor, axis=0).repeat(factor, axis=1)
    else:
        coarse = tf.one_hot(middle, size)[None]
        if resample == "average-bilinear":
            coarse = tf.nn.avg_pool2d(tf.one_hot(padded, size)[None], factor, factor, "VALID")
        fine = tf.argmax(tf.image.resize(coarse, padded.shape, "bilinear")[0], axis=-1).numpy()
    return fine[:height, :width]


def _mean_iu(counts: np.ndarray) -> float:
    """Computes the mean IU from `[classes, classes + 1]`; the last column is predicted void."""
    hits = np.diagonal(counts)
    union = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) - hits
    seen = union > 0
    return float((hits[seen] / union[seen]).mean()) if seen.any() else float("nan")
