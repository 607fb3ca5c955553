"""The paper's experiments that need no training."""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError

FACTORS = (128, 64, 32, 16, 8, 4)
# The paper's upper bounds on PASCAL VOC (section 3, mean IU of a perfect net of each stride).
PUBLISHED_BOUNDS = {128: 0.509, 64: 0.733, 32: 0.861, 16: 0.928, 8: 0.964, 4: 0.985}
RESAMPLINGS = {
    "subsample-bilinear": "one-hot labels taken at the middle of each cell, void as a label of its "
    "own, upsampled bilinearly, argmax",
    "average-bilinear": "one-hot labels averaged over each cell, void as a label of its own, "
    "upsampled bilinearly, argmax",
    "subsample-nearest": "the label at the middle of each cell, repeated",
}


def iu_bounds(
    masks: Iterable[np.ndarray],
    num_classes: int,
    factors: Sequence[int] = FACTORS,
    resample: str = "subsample-bilinear",
) -> dict[int, float]:
    """Mean IU of a perfect net of each stride: labels downsampled, upsampled and scored.

    The paper does not say how it resampled; `RESAMPLINGS` are ways to do so. The IU is that of the
    whole data set; pixels that are void in the truth count nowhere, and a labelled pixel that comes
    back as void is a miss of its class.

    Args:
        masks: an iterable of class ids `[h, w]`, 255 where void.
        num_classes: how many classes there are.
        factors: by how much the labels are downsampled.
        resample: a key of `RESAMPLINGS`.

    Returns:
        A dict of mean IU, 0..1, by factor.

    Raises:
        ConfigError: `resample` is unknown.
    """
    if resample not in RESAMPLINGS:
        raise ConfigError(
            f"resample={resample!r}: unknown; choose one of {', '.join(RESAMPLINGS)}."
        )
    size = num_classes + 1  # Void is the last.
    counts = {factor: np.zeros((size, size), "int64") for factor in factors}
    for mask in masks:
        labels = np.minimum(mask, num_classes).astype("int64")
        for factor, matrix in counts.items():
            again = _resampled(labels, size, factor, resample)
            pairs = np.bincount((labels * size + again).ravel(), minlength=size**2)
            matrix += pairs.reshape(size, size)
    return {factor: _mean_iu(matrix[:-1]) for factor, matrix in counts.items()}


def _resampled(labels: np.ndarray, size: int, factor: int, resample: str) -> np.ndarray:
    """Labels `[h, w]` through a grid that is `factor` times coarser."""
    height, width = labels.shape
    # Cells at the edges that the map does not fill repeat its last labels.
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
    """From `[classes, classes + 1]`; the last column is void, which is nobody's false positive."""
    hits = np.diagonal(counts)
    union = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) - hits
    seen = union > 0
    return float((hits[seen] / union[seen]).mean()) if seen.any() else float("nan")
