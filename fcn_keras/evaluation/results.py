"""The metrics of a model on a data set, as typed, printable objects that convert to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fcn_keras.metrics import segmentation_metrics
from fcn_keras.text import METRIC_NAMES, format_metric, other_mean_iu


class ClassResult(NamedTuple):
    """The metrics of one class: 0..1, or NaN if there are no pixels to count.

    Attributes:
        name: Name of the class.
        iou: Intersection over union of ground truth and prediction.
        accuracy: Share of the class's pixels that are predicted correctly.
        pixels: Number of ground-truth pixels.
    """

    name: str
    iou: float
    accuracy: float
    pixels: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A confusion matrix and the paper's metrics (section 5, "Metrics").

    Metrics are 0..1, or NaN if there are no labelled pixels. `print` shows them as tables.

    Attributes:
        confusion: int64 `[classes, classes]`; rows are the ground truth, columns the prediction.
        class_names: A name for each class.
        skip_absent: Whether the mean IU leaves out classes that the masks lack, even if they are
            predicted, as `Split.skip_absent` of the data set says; if not, they count as 0.
    """

    confusion: np.ndarray
    class_names: tuple[str, ...]
    skip_absent: bool = False

    @cached_property
    def _metrics(self) -> dict[str, Any]:
        return segmentation_metrics(self.confusion, skip_absent=self.skip_absent)

    @property
    def pixel_accuracy(self) -> float:
        """Share of labelled pixels that are predicted correctly."""
        return float(self._metrics["pixel_accuracy"])

    @property
    def mean_accuracy(self) -> float:
        """Mean of the class accuracies."""
        return float(self._metrics["mean_accuracy"])

    @property
    def mean_iou(self) -> float:
        """Mean of the class IUs by the data set's rule: the paper's main metric."""
        return float(self._metrics["mean_iou"])

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of the class IUs, weighted by the number of pixels."""
        return float(self._metrics["frequency_weighted_iou"])

    @property
    def per_class(self) -> tuple[ClassResult, ...]:
        """IU, accuracy and pixels per class, in the order of the class ids."""
        truth, hits = self.confusion.sum(axis=1), np.diagonal(self.confusion)
        return tuple(
            ClassResult(name, float(iou), float(hit / count) if count else np.nan, int(count))
            for name, iou, hit, count in zip(
                self.class_names, self._metrics["iou"], hits, truth, strict=True
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the metrics, "per_class" and "confusion" as JSON values; NaN becomes None.

        Two further mean IUs, one for each rule for absent classes, are named after their rule.
        """
        by_rule = [
            _or_none(segmentation_metrics(self.confusion, skip_absent=rule)["mean_iou"])
            for rule in (False, True)
        ]
        return {
            **{name: _or_none(self._metrics[name]) for name in METRIC_NAMES},
            "skip_absent": self.skip_absent,
            "mean_iou_absent_counted": by_rule[0],
            "mean_iou_absent_skipped": by_rule[1],
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
        """Creates an evaluation from the result of `to_dict`, such as a run's `metrics.json`."""
        names = tuple(entry["name"] for entry in content["per_class"])
        skip_absent = bool(content.get("skip_absent", False))  # Version 0.2 had one rule.
        return cls(np.array(content["confusion"], "int64"), names, skip_absent)

    def warnings(self) -> list[str]:
        """Returns warnings about suspicious results, one sentence each; empty if none."""
        if not self.confusion.sum():
            return ["no labelled pixels: every mask is void (255), so there are no metrics."]
        found = []
        if absent := [one.name for one in self.per_class if not one.pixels]:
            found.append(f"classes missing from the masks: {', '.join(absent)}.")
        (predicted,) = np.nonzero(self.confusion.sum(axis=0))
        if len(predicted) == 1 and len(self.class_names) > 1:
            only = self.per_class[predicted[0]]
            share = 100 * only.pixels / self.confusion.sum()
            found.append(
                f"every pixel is predicted as {only.name!r}, the class of {share:.1f} % of the "
                "pixels. Either the training had too few steps (--epochs), or the classes are "
                "imbalanced (--class-balance 0.5), or the model is not trained on them."
            )
        return found

    def __str__(self) -> str:
        """Formats the four metrics, both mean IUs if they differ, and one line per class."""
        lines = [
            f"{METRIC_NAMES[name]:23}{format_metric(_or_none(self._metrics[name]))}"
            for name in METRIC_NAMES
        ]
        if line := other_mean_iu(self.to_dict()):
            lines += ["", line]
        width = max(map(len, ("class", *self.class_names)))
        lines += ["", f"{'class':{width}}     IU  accuracy      pixels"]
        lines += [
            f"{one.name:{width}}  {format_metric(_or_none(one.iou)):>5}  "
            f"{format_metric(_or_none(one.accuracy)):>8}  {one.pixels:>10,}"
            for one in self.per_class
        ]
        return "\n".join(lines)


def names_of(num_classes: int, class_names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns the class names, or numbers if there are none."""
    return tuple(class_names or map(str, range(num_classes)))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
