"""One training run: a folder with the best model, its figures, its history and pictures.

RUN/model.keras    the model of the epoch with the best validation mean IU
RUN/config.yaml    everything that decided the result, and the class names and colours
RUN/metrics.json   that model's figures on the validation split
RUN/history.csv    a line for each epoch
RUN/tensorboard/   scalars, predicted pictures, confusion matrix
RUN/pictures/      image | truth | prediction

A staged training is a folder of such runs, RUN/32s, RUN/16s and RUN/8s; the last one's model,
configuration and figures are in RUN too.
"""

import os
import shutil
from itertools import pairwise
from pathlib import Path

import keras
import yaml

from fcn_keras import outputs
from fcn_keras.decoder import Stream
from fcn_keras.errors import ConfigError
from fcn_keras.losses import MaskedCrossentropy, balancing_weights
from fcn_keras.metrics import ConfusionMatrix
from fcn_keras.models import MODELS
from fcn_keras.optimizers import CaffeSGD
from fcn_keras.recipes import STAGES
from fcn_keras.run_log import RunLog
from fcn_keras.transfer import start_from

RUN_FILES = (
    "model.keras",
    "config.yaml",
    "metrics.json",
    "history.csv",
    "tensorboard",
    "pictures",
)


def train(
    config, train_data, val_data, out, *, class_names, palette, class_pixels=None, callbacks=()
):
    """Trains, validates and keeps the best model.

    Args:
        config: a `TrainConfig`.
        train_data: a function that makes the data: `train_data()` gives a `tf.data.Dataset` of
            images `[b, h, w, 3]` and masks `[b, h, w]`, one epoch of known cardinality, and
            `train_data(start=(epoch, step))` one that goes on from that batch without end; as
            `functools.partial(pipelines.train_dataset, split, ...)` does.
        val_data: the same for validation, at native sizes.
        out: the run's folder; made here, must not hold a run yet.
        class_names: a name for each class.
        palette: uint8 `[classes, 3]`, an RGB colour for each class.
        class_pixels: labelled pixels of each class in the training split; needed for
            `config.class_balance`.
        callbacks: further Keras callbacks, for showing progress.

    Returns:
        The report of the best epoch on the validation split, as in `metrics.json`.

    Raises:
        ConfigError: the folder holds a run already, a frozen layer does not exist, the model of
            `config.init_from` does not fit, the run is too short for one update, or the loss became
            infinite or NaN.
        ModelError: the model of `config.init_from` cannot be loaded.
    """
    out = Path(out)
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    precision = resolve_precision(config.precision)
    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = build_model(config, len(class_names))
    finally:
        keras.config.set_dtype_policy(before)

    steps = int(train_data().cardinality())
    if config.init_from:
        start_from(model, config.init_from)
    compile_model(model, config, steps, class_pixels)
    resolved = config.model_copy(update={"precision": precision})
    write_run_config(out, resolved, class_names, palette)

    log = RunLog(out, config.batch_size, val_data, class_names, palette, config.steps(steps))
    last = config.passes(steps)
    every = config.validate_every
    model.fit(
        train_data(start=(0, 0)),
        validation_data=val_data,
        epochs=last,
        steps_per_epoch=steps,
        validation_freq=[e for e in range(1, last + 1) if e % every == 0 or e == last],
        callbacks=[log, *callbacks],
        shuffle=False,  # The data set shuffles itself.
        verbose=0,
    )
    return log.best_report


def train_stages(config, models, train_data, val_data, out, **options):
    """Trains coarse nets first and each finer one from the best model of the one before.

    Every stage is a run of its own: `out/32s`, `out/16s`, `out/8s`. In the end `out` itself gets
    the last one's model, figures and configuration, so that it can be used as a run.

    Args:
        config: a `TrainConfig`; its `model` has no say, and its `init_from` only for the first.
        models: names of nets from coarse to fine, such as `recipes.STAGES`.
        train_data: as in `train`.
        val_data: as in `train`.
        out: the folder of all stages.
        **options: further arguments of `train`.

    Returns:
        The report of the last stage's best epoch on the validation split.

    Raises:
        ConfigError: as in `train`, or the models are not a sequence of nets from coarse to fine.
        ModelError: as in `train`.
    """
    folders, source = check_stages(models, out), config.init_from
    for model, folder in zip(models, folders, strict=True):
        stage = config.model_copy(update={"model": model, "init_from": source})
        best = train(stage, train_data, val_data, folder, **options)
        source = str(folder)
    for name in ("model.keras", "metrics.json", "config.yaml"):
        temporary = Path(out) / f".{name}.tmp"
        shutil.copy(folder / name, temporary)
        os.replace(temporary, Path(out) / name)
    return best


