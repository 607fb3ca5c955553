"""The accuracy cost of an export: metrics of the Keras model and of the exported model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import cast

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ModelError
from fcn_keras.evaluation.evaluate import evaluate, evaluate_engine
from fcn_keras.evaluation.results import Evaluation
from fcn_keras.models.saving import Loaded
from fcn_keras.prediction.engines import open_engine, quiet
from fcn_keras.serving import saved_model
from fcn_keras.text import first_line
from pipelines.batches.tf_datasets import eval_dataset
from pipelines.examples import image_of
from pipelines.split import Split

REFUSAL = re.compile(r"assertion failed: \[(.*)\]")  # How a signature refuses a request.
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
        ModelError: The export refuses an image, which has more pixels than its limit.
    """
    progress = progress or (lambda text, total: nullcontext(lambda: None))
    path = Path(path)
    with progress("evaluating the model", len(split)) as advance:
        before = cast(Evaluation, evaluate(model, split, progress=advance))
    with _opened(path) as run, progress("evaluating the export", len(split)) as advance:
        batches, rule = eval_dataset(split), split.skip_absent
        after = evaluate_engine(run, batches, split.class_names, advance, rule)
    return before, after


def calibration_images(train: Split) -> list[np.ndarray]:
    """Returns the images that int8 scales are chosen by: spread over the split, in full size."""
    step = -(-len(train) // CALIBRATION_IMAGES)
    return [image_of(train, example) for example in train.examples[::step]]


@contextmanager
def _opened(path: Path) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Opens an export as a function: images -> masks."""
    if path.is_file():
        with quiet():
            engine = open_engine(path)
        yield engine
        return
    with saved_model.open_signature(path, "serving_default") as run:

        def masks(images: np.ndarray) -> np.ndarray:
            try:
                return run(image=images)["mask"]
            except tf.errors.InvalidArgumentError as error:
                refused = REFUSAL.search(error.message)
                reason = f"refuses an image: {refused[1]}" if refused else first_line(error)
                raise ModelError(
                    f"{path}: {reason} If it is too large, export with a higher --max-pixels."
                ) from None

        yield masks
