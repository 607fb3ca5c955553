"""The options of a training run, with defaults, ranges and the texts of `train --help`."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from fcn_keras.errors import ConfigError
from fcn_keras.runs.option_faults import one_line

Net = Literal["fcn32s", "fcn16s", "fcn8s"]
Geometry = Literal["same", "reference"]
STAGES = get_args(Net)  # From coarse to fine; each stage starts from the previous one.
RENAMED = {"keep": "sample_rate"}  # Option names of version 0.1 and their current names.


def current_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Renames the options of a run of any version to the field names of `TrainConfig`."""
    return {RENAMED.get(name, name): value for name, value in options.items()}


def option(default: Any, description: str, **rules: Any) -> Any:
    """Defines a field of `TrainConfig`; its description is the help text of the command line."""
    return Field(default, description=description, **rules)


class TrainConfig(BaseModel):
    """All options that determine a run's result; `RUN/config.yaml` stores them, resolved.

    Raises:
        ConfigError: An option is unknown or missing, or has a wrong type or value.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    # Data
    data: str = option(..., "A data set's name, or the YAML file that describes your folders.")
    data_dir: str | None = option(None, "Folder with the data set's files.")
    train_split: str = option(
        "train", "Split to train on: train, or trainval, sbd, ... if the data set has it."
    )
    val_split: str = option("val", "Split that chooses the best epoch.")
    on_bad_file: Literal["stop", "skip"] = option(
        "stop", "skip: leave out examples with faults, and list them."
    )
    cache: bool = option(False, "Keep decoded images in memory.")  # Does not change the result.

    # Model
    model: Net = option("fcn8s", "The paper's FCN-32s, FCN-16s or FCN-8s.")
    backbone: str = option(
        "vgg16",
        "vgg16, alexnet, googlenet, resnet50, mobilenet_v2, efficientnet_v2_b0, convnext_tiny or "
        "tiny.",
    )
    weights: str | None = option(
        "imagenet", "imagenet, a keras.applications weights file (with or without top), or none."
    )
    head_width: int = option(4096, "Channels of fc6 and fc7.", ge=1)
    dropout: float = option(0.5, "Dropout rate after fc6 and fc7.", ge=0, lt=1)
    skip_scales: tuple[float, float] = option(  # FCN-32s uses none, FCN-16s only the first.
        (1.0, 1.0), "Factors on pool4 and pool3 before their score layers."
    )
    geometry: Geometry = option("same", "reference: the authors' padding and crops.")
    mean: str | None = option(
        None,
        "Mean subtracted from the image: imagenet, voc, nyudv2, nyudv2_hha or siftflow; by default "
        "the backbone's own.",
    )
    zoom: float = option(
        1.0,
        "Enlarge the model's input by this factor: finer strides, but time grows with its square.",
        ge=0.1,
        le=10,
    )
    freeze: tuple[str, ...] = option((), "Freeze layers with this name prefix; may be repeated.")
    init_from: str | None = option(
        None,
        "Start from a trained coarser model: a run's folder or a .keras file. --weights is then "
        "ignored.",
    )
    reset_scores: bool = option(
        False, "With --init-from: reinitialise the score layers, for other classes than RUN's."
    )

    # Samples
    batch_size: int = option(4, "Images per step, over all devices.", ge=1)
    crop: tuple[int, int] | None = option(  # (height, width)
        (320, 320), "Crop size; none: whole images, padded to a common size."
    )
    scale: tuple[float, float] = option((0.75, 1.5), "Range of the random resizing factor.")
    mirror: bool = option(True, "Mirror half of the images at random.")
    colour: float = option(0.5, "Strength of random colour changes, 0 (none) to 1.", ge=0, le=1)

    # Optimization. A step is one batch; an iteration is one update of the weights, every
    # `accumulate` steps. AdamW's decay is decoupled; SGD's is L2, part of the momentum, on kernels
    # only.
    epochs: int = option(20, "Passes over the training data.", ge=1)
    iterations: int | None = option(None, "Number of weight updates, instead of epochs.", ge=1)
    optimizer: Literal["adamw", "sgd"] = option("adamw", "sgd is Caffe's SGD with momentum.")
    learning_rate: float = option(1e-4, "Learning rate after the warm-up.", gt=0)
    stage_rates: tuple[float, float] = option(
        (1.0, 1.0),
        "Factors on the learning rate of an FCN-16s and an FCN-8s that start from a coarser model.",
    )
    schedule: Literal["cosine", "constant"] = option(
        "cosine", "Learning rate schedule after the warm-up."
    )
    warmup_steps: int = option(
        50, "Steps until the full learning rate, at most half of the training.", ge=0
    )
    weight_decay: float = option(1e-4, "adamw: decoupled; sgd: L2, on kernels only.", ge=0)
    momentum: float = option(0.9, "Momentum of sgd.", ge=0, lt=1)
    bias_rate: float = option(1.0, "sgd: factor on the learning rate of biases.", ge=0)
    bias_layers: tuple[str, ...] = option(
        (),
        "sgd: only biases of layers with this name prefix have --bias-rate and no decay; may be "
        "repeated.",
    )
    accumulate: int = option(1, "Batches whose gradients are accumulated for one update.", ge=1)
    loss_reduction: Literal["mean", "sum"] = option(
        "mean", "Reduction of the loss over a batch's labelled pixels."
    )
    sample_rate: float = option(
        1.0, "Patch sampling: share of the pixels that contribute to the gradient.", gt=0, le=1
    )
    class_balance: float = option(  # Exponent in `losses.balancing_weights`.
        0.0, "Weight of rare classes: 0 (no reweighting) to 1 (all classes equal).", ge=0, le=1
    )
    validate_every: int = option(1, "Epochs between validations.", ge=1)
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = option(
        "auto",
        "auto: bfloat16 if the GPU or processor supports it; mixed_float16 is for GPUs.",
    )
    # The number of devices changes rounding, and the random draws of dropout and `sample_rate`.
    devices: int | Literal["auto", "all"] = option(
        "auto", "GPUs that share each batch; auto: as many as can share it evenly."
    )
    seed: int = option(0, "Seed of all random numbers.", ge=0)

    def __init__(self, **options: Any) -> None:
        """Checks the options; an invalid one is a `ConfigError` of one line."""
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise ConfigError(one_line(error, type(self).model_fields)) from None

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
        raise ValueError("must be a number of at least 1, all or auto")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.crop is not None and min(self.crop) < 1:
            raise ValueError(f"crop: must be at least 1 x 1, found {self.crop}")
        if not 0.1 <= self.scale[0] <= self.scale[1] <= 10:
            raise ValueError(f"scale: must be 0.1 <= low <= high <= 10, found {self.scale}")
        if self.reset_scores and not self.init_from:
            raise ValueError("reset_scores: needs a model to start from; give init_from too")
        for name in ("freeze", "bias_layers"):
            if "" in getattr(self, name):
                raise ValueError(f"{name}: must be the start of layer names, found ''")
        if min(self.stage_rates) <= 0:
            raise ValueError(f"stage_rates: must be above 0, found {self.stage_rates}")
        return self

    @property
    def rate(self) -> float:
        """The learning rate, scaled by `stage_rates` if the model starts from a coarser one."""
        factors = dict(zip(STAGES, (1.0, *self.stage_rates), strict=True))
        refines = self.init_from and not self.reset_scores
        return self.learning_rate * (factors[self.model] if refines else 1.0)

    def steps(self, steps_per_epoch: int) -> int:
        """Returns the steps (batches) of the whole run."""
        if self.iterations is None:
            return self.epochs * steps_per_epoch
        return self.iterations * self.accumulate

    def warmup(self, steps_per_epoch: int) -> int:
        """Returns the steps of the warm-up: at most half of the run."""
        return min(self.warmup_steps, self.steps(steps_per_epoch) // 2)

    def passes(self, steps_per_epoch: int) -> int:
        """Returns the epochs of the whole run, including an incomplete last one."""
        return math.ceil(self.steps(steps_per_epoch) / steps_per_epoch)
