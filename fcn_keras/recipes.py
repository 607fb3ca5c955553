"""What a training run is made of, and named recipes as data. No TensorFlow here."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fcn_keras.errors import ConfigError


class TrainConfig(BaseModel):
    """Everything that decides a run's result; `RUN/config.yaml` holds it, resolved."""

    model_config = ConfigDict(extra="forbid")

    # Data
    data: str
    data_dir: str | None = None

    # Model
    model: Literal["fcn32s", "fcn16s", "fcn8s"] = "fcn8s"
    backbone: str = "vgg16"
    weights: str | None = "imagenet"
    head_width: int = Field(4096, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    skip_scales: tuple[float, float] = (1.0, 1.0)  # On pool4 and pool3; FCN-32s uses neither.
    freeze: tuple[str, ...] = ()  # Layers whose names start so are not trained.

    # Samples
    batch_size: int = Field(4, ge=1)
    crop: tuple[int, int] = (320, 320)  # (height, width)
    scale: tuple[float, float] = (0.75, 1.5)
    mirror: bool = True
    colour: float = Field(0.5, ge=0, le=1)

    # Optimisation: AdamW, linear warm-up, cosine decay to zero
    epochs: int = Field(20, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    warmup_steps: int = Field(50, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    class_balance: float = Field(0.0, ge=0, le=1)  # Exponent of `losses.balancing_weights`.
    validate_every: int = Field(1, ge=1)
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _ranges(self):
        if min(self.crop) < 1:
            raise ValueError(f"crop: must be at least 1 x 1, found {self.crop}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale: must be 0 < low <= high, found {self.scale}")
        return self


RECIPES = {
    "default": {},
    # 367 street scenes on two CPU cores in about an hour. The first two blocks keep their ImageNet
    # filters, which saves a third of the time. The skip scales bring pool4 and pool3 (root mean
    # square 87 and 460 with ImageNet weights) to the range of fc7 (about 5), so that one learning
    # rate suits all three score layers. Thin classes weigh more: the threshold that is best for
    # the IU of a class lies below one half, the lower its IU.
    "camvid": {
        "head_width": 1024,
        "skip_scales": (0.05, 0.01),
        "freeze": ("block1", "block2"),
        "batch_size": 4,
        "crop": (320, 448),
        "scale": (0.7, 1.6),
        "colour": 1.0,
        "epochs": 15,
        "learning_rate": 1e-4,
        "class_balance": 0.3,
        "validate_every": 3,
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
}


def resolve(recipe, options):
    """The configuration of a recipe with some of its options set otherwise.

    Args:
        recipe: a key of `RECIPES`.
        options: values by the names of `TrainConfig`'s fields.

    Returns:
        A `TrainConfig`.

    Raises:
        ConfigError: the recipe or an option is unknown, or a value is out of its range.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"recipe={recipe!r}: unknown; choose one of {', '.join(RECIPES)}.")
    try:
        return TrainConfig(**{**RECIPES[recipe], **options})
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"])
        where = f"{name}={fault['input']!r}: " if name else ""
        raise ConfigError(f"{where}{fault['msg'].removeprefix('Value error, ')}.") from None
