"""The accuracy cost of an export: metrics of the Keras model and of the exported model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import cast

import keras
import numpy as np

from fcn_keras.evaluation.evaluate import evaluate, evaluate_engine
from fcn_keras.evaluation.results import Evaluation
from fcn_keras.models.saving import Loaded
from fcn_keras.prediction.engines import open_engine
from fcn_keras.serving import saved_model
from pipelines.batches.tf_datasets import eval_dataset
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
        ConfigError: The model has several images or heads, or other classes than the split.
    """
    progress = progress or (lambda text, total: nullcontext(lambda: None))
    path = Path(path)
    with progress("evaluating the model", len(split)) as advance:
        before = cast(Evaluation, evaluate(model, split, progress=advance))
    written = _open_saved_model(path) if path.is_dir() else nullcontext(open_engine(path))
    with written as run, progress("evaluating the export", len(split)) as advance:
        batches, rule = eval_dataset(split), split.skip_absent
        after = evaluate_engine(run, batches, split.class_names, advance, rule)
    return before, after


def calibration_images(train: Split) -> list[np.ndarray]:
    """Returns the images that int8 scales are chosen by: spread over the split, in full size."""
    step = -(-len(train) // CALIBRATION_IMAGES)
    return [image_of(train, example) for example in train.examples[::step]]


@contextmanager
def _open_saved_model(path: Path) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Opens a SavedModel's version as a function: images -> masks."""
    with saved_model.open_signature(path, "serving_default") as run:
        yield lambda images: run(image=images)["mask"]
