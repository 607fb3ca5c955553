"""Draws the confusion matrix for TensorBoard."""

from collections.abc import Sequence

import numpy as np


def confusion_picture(
    confusion: np.ndarray | Sequence[Sequence[int]], class_names: Sequence[str]
) -> np.ndarray:
    """Draws a confusion matrix `[classes, classes]` as an RGB picture, uint8 `[h, w, 3]`.

    Each row is in percent of its class. Rows of classes missing from the ground truth are grey.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    confusion = np.asarray(confusion, "float64")
    present = confusion.sum(axis=1) > 0
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    count = len(class_names)
    has_numbers = count <= 25
    side = 2 + (0.4 if has_numbers else 0.2) * count
    canvas = FigureCanvasAgg(Figure(figsize=(side, side), dpi=110, layout="constrained"))
    axes = canvas.figure.add_subplot()
    axes.set_facecolor("0.85")
    drawn = np.ma.masked_array(share, np.broadcast_to(~present[:, None], share.shape))
    image = axes.imshow(100 * drawn, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(count), class_names, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), class_names)
    axes.set(xlabel="predicted", ylabel="ground truth", title="% of the true class")
    if has_numbers:
        for i, j in zip(*np.nonzero(share >= 0.005), strict=True):
            axes.text(
                j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=10,
                color="white" if share[i, j] > 0.55 else "black",
            )  # fmt: skip
    else:
        canvas.figure.colorbar(image, ax=axes, shrink=0.8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
