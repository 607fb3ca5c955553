"""What a training run is made of, and named recipes as data. No TensorFlow here."""

import difflib
import math
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fcn_keras.errors import ConfigError

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


# What the paper's recipes have in common: whole images, one by one and as they are, a fixed rate,
# biases at twice that rate and without decay; each finer net starts from the one before.
PAPER = {
    "geometry": "reference",
    "mean": "voc",
    "batch_size": 1,
    "crop": None,
    "scale": (1.0, 1.0),
    "mirror": False,
    "colour": 0.0,
    "optimizer": "sgd",
    "schedule": "constant",
    "warmup_steps": 0,
    "weight_decay": 5e-4,
    "bias_rate": 2.0,
    "stage_rates": (1e-2, 1e-4),
    "precision": "float32",
}

# The reference implementation's, batch 1 with the loss summed over the pixels. Mean IU on the
# 736 images of VOC 2011's seg11valid, as published: 32s 63.6, 16s 65.0, 8s 65.5.
HEAVY = {
    **PAPER,
    "momentum": 0.99,
    "loss_reduction": "sum",
    "learning_rate": 1e-10,
    "iterations": 100_000,
}

# 367 street scenes on two CPU cores. The first two blocks keep their ImageNet filters, which saves
# a third of the time. The skip scales bring pool4 and pool3 (root mean square 87 and 460 with
# ImageNet weights) to the range of fc7 (about 5), so that one learning rate suits all three score
# layers. Small crops in many epochs beat large ones in few; a rate of 2e-4 or half the batch was no
# faster. Rare classes weigh a little more: at 0.3 the mean IU is about 0.005 lower.
CAMVID = {
    "head_width": 1024,
    "skip_scales": (0.05, 0.01),
    "freeze": ("block1", "block2"),
    "batch_size": 4,
    "crop": (256, 352),
    "scale": (0.75, 1.5),
    "colour": 0.7,
    "epochs": 24,
    "learning_rate": 1e-4,
    "class_balance": 0.1,
    "validate_every": 6,
}

RECIPES = {
    "default": {},
    # Val mean IU 0.701. It plateaus there: what is missing is not epochs but resolution, and the
    # balance of the classes.
    "camvid": CAMVID,
    # From "camvid" (--init-from): 0.720. Strides are finer by the zoom, for crops of the same cost.
    "camvid-fine": {
        **CAMVID,
        "zoom": 1.5,
        "crop": (192, 256),
        "epochs": 12,
        "validate_every": 4,
    },
    # From "camvid-fine": 0.725, and 0.736 after `fcn-keras calibrate`.
    "camvid-large": {
        **CAMVID,
        "zoom": 1.5,
        "crop": (288, 384),
        "batch_size": 2,
        "learning_rate": 3e-5,
        "epochs": 2,
        "validate_every": 2,
    },
    # For a GPU and as long as it takes; never run.
    "camvid-full": {
        **CAMVID,
        "head_width": 4096,
        "zoom": 1.5,
        "freeze": (),
        "batch_size": 8,
        "crop": (288, 384),
        "scale": (0.5, 2.0),
        "epochs": 300,
        "learning_rate": 5e-5,
        "validate_every": 10,
    },
    # Rendered shapes, a minute on two CPU cores.
    "quickstart": {
        "backbone": "tiny",
        "weights": None,
        "head_width": 64,
        "batch_size": 8,
        "crop": (128, 160),
        "scale": (0.8, 1.25),
        "epochs": 40,
        "learning_rate": 3e-3,
        "precision": "float32",
        "validate_every": 10,
    },
    # The conference paper's: 20 images to an update, the loss averaged. Mean IU as above: 32s 59.4,
    # 16s 62.4, 8s 62.7; before the SBD data VGG16 56.0, AlexNet 39.8, GoogLeNet 42.5.
    "accumulated": {
        **PAPER,
        "momentum": 0.9,
        "accumulate": 20,
        "learning_rate": 1e-4,
        "epochs": 175,
        "validate_every": 5,
    },
    "heavy": HEAVY,
    # "heavy" with the loss averaged. The rate is derived, not published: 1e-10 times the pixels of
    # a PASCAL VOC image.
    "online": {**HEAVY, "loss_reduction": "mean", "learning_rate": 1.9e-5},
    # FCN-8s straight from the classifier, without the coarser nets: mean IU as above 65.4.
    "at-once": {**HEAVY, "model": "fcn8s", "skip_scales": (0.01, 0.0001), "iterations": 300_000},
}

