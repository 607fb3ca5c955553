"""Builds and compiles the model that a `TrainConfig` describes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.distribution import processor
from fcn_keras.errors import ConfigError
from fcn_keras.losses import MaskedCrossentropy, balancing_weights
from fcn_keras.metrics import ConfusionMatrix
from fcn_keras.models.fcn import MODELS
from fcn_keras.models.modality import Modality
from fcn_keras.optimizers import CaffeSGD, FusedAdamW, LossScaling
from fcn_keras.runs.config import TrainConfig
from fcn_keras.surgery.transfer import start_from
from fcn_keras.training.tiled_validation import validate_in_tiles


def compiled(
    config: TrainConfig,
    num_classes: int,
    steps: int,
    class_pixels: np.ndarray | None,
    is_new: bool,
    skip_absent: bool = False,
) -> keras.Model:
    """Returns the model ready for `fit`; loads initial weights only if `is_new`."""
    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        source = config if is_new else config.model_copy(update={"weights": None})
        model = build_model(source, num_classes)
    finally:
        keras.config.set_dtype_policy(before)
    if config.init_from and is_new:
        start_from(model, config.init_from, reset_scores=config.reset_scores)
    compile_model(model, config, steps, class_pixels, skip_absent)
    return model


def build_model(config: TrainConfig, num_classes: int) -> keras.Model:
    """Builds the model that a `TrainConfig` describes and freezes layers.

    Raises:
        ConfigError: A layer of `freeze` or `bias_layers` does not exist.
    """
    options: dict[str, Any] = {
        "backbone": config.backbone,
        "weights": None if config.init_from else config.weights,
        "head_width": config.head_width,
        "dropout": config.dropout,
        "geometry": config.geometry,
        "zoom": config.zoom,
        "inputs": {"image": Modality.with_mean_of(config.mean)} if config.mean else None,
    }
    skips = {"fcn32s": 0, "fcn16s": 1, "fcn8s": 2}[config.model]
    if skips:
        options["skip_scales"] = config.skip_scales[:skips]
    model = MODELS[config.model](num_classes, **options)
    for prefix in config.freeze:
        for layer in _layers(model, "freeze", prefix):
            layer.trainable = False
    for prefix in config.bias_layers:
        _layers(model, "bias_layers", prefix)
    return model


def _layers(model: keras.Model, option: str, prefix: str) -> list[keras.Layer]:
    """Returns the layers whose names start with a prefix."""
    chosen = [layer for layer in model.layers if layer.name.startswith(prefix)]
    if not chosen:
        raise ConfigError(
            f"{option}={prefix!r}: no layer of {model.name} has a name that starts with it."
        )
    return chosen


def compile_model(
    model: keras.Model,
    config: TrainConfig,
    steps_per_epoch: int,
    class_pixels: np.ndarray | None = None,
    skip_absent: bool = False,
) -> None:
    """Compiles the model with the configuration's optimizer, schedule, loss and metrics.

    Validation sees large images in tiles.

    Args:
        model: The model.
        config: A `TrainConfig`.
        steps_per_epoch: Batches per epoch.
        class_pixels: As in `fitting.fit`.
        skip_absent: As in `fitting.fit`.
    """
    total = config.steps(steps_per_epoch)
    if config.accumulate > total:
        raise ConfigError(
            f"accumulate={config.accumulate}: the run has {total} steps, too few for one update. "
            "Lower it (--accumulate), or train longer."
        )
    weights = None
    if config.class_balance and class_pixels is not None:
        weights = balancing_weights(class_pixels, config.class_balance)
    num_classes = model.output_shape[-1]
    optimizer = _optimizer(config, _schedule(config, steps_per_epoch))
    loss = MaskedCrossentropy(
        class_weights=weights, reduction=config.loss_reduction, sample_rate=config.sample_rate
    )
    metric = ConfusionMatrix(num_classes, skip_absent=skip_absent)
    model.compile(
        LossScaling(optimizer) if config.precision == "mixed_float16" else optimizer,
        loss=loss,
        metrics=[metric],
        jit_compile=False,  # "auto" means XLA on a GPU, which recompiles for each image size.
    )
    validate_in_tiles(model, loss, metric)


def _schedule(
    config: TrainConfig, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a linear warm-up followed by a cosine decay to zero or a constant rate."""
    steps, warmup = config.steps(steps_per_epoch), config.warmup(steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.rate,
        decay_steps=steps - warmup,
        alpha={"cosine": 0.0, "constant": 1.0}[config.schedule],  # Final share of the rate.
        warmup_target=config.rate if warmup else None,
        warmup_steps=warmup,
    )


def _optimizer(
    config: TrainConfig, rate: keras.optimizers.schedules.LearningRateSchedule
) -> FusedAdamW | CaffeSGD:
    if config.optimizer == "adamw":
        return FusedAdamW(
            rate,
            weight_decay=config.weight_decay,
            gradient_accumulation_steps=config.accumulate,
        )
    return CaffeSGD(
        rate,
        config.momentum,
        l2=config.weight_decay,
        bias_rate=config.bias_rate,
        bias_layers=config.bias_layers,
        gradient_accumulation_steps=config.accumulate,
    )


def resolve_precision(precision: str) -> str:
    """Resolves "auto" to mixed_bfloat16 if the hardware supports it, or else float32.

    GPUs support it from compute capability 8.0 (Ampere) on. mixed_float16, which needs loss
    scaling, is used only on request.
    """
    if precision != "auto":
        return precision
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        fast = all(one.get("compute_capability", (0, 0)) >= (8, 0) for one in details)
    else:
        fast = processor.has_bfloat16()
    return "mixed_bfloat16" if fast else "float32"
