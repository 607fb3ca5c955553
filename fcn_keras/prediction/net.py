"""What prediction and evaluation need of a model, whatever computes it: Keras or another engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.geometry.tiling import Tiling, tiling
from fcn_keras.layers.alignment import SameSize
from fcn_keras.models.saving import Loaded, segmentation_model
from fcn_keras.prediction.exported_model import ExportedModel
from fcn_keras.prediction.signature import class_ids, traced

# One batch of images `[b, h, w, c]`, uint8 or float32; a dict of them if the model has several.
Images: TypeAlias = tf.Tensor | np.ndarray | dict[str, tf.Tensor] | dict[str, np.ndarray]


class Net(Protocol):
    """A model that maps batches of images to class ids, and perhaps to logits.

    `input` and `output` describe images and logits as in Keras: tensors with a `shape`, or dicts of
    them by name if there are several.
    """

    @property
    def name(self) -> str:
        """The name for messages."""

    @property
    def input(self) -> Any:
        """The images, `[b, h, w, c]`."""

    @property
    def output(self) -> Any:
        """The logits, `[b, h, w, classes]`."""

    @property
    def needs_one_size(self) -> bool:
        """Whether the images of a model of several must have the same height and width."""

    def masks(self, images: Images) -> Any:
        """Computes class ids: NumPy `[b, h, w]`, or a dict of them by head."""

    def logits(self, images: Images) -> Any:
        """Computes logits: `[b, h, w, classes]`, or a dict of them by head."""

    def check_logits(self) -> None:
        """Raises a `ConfigError` if the model returns no logits."""

    def check_precision(self, precision: str) -> None:
        """Raises a `ConfigError` if the model cannot compute in "float32" or "bfloat16"."""

    def tiling(self) -> Tiling:
        """Returns the geometry for tiles, or raises a `ConfigError` or `ModelError`."""


def net_of(model: keras.Model | Loaded | Net) -> Net:
    """Returns the `Net` of a Keras model, of the result of `load`, or of an exported file.

    Raises:
        ConfigError: The argument is not a functional segmentation model.
    """
    inner = model.model if isinstance(model, Loaded) else model
    if isinstance(inner, ExportedModel | KerasNet):
        return inner
    return KerasNet(segmentation_model(inner))


@dataclass(frozen=True, eq=False)
class KerasNet:
    """A Keras model as a `Net`."""

    model: keras.Model

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def input(self) -> Any:
        """The model's images."""
        return self.model.input

    @property
    def output(self) -> Any:
        """The model's logits."""
        return self.model.output

    @property
    def needs_one_size(self) -> bool:
        """Whether the model checks that its images have one size."""
        return any(isinstance(layer, SameSize) for layer in self.model.layers)

    def masks(self, images: Images) -> Any:
        """Computes class ids in the graph."""
        found = traced(self.model, _kinds(images), class_ids)(images)
        return keras.tree.map_structure(lambda mask: mask.numpy(), found)

    def logits(self, images: Images) -> Any:
        """Computes logits, as tensors."""
        return traced(self.model, _kinds(images), tf.identity)(images)

    def check_logits(self) -> None:
        """Raises nothing: a Keras model returns logits."""

    def check_precision(self, precision: str) -> None:
        """Raises nothing: a Keras model can be copied to either."""

    def tiling(self) -> Tiling:
        """Computes the geometry from the graph."""
        return tiling(self.model)


def _kinds(images: Images) -> tuple[str, ...]:
    return tuple(tf.as_dtype(image.dtype).name for image in keras.tree.flatten(images))
