"""Ranks the validation images by mean IU, and saves the best, the median and the worst.

RUN/validation.csv     one line per measured image, in the split's order
RUN/examples/          NAME.jpg, NAME-truth.png and NAME-prediction.png of the chosen images

This is one pass over the split with the best model, after training, so it takes no longer than one
validation. At most `LIMIT` images are measured.
"""

import csv
import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from fcn_keras import outputs
from fcn_keras.metrics import count_pixels, segmentation_metrics
from fcn_keras.prediction.pictures import palette_png
from fcn_keras.prediction.predict_image import predict
from pipelines.batches.tf_datasets import eval_dataset
from pipelines.examples import read_example
from pipelines.split import Split

LIMIT = 500  # Images measured; 2000 would take minutes on a GPU and hours on a CPU.
EACH = 3  # Pictures per kind.
MAX_SIDE = 480  # Of a picture, in pixels.
COLUMNS = ("image", "mean_iou", "pixel_accuracy", "labelled_pixels", "picture", "model")


def chosen(count: int, limit: int = LIMIT) -> list[int]:
    """Chooses up to `limit` of `count` images, evenly spaced; returns their positions."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(int)).tolist()


def rank(
    model: keras.Model,
    split: Split,
    out: str | Path,
    progress: Callable[[], object] | None = None,
    *,
    sha: str = "",
) -> None:
    """Measures a model on each image and writes `validation.csv` and `examples/`.

    An image's mean IU is the mean over the classes in its ground truth or prediction. An image
    without labelled pixels has no mean IU and is never shown.

    Args:
        model: A model, images `[b, h, w, 3]` -> logits `[b, h, w, classes]`.
        split: The `Split` to measure, with the model's classes.
        out: The run's folder.
        progress: Called without arguments after each image, or None.
        sha: The hash of the model's weights, which tells later whose measurements these are.
    """
    rows: list[dict[str, Any]] = []
    predictions = []  # Small ones: which of them are shown is known in the end.
    for example, (images, masks) in zip(split.examples, eval_dataset(split), strict=True):
        prediction = np.asarray(predict(model, images[0].numpy(), tile="auto"))
        confusion = count_pixels(masks[0].numpy(), prediction, split.num_classes)
        own = segmentation_metrics(confusion)
        rows.append(
            {
                "image": example.id,
                "mean_iou": _text(own["mean_iou"]),
                "pixel_accuracy": _text(own["pixel_accuracy"]),
                "labelled_pixels": int(confusion.sum()),
                "picture": "",
                "model": sha,
            }
        )
        predictions.append(_small(prediction, split.palette))
        if progress:
            progress()
    folder = Path(out) / "examples"
    shutil.rmtree(folder, ignore_errors=True)  # From an earlier ranking.
    folder.mkdir()
    for picture, index in _choice([row["mean_iou"] for row in rows]).items():
        rows[index]["picture"] = picture
        image, truth = read_example(split, index)
        mask = predictions[index]
        photo = Image.fromarray(image).resize(mask.size, Image.Resampling.LANCZOS)
        photo.save(folder / f"{picture}.jpg", "JPEG", quality=80)
        _small(truth, split.palette).save(folder / f"{picture}-truth.png", optimize=True)
        mask.save(folder / f"{picture}-prediction.png", optimize=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    outputs.write_text(Path(out) / "validation.csv", text.getvalue())


def _choice(mean_ious: Sequence[str]) -> dict[str, int]:
    """Chooses the images to show: positions by picture name (worst-1, median-1, best-1, ...)."""
    ranked = sorted((float(iou), index) for index, iou in enumerate(mean_ious) if iou)
    order = [index for _, index in ranked]
    middle = (len(order) - EACH + 1) // 2
    wanted = {
        "worst": order[:EACH],
        "best": order[::-1][:EACH],
        "median": order[max(middle, 0) :][:EACH],
    }
    choice: dict[str, int] = {}
    for kind, indices in wanted.items():  # Shows no image twice if there are few.
        for index in indices:
            if index not in choice.values():
                choice[f"{kind}-{sum(name.startswith(kind) for name in choice) + 1}"] = index
    return choice


def _small(mask: np.ndarray, palette: np.ndarray) -> Image.Image:
    """Returns a mask as a palette picture of at most `MAX_SIDE` pixels."""
    scale = min(1, MAX_SIDE / max(mask.shape))
    height, width = (max(1, round(scale * side)) for side in mask.shape)
    return palette_png(mask, palette).resize((width, height), Image.Resampling.NEAREST)


def _text(metric: float) -> str:
    return "" if np.isnan(metric) else f"{metric:.6f}"
