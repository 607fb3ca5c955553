"""What an export costs in accuracy: the mean IU of the Keras model and of what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import keras
import numpy as np

from fcn_keras.errors import ConfigError
from fcn_keras.evaluation.evaluate import evaluate, evaluate_engine
from fcn_keras.evaluation.results import Evaluation
from fcn_keras.models.saving import Loaded
from fcn_keras.prediction.engines import open_engine
from fcn_keras.serving import saved_model
from pipelines.batches.tf_datasets import eval_dataset
from pipelines.split import Split

CALIBRATION_IMAGES = 100  # Of the training images, at equal distances.

# A text and how often the function is called that it gives; as `training.watching.Watch.progress`.
Progress = Callable[[str, int], AbstractContextManager[Callable[[], object]]]


def before_and_after(
    model: keras.Model | Loaded, path: str | Path, split: Split, progress: Progress | None = None
) -> tuple[Evaluation, Evaluation]:
    """Measures a model, and what `export` wrote of it, on the same images.

    Args:
        model: what was exported.
        path: the version's folder of a SavedModel, or the engine's file.
        split: the images and masks.
        progress: shows how far it is.

    Raises:
        ConfigError: the model has several images or heads.
    """
    progress = progress or (lambda text, total: nullcontext(lambda: None))
    batches = eval_dataset(split)
    steps, path = int(batches.cardinality()), Path(path)
    with progress("measuring the model", steps) as advance:
        before = evaluate(model, batches, class_names=split.class_names, progress=advance)
    if isinstance(before, dict):
        raise ConfigError(f"model: has several heads ({', '.join(before)}); give one of one head.")
    written = _opened(path) if path.is_dir() else nullcontext(open_engine(path))
    with written as run, progress("measuring what was written", steps) as advance:
        after = evaluate_engine(run, batches, split.class_names, advance)
    return before, after


def calibration_images(train: Split) -> list[np.ndarray]:
    """The images by which int8 scales are chosen: from all over the split, at their own sizes."""
    step = -(-len(train) // CALIBRATION_IMAGES)
    return [train.read_image(example.image) for example in train.examples[::step]]


@contextmanager
def _opened(path: Path) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Images -> masks of a SavedModel's version."""
    with saved_model.opened(path, "serving_default") as run:
        yield lambda images: run(image=images)["mask"]
