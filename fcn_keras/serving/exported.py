"""What an export gives back."""

from pathlib import Path
from typing import NamedTuple


class Exported(NamedTuple):
    """What was written, and how it compares with the Keras model.

    Attributes:
        path: the version's folder of a SavedModel, such as `saved_models/street/1`; else the file.
        error: largest difference of a logit, over the logits' largest magnitude; None for int8.
        agreement: share of pixels that have the Keras model's class, 0..1.
    """

    path: Path
    error: float | None
    agreement: float
