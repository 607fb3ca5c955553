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

import csv
import math
import os
import shutil
import time
from itertools import pairwise
from pathlib import Path

import keras
import tensorflow as tf
import yaml
from PIL import Image

from fcn_keras import outputs
from fcn_keras.decoder import Stream
from fcn_keras.errors import ConfigError
from fcn_keras.evaluation import confusion_picture, report
from fcn_keras.losses import MaskedCrossentropy, balancing_weights
from fcn_keras.metrics import FIGURES, ConfusionMatrix
from fcn_keras.models import MODELS
from fcn_keras.optimizers import CaffeSGD
from fcn_keras.prediction import predict, side_by_side
from fcn_keras.recipes import STAGES
from fcn_keras.transfer import start_from

RUN_FILES = (
    "model.keras",
    "config.yaml",
    "metrics.json",
    "history.csv",
    "tensorboard",
    "pictures",
)
SHOWN = 8  # Validation images that become pictures.
HISTORY = (
    "epoch",
    "loss",
    *FIGURES,
    "val_loss",
    *(f"val_{name}" for name in FIGURES),
    "learning_rate",
    "images_per_second",
    "seconds",
)


def train(
    config, train_data, val_data, out, *, class_names, palette, class_pixels=None, callbacks=()
):
    """Trains, validates and keeps the best model.

    Args:
        config: a `TrainConfig`.
        train_data: a `tf.data.Dataset` of images `[b, h, w, 3]` and masks `[b, h, w]`, of known
            cardinality: one epoch.
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

    steps = int(train_data.cardinality())
    if config.init_from:
        start_from(model, config.init_from)
    compile_model(model, config, steps, class_pixels)
    resolved = config.model_copy(update={"precision": precision})
    write_run_config(out, resolved, class_names, palette)

    log = RunLog(out, config.batch_size, val_data, class_names, palette, config.steps(steps))
    last = config.passes(steps)
    every = config.validate_every
    model.fit(
        train_data,
        validation_data=val_data,
        epochs=last,
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


class RunLog(keras.callbacks.Callback):
    """Writes the run's folder: best model, figures, history, TensorBoard, pictures.

    It adds "learning_rate", "images_per_second" and "seconds" to the epoch's logs, for the
    callbacks after it.
    """

    def __init__(self, out, train_batch, val_data, class_names, palette, steps):
        """Writes into `out`, which exists, and ends training after `steps` batches.

        `train_batch` is the number of images in a batch.
        """
        super().__init__()
        self.out, self.train_batch, self.steps_left = out, train_batch, steps
        self.class_names, self.palette = class_names, palette
        self.shown = [
            (images[0].numpy(), masks[0].numpy()) for images, masks in val_data.take(SHOWN)
        ]
        self.best_report = None
        self.writer = tf.summary.create_file_writer(str(out / "tensorboard"))

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.started, self.batches = time.perf_counter(), 0

    def on_train_batch_end(self, batch, logs=None):
        """Stops the run as soon as the loss is no number, and where its iterations end."""
        self.batches += 1
        self.steps_left -= 1
        if not self.steps_left:
            self.model.stop_training = True
        self.trained = time.perf_counter() - self.started  # Without validation.
        if not math.isfinite(logs["loss"]):
            raise ConfigError(
                f"the loss became {logs['loss']} at step {batch + 1} of the epoch. Lower the "
                "learning rate (--learning-rate"
                + ("; a summed loss takes about 1e-10)" if self._is_summed() else ")")
                + ("; the best model so far is kept." if self.best_report else ".")
            )

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the model if it is the best so far, and writes the epoch down."""
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        logs["images_per_second"] = self.batches * self.train_batch / self.trained
        logs["seconds"] = time.perf_counter() - self.started
        self._append_history(epoch + 1, logs)
        self._write_scalars(epoch + 1, logs)
        if "val_mean_iou" not in logs:
            return
        # The metric still holds the validation pixels; it is reset when the next epoch begins.
        current = report(self._metric().confusion(), self.class_names)
        self._write_tensorboard_pictures(epoch + 1, current)
        if self.best_report is None or (current["mean_iou"] or 0) > self.best_report["mean_iou"]:
            self.best_report = {**current, "epoch": epoch + 1, "mean_iou": current["mean_iou"] or 0}
            save_model(self.model, self.out / "model.keras")
            outputs.write_json(self.out / "metrics.json", self.best_report)
            self._write_pictures()

    def on_train_end(self, logs=None):
        """Closes the log."""
        self.writer.close()

    def _is_summed(self):
        return getattr(self.model.loss, "reduction", None) == "sum"

    def _metric(self):
        return next(m for m in _flat(self.model.metrics) if isinstance(m, ConfusionMatrix))

    def _append_history(self, epoch, logs):
        path = self.out / "history.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, HISTORY)
            if is_new:
                writer.writeheader()
            writer.writerow({"epoch": epoch, **{k: v for k, v in logs.items() if k in HISTORY}})

    def _write_scalars(self, epoch, logs):
        with self.writer.as_default(step=epoch):
            for name, value in logs.items():
                split = "validation" if name.startswith("val_") else "train"
                tf.summary.scalar(f"{split}/{name.removeprefix('val_')}", value)
        self.writer.flush()

    def _write_tensorboard_pictures(self, epoch, current):
        matrix = confusion_picture(current["confusion"], self.class_names)
        with self.writer.as_default(step=epoch):
            for number, picture in enumerate(self._pictures()):
                tf.summary.image(f"validation/{number:02d}", picture[None])
            tf.summary.image("validation/confusion", matrix[None])
            for entry in current["per_class"]:
                if entry["iou"] is not None:
                    tf.summary.scalar(f"iou/{entry['name']}", entry["iou"])
        self.writer.flush()

    def _write_pictures(self):
        folder = self.out / "pictures"
        folder.mkdir(exist_ok=True)
        for number, picture in enumerate(self._pictures()):
            Image.fromarray(picture).save(folder / f"{number:02d}.png")

    def _pictures(self):
        for image, mask in self.shown:
            yield side_by_side(image, mask, predict(self.model, image), self.palette)


def save_model(model, path):
    """Saves a model for inference, without optimizer, by way of a temporary file."""
    temporary = path.with_name(f".{path.stem}.tmp.keras")
    keras.Model(model.input, model.output, name=model.name).save(temporary)
    os.replace(temporary, path)


def _flat(metrics):
    """Metrics, and those inside Keras's own containers of compiled metrics."""
    for metric in metrics:
        yield metric
        yield from _flat(getattr(metric, "metrics", ()))