# Backbones that the reference implementation has, and that so have its geometry and its means.
OF_THE_REFERENCE = ("vgg16", "alexnet")

# What a recipe sets otherwise for some backbone or data set; a later row beats an earlier one.
VARIANTS = {
    "accumulated": (
        ({"backbone": "alexnet"}, {"learning_rate": 1e-3}),
        ({"backbone": "googlenet"}, {"learning_rate": 5e-5}),
    ),
    "heavy": (
        ({"data": "siftflow"}, {"stage_rates": (1e-2, 1e-2), "mean": "siftflow"}),
        ({"data": "siftflow-geometric"}, {"stage_rates": (1e-2, 1e-2), "mean": "siftflow"}),
        ({"data": "nyudv2"}, {"mean": "nyudv2"}),
        ({"data": "nyudv2-hha"}, {"mean": "nyudv2_hha"}),
        ({"data": "pascal_context"}, {"iterations": 400_000}),
        (  # Mean IU as above 48.0.
            {"backbone": "alexnet"},
            {"loss_reduction": "mean", "momentum": 0.9, "accumulate": 20, "learning_rate": 1e-4},
        ),
    ),
}


def resolve(recipe, options):
    """The configuration of a recipe with some of its options set otherwise.

    Args:
        recipe: a key of `RECIPES`, or a dict of options.
        options: values by the names of `TrainConfig`'s fields.

    Returns:
        A `TrainConfig`.

    Raises:
        ConfigError: the recipe or an option is unknown, or a value is out of its range.
    """
    if isinstance(recipe, str) and recipe not in RECIPES:
        raise ConfigError(f"recipe={recipe!r}: unknown; choose one of {', '.join(RECIPES)}.")
    if options.get("epochs") and options.get("iterations"):
        raise ConfigError(
            f"epochs={options['epochs']}, iterations={options['iterations']}: both say when to "
            "stop. Give one."
        )
    settings = _settings(recipe, options) if isinstance(recipe, str) else dict(recipe)
    if "epochs" in options:
        settings["iterations"] = None
    try:
        config = TrainConfig(**{**settings, **options})
    except ValidationError as error:
        # A misspelt option explains the missing one.
        fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        name = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            raise ConfigError(f"{name}={fault['input']!r}: unknown; {_meant(name)}") from None
        where = f"{name}={fault['input']!r}: " if name else ""
        raise ConfigError(f"{where}{fault['msg'].removeprefix('Value error, ')}.") from None
    for name in ("momentum", "bias_rate"):
        if name in options and config.optimizer != "sgd":
            raise ConfigError(
                f"{name}={options[name]!r}: the optimizer is {config.optimizer}, which has none. "
                "Choose optimizer: sgd (--optimizer sgd)."
            )
    return config


def read_recipe(path):
    """The options of a YAML file: by the names of `TrainConfig`'s fields, or a `RUN/config.yaml`.

    Raises:
        ConfigError: the file cannot be read, or holds no options.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"recipe={str(path)!r}: no such file.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"recipe={str(path)!r}: not readable as YAML: {reason}") from None
    options = content.get("options", content) if isinstance(content, dict) else None
    if not isinstance(options, dict):
        raise ConfigError(f"recipe={str(path)!r}: must hold options, such as `batch_size: 4`.")
    return {name: None if value == "none" else value for name, value in options.items()}


def _meant(name):
    """What a misspelt option may have been."""
    close = difflib.get_close_matches(name.replace("-", "_"), TrainConfig.model_fields, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"choose one of {', '.join(TrainConfig.model_fields)}."


def _settings(recipe, options):
    """A recipe's options with the rows of `VARIANTS` that apply."""
    settings = dict(RECIPES[recipe])
    defaults = {name: field.default for name, field in TrainConfig.model_fields.items()}
    chosen = {**defaults, **settings, **options}
    for condition, changes in VARIANTS.get(recipe, ()):
        if all(chosen[name] == value for name, value in condition.items()):
            settings |= changes
    if chosen["backbone"] not in OF_THE_REFERENCE:
        settings |= {"geometry": "same", "mean": None}
    if chosen["backbone"] == "tiny":
        settings["weights"] = None
    if recipe.startswith("camvid") and chosen["backbone"] != "vgg16":
        for name in ("freeze", "skip_scales"):  # Both speak of VGG16's blocks.
            del settings[name]
    return settings
