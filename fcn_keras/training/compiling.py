"""A `TrainConfig` becomes a model that is ready for `fit`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.distribution import processor
from fcn_keras.errors import ConfigError
from fcn_keras.losses import MaskedCrossentropy, balancing_weights
from fcn_keras.metrics import ConfusionMatrix
from fcn_keras.models.decoder import Modality
from fcn_keras.models.fcn import MODELS
from fcn_keras.optimizers import CaffeSGD, FusedAdamW, LossScaling
from fcn_keras.runs.config import TrainConfig
from fcn_keras.surgery.transfer import start_from


def compiled(
    config: TrainConfig,
    num_classes: int,
    steps: int,
    class_pixels: np.ndarray | None,
    is_new: bool,
) -> keras.Model:
    """The model ready for `fit`; one that gets a checkpoint's weights needs none before."""
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
    compile_model(model, config, steps, class_pixels)
    return model


def build_model(config: TrainConfig, num_classes: int) -> keras.Model:
    """The model that a `TrainConfig` describes, with its frozen layers frozen."""
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
        chosen = [layer for layer in model.layers if layer.name.startswith(prefix)]
        if not chosen:
            raise ConfigError(f"freeze: no layer of {model.name} has a name starting {prefix!r}.")
        for layer in chosen:
            layer.trainable = False
    return model


def compile_model(
    model: keras.Model,
    config: TrainConfig,
    steps_per_epoch: int,
    class_pixels: np.ndarray | None = None,
) -> None:
    """Compiles with the configuration's optimizer and schedule, our loss and our metric."""
    total = config.steps(steps_per_epoch)
    if config.accumulate > total:
        raise ConfigError(
            f"accumulate={config.accumulate}: the run has {total} steps, so that the weights would "
            "never be updated. Lower it (--accumulate), or train longer."
        )
    weights = None
    if config.class_balance and class_pixels is not None:
        weights = balancing_weights(class_pixels, config.class_balance)
    num_classes = model.output_shape[-1]
    optimizer = _optimizer(config, _schedule(config, total))
    model.compile(
        LossScaling(optimizer) if config.precision == "mixed_float16" else optimizer,
        loss=MaskedCrossentropy(
            class_weights=weights, reduction=config.loss_reduction, sample_rate=config.sample_rate
        ),
        metrics=[ConfusionMatrix(num_classes)],
        jit_compile=False,  # On a GPU "auto" is XLA, which starts anew for each size of image.
    )


def _schedule(config: TrainConfig, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up, then a cosine to zero or the same rate to the end."""
    warmup = min(config.warmup_steps, steps // 2)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.rate,
        decay_steps=steps - warmup,
        alpha={"cosine": 0.0, "constant": 1.0}[config.schedule],  # What is left in the end.
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
        gradient_accumulation_steps=config.accumulate,
    )


def resolve_precision(precision: str) -> str:
    """The precision that "auto" stands for: bfloat16 where the hardware computes in it.

    On GPUs that is from compute capability 8.0 (Ampere) on, and float32 before: mixed_float16,
    which needs its loss scaled, is for whoever asks for it.
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
