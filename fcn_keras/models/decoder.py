"""Turns feature maps into logits: scoring, upsampling, fusion, cropping (section 4.2, Figure 3).

A model takes one or several images (`Modality`) and scores one or several tasks (heads).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import keras
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.layers.alignment import CropLike, SameSize
from fcn_keras.layers.upsampling import BilinearUpsampling
from fcn_keras.layers.zoom import ResizeLike, Zoom
from fcn_keras.models import options
from fcn_keras.models.backbones import BACKBONES, TOP_WIDTH
from fcn_keras.models.modality import Modality
from fcn_keras.models.own_backbone import own_backbone
from fcn_keras.text import first_line


class Decoder:
    """Holds a model's images and feature maps per stride, and builds the model."""

    def __init__(
        self,
        strides: Sequence[int],
        backbone: str | keras.Model,
        weights: str | None,
        head_width: int | None,
        dropout: float,
        learn_upsampling: bool,
        geometry: Literal["same", "reference"],
        inputs: dict[str, Modality] | None,
        zoom: float,
        input_shape: tuple[int | None, int | None, int],
    ):
        """Builds the feature maps.

        Arguments and errors are those of `models.FCN32s`; `strides` are those that are scored.
        """
        options.check_choices(backbone, weights, geometry)
        is_own = isinstance(backbone, keras.Model)
        head_width = options.checked_width(head_width)
        dropout = options.checked_dropout(dropout)
        zoom = options.checked_zoom(zoom)
        size, inputs = options.size_and_inputs(input_shape, inputs)
        if is_own and len(inputs) != 1:
            raise ModelError(
                f"inputs: a custom backbone takes one image, found {len(inputs)}. Leave inputs "
                f"out, or use one of the backbones {', '.join(BACKBONES)}."
            )
        if head_width is None and not is_own:
            head_width = TOP_WIDTH
        self.backbone = backbone if isinstance(backbone, str) else backbone.name
        self.learn_upsampling = options.checked_flag("learn_upsampling", learn_upsampling)
        self.is_reference, self.is_zoomed = geometry == "reference", zoom != 1
        self.images = {  # By modality, as the next two.
            name: keras.Input((*size, modality.channels), name=name)
            for name, modality in inputs.items()
        }
        self.taps: dict[str, dict[int, keras.KerasTensor]] = {}  # Feature maps by stride.
        self.seen: dict[str, keras.KerasTensor] = {}  # The backbone's input.
        build = partial(own_backbone, backbone) if is_own else BACKBONES[backbone]
        for (name, modality), image in zip(inputs.items(), _of_one_size(self.images), strict=True):
            seen = Zoom(zoom, name=f"{name}_zoomed")(image) if self.is_zoomed else image
            with _naming_errors():
                taps = build(
                    seen,
                    weights=weights,
                    head_width=head_width,
                    dropout=dropout,
                    **_backbone_options(modality, geometry),
                )
            missing = [stride for stride in strides if stride not in taps]
            if missing:
                raise ModelError(
                    f"backbone={self.backbone!r}: has no features of stride {missing[0]} to fuse. "
                    "Use FCN32s, or another backbone."
                )
            maps = [taps[stride] for stride in strides]
            if len(inputs) > 1:  # Nested models, since their layers have the same names.
                maps = keras.Model(seen, maps, name=f"stream_{name}")(seen)
            self.seen[name] = seen
            self.taps[name] = dict(zip(strides, maps, strict=True))

    def model(
        self,
        name: str,
        num_classes: int | dict[str, int],
        logits: Callable[[Head], keras.KerasTensor],
    ) -> keras.Model:
        """Builds the Keras model; `logits` builds the output of a `Head`."""
        options.check_name(name)
        counts = options.checked_classes(num_classes)
        with _naming_errors():
            if isinstance(counts, dict):
                outputs = {task: logits(Head(self, n, f"_{task}")) for task, n in counts.items()}
            else:
                outputs = logits(Head(self, counts))
            images = self.images if len(self.images) > 1 else next(iter(self.images.values()))
            return keras.Model(images, outputs, name=name)


class Head:
    """The steps from feature maps to the logits of one task, all in float32."""

    def __init__(self, net: Decoder, num_classes: int, suffix: str = ""):
        """Creates the head; `suffix` is added to its layer names."""
        self.net, self.num_classes, self.suffix = net, num_classes, suffix

    def score(self, stride: int, name: str, scale: float = 1.0) -> keras.KerasTensor:
        """Adds zero-initialised 1 x 1 convolutions to class scores; averages over modalities."""
        scores = []
        for modality, taps in self.net.taps.items():
            suffix = f"_{modality}{self.suffix}" if len(self.net.taps) > 1 else self.suffix
            x = taps[stride]
            if scale != 1:
                x = layers.Rescaling(scale, name=name.replace("score", "scale") + suffix)(x)
            x = layers.Conv2D(
                self.num_classes,
                1,
                kernel_initializer="zeros",
                dtype="float32",
                name=name + suffix,
            )(x)
            scores.append(x)
        if len(scores) == 1:
            return scores[0]
        return layers.Average(dtype="float32", name=name + self.suffix)(scores)

    def upsample(
        self, x: keras.KerasTensor, factor: int, name: str, kernel_size: int | None = None
    ) -> keras.KerasTensor:
        """Adds bilinear upsampling; `kernel_size` applies to the reference geometry only."""
        return BilinearUpsampling(
            factor,
            self.net.learn_upsampling,
            fade=self.net.is_reference,
            kernel_size=kernel_size if self.net.is_reference else None,
            name=name + self.suffix,
        )(x)

    def fuse(
        self, coarse: keras.KerasTensor, fine: keras.KerasTensor, name: str, offset: int
    ) -> keras.KerasTensor:
        """Adds two score maps; the reference geometry first crops the finer one."""
        if self.net.is_reference:
            fine = CropLike(offset, name=f"score_{name}c{self.suffix}")(fine, coarse)
        return layers.Add(dtype="float32", name=f"fuse_{name}{self.suffix}")([coarse, fine])

    def crop(self, x: keras.KerasTensor, offset: int | None) -> keras.KerasTensor:
        """Crops the scores to the image, at the image's size."""
        image, seen = (next(iter(by.values())) for by in (self.net.images, self.net.seen))
        offset = offset if self.net.is_reference else None
        name = f"logits{self.suffix}"
        if not self.net.is_zoomed:
            return CropLike(offset, name=name)(x, image)
        return ResizeLike(name=name)(CropLike(offset, name=f"zoomed_{name}")(x, seen), image)


def _of_one_size(images: dict[str, keras.KerasTensor]) -> list[keras.KerasTensor]:
    """Returns the images; several pass through a layer that checks their sizes."""
    several = list(images.values())
    return SameSize(list(images), name="same_size")(several) if len(several) > 1 else several


@contextmanager
def _naming_errors() -> Iterator[None]:
    """Explains Keras' error if a name of `inputs` or `num_classes` is also a layer's name."""
    try:
        yield
    except ValueError as error:
        if "unique" not in str(error):
            raise
        raise ModelError(
            f"inputs, num_classes: a name is also the name of a layer ({first_line(error)}). "
            "Rename it."
        ) from None


def _backbone_options(modality: Modality, geometry: str) -> dict[str, Any]:
    """Returns the non-default options for a backbone; most backbones support none of them."""
    options = {
        "geometry": geometry if geometry != "same" else None,
        "mean": modality.mean,
        "swap": None if modality.swap else False,
    }
    return {name: value for name, value in options.items() if value is not None}
