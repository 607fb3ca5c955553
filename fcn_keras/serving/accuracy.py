"""The accuracy cost of an export: metrics of the Keras model and of the exported model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import keras
import numpy as np

from fcn_keras.evaluation.evaluate import evaluate
from fcn_keras.evaluation.results import Evaluation
from fcn_keras.models.saving import Loaded
from fcn_keras.prediction.engines import quiet
from fcn_keras.prediction.exported_model import open_exported
from pipelines.examples import image_of
from pipelines.split import Split

CALIBRATION_IMAGES = 100  # Evenly spaced over the training images.

# Takes a text and the number of calls to expect; yields the function to call once per step. The
# same as `training.watching.Watch.progress`.
Progress = Callable[[str, int], AbstractContextManager[Callable[[], object]]]


def before_and_after(
    model: keras.Model | Loaded, path: str | Path, split: Split, progress: Progress | None = None
) -> tuple[Evaluation, Evaluation]:
    """Evaluates a Keras model and its export on the same images.

    Args:
        model: The exported model.
        path: The version folder of a SavedModel, or the engine's file.
        split: The images and masks.
        progress: Shows the progress.

    Raises:
        ConfigError: The model has several images or heads, or other classes than the split, or the
            export refuses an image, which has more pixels than its limit.
    """
    progress = progress or (lambda text, total: nullcontext(lambda: None))
    with progress("evaluating the model", len(split)) as advance:
        before = cast(Evaluation, evaluate(model, split, progress=advance))
    with quiet():  # LiteRT logs a line.
        exported = open_exported(Path(path))
    with progress("evaluating the export", len(split)) as advance:
        after = cast(Evaluation, evaluate(exported, split, progress=advance))
    return before, after


def calibration_images(train: Split) -> list[np.ndarray]:
    """Returns the images that int8 scales are chosen by: spread over the split, in full size."""
    step = -(-len(train) // CALIBRATION_IMAGES)
    return [image_of(train, example) for example in train.examples[::step]]
