"""The figures of a model on a data set: typed, printable, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fcn_keras.metrics import segmentation_metrics
from fcn_keras.text import FIGURES, figure


class ClassResult(NamedTuple):
    """One class; shares are 0..1, or NaN where there is nothing to count.

    Attributes:
        name: the class's name.
        iou: intersection over union of its pixels in truth and prediction.
        accuracy: share of its pixels that are predicted as it.
        pixels: how many pixels of the truth it has.
    """

    name: str
    iou: float
    accuracy: float
    pixels: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A confusion matrix and the paper's figures of it (section 5, "Metrics").

    Figures are 0..1, and NaN where there is no labelled pixel. `print` shows them as tables.

    Attributes:
        confusion: int64 `[classes, classes]`; rows are the truth, columns the prediction.
        class_names: a name for each class.
    """

    confusion: np.ndarray
    class_names: tuple[str, ...]

    @cached_property
    def _metrics(self) -> dict[str, Any]:
        return segmentation_metrics(self.confusion)

    @property
    def pixel_accuracy(self) -> float:
        """The share of labelled pixels that are right."""
        return float(self._metrics["pixel_accuracy"])

    @property
    def mean_accuracy(self) -> float:
        """The mean of the classes' accuracies."""
        return float(self._metrics["mean_accuracy"])

    @property
    def mean_iou(self) -> float:
        """The mean of the classes' IU: the paper's main figure."""
        return float(self._metrics["mean_iou"])

    @property
    def frequency_weighted_iou(self) -> float:
        """The mean of the classes' IU, weighted by their pixels."""
        return float(self._metrics["frequency_weighted_iou"])

    @property
    def per_class(self) -> tuple[ClassResult, ...]:
        """IU, accuracy and pixels of each class, in the order of their ids."""
        truth, hits = self.confusion.sum(axis=1), np.diagonal(self.confusion)
        return tuple(
            ClassResult(name, float(iou), float(hit / count) if count else np.nan, int(count))
            for name, iou, hit, count in zip(
                self.class_names, self._metrics["iou"], hits, truth, strict=True
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures, "per_class" and "confusion" as JSON can hold them; NaN becomes None."""
        return {
            **{name: _or_none(self._metrics[name]) for name in FIGURES},
            "per_class": [
                {
                    "name": one.name,
                    "iou": _or_none(one.iou),
                    "accuracy": _or_none(one.accuracy),
                    "pixels": one.pixels,
                }
                for one in self.per_class
            ],
            "confusion": self.confusion.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Evaluation:
        """An evaluation from what `to_dict` gave, such as a run's `metrics.json`."""
        names = tuple(entry["name"] for entry in content["per_class"])
        return cls(np.array(content["confusion"], "int64"), names)

    def warnings(self) -> list[str]:
        """Reasons to doubt the figures, a sentence each; an empty list if there are none."""
        if not self.confusion.sum():
            return ["no labelled pixel: every mask is void (255), so there are no figures."]
        found = []
        if absent := [one.name for one in self.per_class if not one.pixels]:
            found.append(f"not in these masks: {', '.join(absent)}.")
        predicted = np.flatnonzero(self.confusion.sum(axis=0))
        if len(predicted) == 1 and len(self.class_names) > 1:
            found.append(
                f"every pixel is predicted as {self.class_names[predicted[0]]!r}: the model is "
                "untrained, its backbone was never initialised, or it was trained on other classes."
            )
        return found

    def __str__(self) -> str:
        """The four figures, and a line for each class."""
        lines = [f"{FIGURES[name]:23}{figure(_or_none(self._metrics[name]))}" for name in FIGURES]
        width = max(map(len, ("class", *self.class_names)))
        lines += ["", f"{'class':{width}}     IU  accuracy      pixels"]
        lines += [
            f"{one.name:{width}}  {figure(_or_none(one.iou)):>5}  "
            f"{figure(_or_none(one.accuracy)):>8}  {one.pixels:>10,}"
            for one in self.per_class
        ]
        return "\n".join(lines)


def names_of(num_classes: int, class_names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The classes' names; numbers where they have none."""
    return tuple(class_names or map(str, range(num_classes)))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
