"""Turns feature maps into logits: scoring, upsampling, fusion, cropping (section 4.2, Figure 3).

A model takes one or several images (`Modality`) and scores one or several tasks (heads).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import keras
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.layers.alignment import CropLike
from fcn_keras.layers.upsampling import BilinearUpsampling
from fcn_keras.layers.zoom import ResizeLike, Zoom
from fcn_keras.models.backbones import BACKBONES, MEANS, TOP_WIDTH
from fcn_keras.models.own_backbone import own_backbone

GEOMETRIES = ("same", "reference")


class Modality(NamedTuple):
    """One image input of a model.

    Attributes:
        channels: Number of channels. With three or more, the first three are RGB, 0..255. Other
            channels are not preprocessed, and their filters start as the mean of the colour
            filters (early fusion).
        mean: Subtracted from the first three channels, in BGR order (without `swap`, in their
            own order); None for the backbone's. `fcn_keras.MEANS` has those of the reference.
        swap: Convert RGB to BGR; False for HHA.
    """

    channels: int = 3
    mean: tuple[float, float, float] | None = None
    swap: bool = True

    @classmethod
    def with_mean_of(cls, images: str) -> Modality:
        """Creates the modality for a key of `fcn_keras.MEANS`.

        Raises:
            ModelError: The key is unknown.
        """
        if images not in MEANS:
            raise ModelError(f"mean={images!r}: unknown; choose one of {', '.join(MEANS)}.")
        return cls(mean=MEANS[images], swap=images != "nyudv2_hha")


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
        is_own = isinstance(backbone, keras.Model)
        _check(backbone, head_width, dropout, geometry, zoom)
        if is_own and inputs is not None and len(inputs) != 1:
            raise ModelError(
                f"inputs: a custom backbone takes one image, found {len(inputs)}. Leave inputs "
                f"out, or use one of the backbones {', '.join(BACKBONES)}."
            )
        if head_width is None and not is_own:
            head_width = TOP_WIDTH
        size, inputs = _size_and_inputs(input_shape, inputs)
        build = partial(own_backbone, backbone) if is_own else BACKBONES[backbone]
        self.backbone = backbone if isinstance(backbone, str) else backbone.name
        self.learn_upsampling = learn_upsampling
        self.is_reference = geometry == "reference"
        self.images: dict[str, keras.KerasTensor] = {}  # By modality, as the next two.
        self.taps: dict[str, dict[int, keras.KerasTensor]] = {}  # Feature maps by stride.
        self.seen: dict[str, keras.KerasTensor] = {}  # The backbone's input.
        for name, modality in inputs.items():
            image = keras.Input((*size, modality.channels), name=name)
            seen = image if zoom == 1 else Zoom(zoom, name=f"{name}_zoomed")(image)
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
            self.images[name], self.seen[name] = image, seen
            self.taps[name] = dict(zip(strides, maps, strict=True))

    def model(
        self,
        name: str,
        num_classes: int | dict[str, int],
        logits: Callable[[Head], keras.KerasTensor],
    ) -> keras.Model:
        """Builds the Keras model; `logits` builds the output of a `Head`."""
        if isinstance(num_classes, dict):
            _check_heads(num_classes)
            outputs = {task: logits(Head(self, n, f"_{task}")) for task, n in num_classes.items()}
        else:
            _check_count("num_classes", num_classes)
            outputs = logits(Head(self, num_classes))
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
        if seen is image:
            return CropLike(offset, name=name)(x, image)
        return ResizeLike(name=name)(CropLike(offset, name=f"zoomed_{name}")(x, seen), image)


def _backbone_options(modality: Modality, geometry: str) -> dict[str, Any]:
    """Returns the non-default options for a backbone; most backbones support none of them."""
    options = {
        "geometry": geometry if geometry != "same" else None,
        "mean": modality.mean,
        "swap": None if modality.swap else False,
    }
    return {name: value for name, value in options.items() if value is not None}


def _size_and_inputs(
    input_shape: tuple[int | None, int | None, int], inputs: dict[str, Modality] | None
) -> tuple[tuple[int | None, ...], dict[str, Modality]]:
    """Returns height and width, None if unknown, and the inputs by name."""
    shape = tuple(input_shape) if isinstance(input_shape, list | tuple) else ()
    numbers = [size for size in shape if size is not None]
    if len(shape) != 3 or shape[2] is None or any(type(n) is not int or n < 1 for n in numbers):
        raise ModelError(
            f"input_shape={input_shape!r}: must be (height, width, channels), with None for any "
            "height or width."
        )
    if inputs is None:
        return shape[:2], {"image": Modality(channels=shape[2])}
    if shape[2] != 3:
        raise ModelError(
            f"input_shape={input_shape!r}: must have 3 channels if inputs is given. Set the number "
            "of channels in inputs."
        )
    return shape[:2], _checked_inputs(inputs)


def _check(
    backbone: str | keras.Model,
    head_width: int | None,
    dropout: float,
    geometry: str,
    zoom: float,
) -> None:
    if not isinstance(backbone, keras.Model) and backbone not in BACKBONES:
        raise ModelError(
            f"backbone={backbone!r}: unknown; choose one of {', '.join(BACKBONES)}, or pass a "
            "keras.Model."
        )
    if head_width is not None and (not isinstance(head_width, int) or head_width < 1):
        raise ModelError(f"head_width={head_width!r}: must be an integer of at least 1.")
    if not 0 <= dropout < 1:
        raise ModelError(f"dropout={dropout!r}: must be at least 0 and below 1.")
    if geometry not in GEOMETRIES:
        raise ModelError(f"geometry={geometry!r}: must be one of {', '.join(GEOMETRIES)}.")
    if not isinstance(zoom, int | float) or not 0.1 <= zoom <= 10:
        raise ModelError(f"zoom={zoom!r}: must be a number from 0.1 to 10; 1 changes nothing.")


def _check_count(name: str, num_classes: int) -> None:
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 2:
        raise ModelError(
            f"{name}={num_classes!r}: must be an integer of at least 2. Use 2 for background and "
            "object."
        )


def _check_heads(num_classes: Mapping[str, int]) -> None:
    if not num_classes:
        raise ModelError(
            "num_classes={}: must be a number, or a dict of head and number of classes, such as "
            '{"semantic": 33, "geometric": 3}.'
        )
    _check_names("num_classes", num_classes)
    for task, count in num_classes.items():
        _check_count(f"num_classes[{task!r}]", count)


def _checked_inputs(inputs: dict[str, Modality]) -> dict[str, Modality]:
    if not isinstance(inputs, dict) or not inputs:
        raise ModelError(
            f"inputs={inputs!r}: must be a dict of at least one name and Modality, for example "
            '{"image": Modality()}.'
        )
    _check_names("inputs", inputs)
    for name, modality in inputs.items():
        if not isinstance(modality, Modality):
            raise ModelError(f"inputs[{name!r}]={modality!r}: must be a fcn_keras.Modality.")
        channels = modality.channels
        if not isinstance(channels, int) or channels < 1:
            raise ModelError(f"inputs[{name!r}]: channels={channels!r}: must be at least 1.")
    return inputs


def _check_names(argument: str, names: Iterable[str]) -> None:
    """Checks names that become part of layer names, which Keras compares ignoring case."""
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise ModelError(
                f"{argument}: {name!r} is not a valid name. Use letters, digits and underscores; "
                "start with a letter."
            )
        if name.lower() in seen:
            raise ModelError(
                f"{argument}: {seen[name.lower()]!r} and {name!r} are the same name, since case is "
                "ignored. Rename one."
            )
        seen[name.lower()] = name
