"""The options of a training run: their meaning, defaults and ranges. `train --help` shows them."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Net = Literal["fcn32s", "fcn16s", "fcn8s"]
Geometry = Literal["same", "reference"]
STAGES = get_args(Net)  # From coarse to fine: each starts from the one before.


RENAMED = {"keep": "sample_rate"}  # Options of 0.1 by their names of today.


def current_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a run of any version, by the names of `TrainConfig`'s fields."""
    return {RENAMED.get(name, name): value for name, value in options.items()}


def option(default: Any, description: str, **rules: Any) -> Any:
    """A field of `TrainConfig`; the command line's help is its description."""
    return Field(default, description=description, **rules)


class TrainConfig(BaseModel):
    """Everything that decides a run's result; `RUN/config.yaml` holds it, resolved."""

    model_config = ConfigDict(extra="forbid")

    # Data
    data: str
    data_dir: str | None = None
    train_split: str = option("train", "What is trained on; trainval, sbd, ... where there is.")
    val_split: str = option("val", "What chooses the best epoch.")
    on_bad_file: Literal["stop", "skip"] = option(
        "stop", "skip: leave such examples out, and list them."
    )
    cache: bool = option(False, "Keep decoded images in memory.")  # Changes no result.

    # Model
    model: Net = option("fcn8s", "Which of the paper's three nets.")
    backbone: str = option(
        "vgg16",
        "vgg16, alexnet, googlenet, resnet50, mobilenet_v2, efficientnet_v2_b0, convnext_tiny or "
        "tiny.",
    )
    weights: str | None = option(
        "imagenet", "imagenet, a keras.applications weights file with or without top, or none."
    )
    head_width: int = option(4096, "Channels of fc6 and fc7.", ge=1)
    dropout: float = option(0.5, "After fc6 and fc7.", ge=0, lt=1)
    skip_scales: tuple[float, float] = option(  # FCN-32s uses neither, FCN-16s the first.
        (1.0, 1.0), "Factors on pool4 and pool3 before their scores."
    )
    geometry: Geometry = option("same", "reference: the authors' padding and crops.")
    mean: str | None = option(
        None,
        "Subtracted from the image: imagenet, voc, nyudv2, nyudv2_hha, siftflow; by default the "
        "backbone's own.",
    )
    zoom: float = option(
        1.0,
        "The net sees its image enlarged by this: finer strides, time grows by its square.",
        ge=0.1,
        le=10,
    )
    freeze: tuple[str, ...] = option(
        (), "Layers whose names start so keep their weights; may be repeated."
    )
    init_from: str | None = option(
        None,
        "Start from a trained coarser net: a run's folder or a .keras file. --weights is then not "
        "used.",
    )
    reset_scores: bool = option(
        False, "With --init-from: start the scores anew, for other classes than RUN's."
    )

    # Samples
    batch_size: int = option(4, "Images in a step.", ge=1)
    crop: tuple[int, int] | None = option(  # (height, width)
        (320, 320), "Size of the crops; none: whole images, padded to the batch."
    )
    scale: tuple[float, float] = option((0.75, 1.5), "Images are resized at random.")
    mirror: bool = option(True, "Half of the images are mirrored.")
    colour: float = option(0.5, "Colour changes, 0 (none) to 1.", ge=0, le=1)

    # Optimization. A step is a batch; an iteration is an update of the weights, after `accumulate`
    # steps. AdamW's decay is decoupled, SGD's is L2 inside the momentum and on kernels only.
    epochs: int = option(20, "Passes over the training data.", ge=1)
    iterations: int | None = option(None, "Updates of the weights, instead of epochs.", ge=1)
    optimizer: Literal["adamw", "sgd"] = option("adamw", "sgd is Caffe's, with momentum.")
    learning_rate: float = option(1e-4, "After the warm-up.", gt=0)
    stage_rates: tuple[float, float] = option(
        (1.0, 1.0),
        "Factors on the learning rate of an FCN-16s and an FCN-8s that start from a coarser net.",
    )
    schedule: Literal["cosine", "constant"] = option(
        "cosine", "The learning rate after the warm-up."
    )
    warmup_steps: int = option(50, "Batches until the full learning rate.", ge=0)
    weight_decay: float = option(1e-4, "adamw: decoupled; sgd: L2, kernels only.", ge=0)
    momentum: float = option(0.9, "Of sgd.", ge=0, lt=1)
    bias_rate: float = option(1.0, "Factor on the learning rate of biases, with sgd.", ge=0)
    accumulate: int = option(1, "Batches whose gradients make one update.", ge=1)
    loss_reduction: Literal["mean", "sum"] = option("mean", "Over the labelled pixels of a batch.")
    sample_rate: float = option(
        1.0, "Patch sampling: share of the pixels that enter the gradient.", gt=0, le=1
    )
    class_balance: float = option(  # Exponent of `losses.balancing_weights`.
        0.0, "Weight of rare classes: 0 (as they are) to 1 (alike).", ge=0, le=1
    )
    validate_every: int = option(1, "Epochs from one validation to the next.", ge=1)
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = option(
        "auto",
        "auto: bfloat16 where GPU or processor compute in it; mixed_float16 is for GPUs.",
    )
    # Devices change a result by rounding only, but for the draws of dropout and `sample_rate`.
    devices: int | Literal["auto", "all"] = option(
        "auto", "GPUs that share each batch; auto: as many as can share it evenly."
    )
    seed: int = option(0, "Of all random numbers.", ge=0)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, options: Any) -> Any:
        return current_names(options) if isinstance(options, dict) else options

    @field_validator("devices", mode="before")
    @classmethod
    def _number_of_devices(cls, value: Any) -> int | str:
        number = int(value) if str(value).isdecimal() else value
        if number in ("auto", "all") or (type(number) is int and number > 0):
            return number
        raise ValueError("must be a number from 1, all, or auto")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.crop is not None and min(self.crop) < 1:
            raise ValueError(f"crop: must be at least 1 x 1, found {self.crop}")
        if not 0.1 <= self.scale[0] <= self.scale[1] <= 10:
            raise ValueError(f"scale: must be 0.1 <= low <= high <= 10, found {self.scale}")
        if self.reset_scores and not self.init_from:
            raise ValueError("reset_scores: is of a net to start from; give init_from too")
        if "" in self.freeze:
            raise ValueError("freeze: must be the beginning of layers' names, found ''")
        if min(self.stage_rates) <= 0:
            raise ValueError(f"stage_rates: must be above 0, found {self.stage_rates}")
        return self

    @property
    def rate(self) -> float:
        """The learning rate of this net: that of the recipe, lower where it refines a coarser."""
        factors = dict(zip(STAGES, (1.0, *self.stage_rates), strict=True))
        refines = self.init_from and not self.reset_scores
        return self.learning_rate * (factors[self.model] if refines else 1.0)

    def steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole run, for the steps (batches) of one pass over the data."""
        if self.iterations is None:
            return self.epochs * steps_per_epoch
        return self.iterations * self.accumulate

    def passes(self, steps_per_epoch: int) -> int:
        """Epochs of the whole run, the last one begun included."""
        return math.ceil(self.steps(steps_per_epoch) / steps_per_epoch)
