"""The options of a training run, with their defaults and ranges."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

STAGES = ("fcn32s", "fcn16s", "fcn8s")  # From coarse to fine: each starts from the one before.


class TrainConfig(BaseModel):
    """Everything that decides a run's result; `RUN/config.yaml` holds it, resolved."""

    model_config = ConfigDict(extra="forbid")

    # Data
    data: str
    data_dir: str | None = None
    train_split: str = "train"
    val_split: str = "val"

    on_bad_file: Literal["stop", "skip"] = "stop"
    cache: bool = False  # Decoded images in memory; changes no result.

    # Model
    model: Literal["fcn32s", "fcn16s", "fcn8s"] = "fcn8s"
    backbone: str = "vgg16"
    weights: str | None = "imagenet"
    head_width: int = Field(4096, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    skip_scales: tuple[float, float] = (1.0, 1.0)  # On pool4 and pool3; FCN-32s uses neither.
    geometry: Literal["same", "reference"] = "same"
    mean: str | None = None  # A key of `fcn_keras.MEANS`; None for the backbone's own.
    zoom: float = Field(1.0, ge=0.1, le=10)  # The net sees its image enlarged by this.
    freeze: tuple[str, ...] = ()  # Layers whose names start so are not trained.
    init_from: str | None = None  # A coarser net's run or file; `weights` then has no say.
    reset_scores: bool = False  # Of `init_from` all but the scores, which may be of other classes.

    # Samples
    batch_size: int = Field(4, ge=1)
    crop: tuple[int, int] | None = (320, 320)  # (height, width); None: whole images.
    scale: tuple[float, float] = (0.75, 1.5)
    mirror: bool = True
    colour: float = Field(0.5, ge=0, le=1)

    # Optimisation. A step is a batch; an iteration is an update of the weights, after `accumulate`
    # steps. AdamW's decay is decoupled, SGD's is L2 inside the momentum and on kernels only.
    epochs: int = Field(20, ge=1)
    iterations: int | None = Field(None, ge=1)  # If given they end the run, and not the epochs.
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(1e-4, gt=0)
    stage_rates: tuple[float, float] = (1.0, 1.0)  # Factors for a 16s and an 8s with `init_from`.
    schedule: Literal["cosine", "constant"] = "cosine"  # After the warm-up: to zero, or level.
    warmup_steps: int = Field(50, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)  # Of SGD, and so is the next.
    bias_rate: float = Field(1.0, ge=0)  # Factor on the learning rate of biases.
    accumulate: int = Field(1, ge=1)
    loss_reduction: Literal["mean", "sum"] = "mean"
    keep: float = Field(1.0, gt=0, le=1)  # Share of the pixels that enter the gradient.
    class_balance: float = Field(0.0, ge=0, le=1)  # Exponent of `losses.balancing_weights`.
    validate_every: int = Field(1, ge=1)
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    # A number, "all" GPUs, or "auto": as many GPUs as can share the batch. Without dropout and
    # `keep`, whose draws differ, devices change a result by rounding only.
    devices: int | Literal["auto", "all"] = "auto"
    seed: int = Field(0, ge=0)

    @field_validator("devices", mode="before")
    @classmethod
    def _number_of_devices(cls, value):
        number = int(value) if str(value).isdecimal() else value
        if number in ("auto", "all") or (type(number) is int and number > 0):
            return number
        raise ValueError("must be a number from 1, all, or auto")

    @model_validator(mode="after")
    def _ranges(self):
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
    def rate(self):
        """The learning rate of this net: that of the recipe, lower where it refines a coarser."""
        factors = dict(zip(STAGES, (1.0, *self.stage_rates), strict=True))
        refines = self.init_from and not self.reset_scores
        return self.learning_rate * (factors[self.model] if refines else 1.0)

    def steps(self, steps_per_epoch):
        """Steps of the whole run, for the steps (batches) of one pass over the data."""
        if self.iterations is None:
            return self.epochs * steps_per_epoch
        return self.iterations * self.accumulate

    def passes(self, steps_per_epoch):
        """Epochs of the whole run, the last one begun included."""
        return math.ceil(self.steps(steps_per_epoch) / steps_per_epoch)