def check_stages(models, out):
    """Checks the folders of a staged training and returns them in order: `out/32s` and so on.

    Raises:
        ConfigError: the models are not a sequence of nets from coarse to fine, or one of the
            folders, or `out`, holds a run already or cannot be written.
    """
    order = [STAGES.index(model) if model in STAGES else -1 for model in models]
    if not order or order[0] < 0 or any(a >= b for a, b in pairwise(order)):
        raise ConfigError(
            f"stages={','.join(models)}: must be some of {','.join(STAGES)} (command line: "
            "--stages 32,16,8), from coarse to fine."
        )
    folders = [Path(out) / model.removeprefix("fcn") for model in models]
    for folder in (out, *folders):
        check_folder(folder)
    return folders


def check_folder(out):
    """Checks that a folder can take a run; makes nothing.

    Raises:
        ConfigError: it holds something that a run would write, or cannot be written to.
    """
    found = [name for name in RUN_FILES if (Path(out) / name).exists()]
    if found:
        raise ConfigError(
            f"{out}: holds a run already, or part of one ({', '.join(found)}). Choose another "
            "folder (--out), or remove it."
        )
    outputs.check_folder(out)


def build_model(config, num_classes):
    """The model that a `TrainConfig` describes, with its frozen layers frozen."""
    options = {
        "backbone": config.backbone,
        "weights": None if config.init_from else config.weights,
        "head_width": config.head_width,
        "dropout": config.dropout,
        "geometry": config.geometry,
        "inputs": {"image": Stream.with_mean_of(config.mean)} if config.mean else None,
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


def compile_model(model, config, steps_per_epoch, class_pixels=None):
    """Compiles with the configuration's optimizer and schedule, our loss and our metric."""
    total = config.steps(steps_per_epoch)
    if config.accumulate > total:
        raise ConfigError(
            f"accumulate={config.accumulate}: the run has {total} steps, so that the weights would "
            "never be updated. Lower it (--accumulate), or train longer."
        )
    weights = None
    if config.class_balance:
        weights = balancing_weights(class_pixels, config.class_balance)
    num_classes = model.output_shape[-1]
    model.compile(
        _optimizer(config, _schedule(config, total)),
        loss=MaskedCrossentropy(
            class_weights=weights, reduction=config.loss_reduction, keep=config.keep
        ),
        metrics=[ConfusionMatrix(num_classes)],
    )


def _schedule(config, steps):
    """Linear warm-up, then a cosine to zero or the same rate to the end."""
    warmup = min(config.warmup_steps, steps // 2)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.rate,
        decay_steps=steps - warmup,
        alpha={"cosine": 0.0, "constant": 1.0}[config.schedule],  # What is left in the end.
        warmup_target=config.rate if warmup else None,
        warmup_steps=warmup,
    )


def _optimizer(config, rate):
    accumulate = config.accumulate if config.accumulate > 1 else None
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(
            rate, weight_decay=config.weight_decay, gradient_accumulation_steps=accumulate
        )
    return CaffeSGD(
        rate,
        config.momentum,
        l2=config.weight_decay,
        bias_rate=config.bias_rate,
        gradient_accumulation_steps=accumulate,
    )


def resolve_precision(precision):
    """The precision that "auto" stands for: bfloat16 where the processor computes in it."""
    if precision != "auto":
        return precision
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return "mixed_bfloat16" if fast else "float32"


def write_run_config(out, config, class_names, palette):
    """Writes `config.yaml`: the resolved options, and what the classes are called."""
    content = {
        "options": config.model_dump(mode="json"),
        "classes": [
            {"name": name, "colour": [int(c) for c in colour]}
            for name, colour in zip(class_names, palette, strict=True)
        ],
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (out / "config.yaml").write_text(text, encoding="utf-8")
