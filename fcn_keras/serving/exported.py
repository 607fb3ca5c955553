"""The result of an export."""

from pathlib import Path
from typing import NamedTuple


class Exported(NamedTuple):
    """The path of an exported model, and how closely it matches the Keras model.

    Attributes:
        path: A SavedModel's version folder, such as `saved_models/street/1`; else the file.
        error: The largest logit difference, relative to the largest logit magnitude; None for int8.
        agreement: The share of pixels with the Keras model's class, 0..1.
    """

    path: Path
    error: float | None
    agreement: float
