"""One training run, or several from coarse to fine; what they write is in `run_folder`."""

import contextlib
import shutil
from itertools import pairwise
from pathlib import Path

import keras
import tensorflow as tf

from fcn_keras import outputs
from fcn_keras.distribution import devices, workers
from fcn_keras.errors import ConfigError
from fcn_keras.losses import MaskedCrossentropy, balancing_weights
from fcn_keras.metrics import ConfusionMatrix
from fcn_keras.models.decoder import Stream
from fcn_keras.models.fcn import MODELS
from fcn_keras.optimizers import AdamW, CaffeSGD, LossScaling
from fcn_keras.runs import run_folder
from fcn_keras.runs.config import STAGES
from fcn_keras.surgery.transfer import start_from
from fcn_keras.training.checkpoint import KEPT, Checkpoint, Position, size_of
from fcn_keras.training.environment import note_start
from fcn_keras.training.run_log import RunLog


def train(
    config,
    train_data,
    val_data,
    out,
    *,
    class_names,
    palette,
    class_pixels=None,
    callbacks=(),
    resume=False,
    checkpoint_every="10 min",
    fingerprints=None,
    batch_ids=None,
    strategy=None,
    whole=None,
):
    """Trains, validates and keeps the best model; or goes on with a training that was broken off.

    Args:
        config: a `TrainConfig`.
        train_data: a function that makes the data: `train_data()` gives a `tf.data.Dataset` of
            images `[b, h, w, 3]` and masks `[b, h, w]`, one epoch of known cardinality, and
            `train_data(start=(epoch, step))` one that goes on from that batch without end; as
            `functools.partial(pipelines.train_dataset, split, ...)` does. On several machines it
            takes `shard=(number, count)` too.
        val_data: a `tf.data.Dataset` for validation, at native sizes.
        out: the run's folder; made here, must not hold a run yet.
        class_names: a name for each class.
        palette: uint8 `[classes, 3]`, an RGB colour for each class.
        class_pixels: labelled pixels of each class in the training split; needed for
            `config.class_balance`.
        callbacks: further Keras callbacks, for showing progress.
        resume: go on with the run in `out` from its last checkpoint; if there is none, begin.
        checkpoint_every: steps, or a time such as "10 min", from one checkpoint to the next.
        fingerprints: of the training and the validation split, as `pipelines.fingerprint` gives
            them; a run is not resumed on other data.
        batch_ids: a function of `epoch` and `step` that names the examples of a batch, for a
            message about a loss that is no number.
        strategy: of all machines, from `workers.strategy()`, where there are several. Every worker
            then trains, and `out` is the same folder for all; only the chief writes there. By
            default what `config.devices` says.
        whole: the folder of a staged training that this is a stage of, for the advice how to go on.

    Returns:
        The report of the best epoch on the validation split, as in `metrics.json`.

    Raises:
        ConfigError: the folder holds a run already, or one that was begun otherwise, or another
            process writes there, or its disk has no room; there are not so many devices, or they
            cannot share a batch evenly; a frozen layer does not exist, the model of
            `config.init_from` does not fit, the run is too short for one update, or the loss became
            infinite or NaN.
        ModelError: the model of `config.init_from`, or any checkpoint there is, cannot be loaded.
        Stopped: Ctrl-C or SIGTERM; the training has been saved.
        WorkerLost: another machine has ended.
    """
    out = Path(out)
    strategy = strategy or devices.strategy_for(devices.count(config.devices, config.batch_size))
    is_chief = workers.is_chief(strategy)
    together = strategy.num_replicas_in_sync
    if config.batch_size % together:
        raise ConfigError(
            f"batch_size={config.batch_size}: the {together} devices of all machines cannot share "
            f"the images of a batch evenly. Use a multiple of {together} (--batch-size)."
        )
    is_begun = resume and run_folder.is_begun(out)
    config = config.model_copy(update={"precision": resolve_precision(config.precision)})
    workers.check_same(strategy, f"precision={config.precision}", config.precision)
    workers.check_same(strategy, "data", fingerprints)
    if is_begun:
        run_folder.check_unchanged(out, config, fingerprints)
        if run_folder.is_finished(out):
            return run_folder.best_report(out)
        if whole is None:
            run_folder.check_stages(out, None)
    elif is_chief:
        run_folder.check_new(out)
    out.mkdir(parents=True, exist_ok=True)
    with outputs.locked(out) if is_chief else contextlib.nullcontext():
        checkpoint = Checkpoint(
            out / run_folder.CHECKPOINTS,
            every=checkpoint_every,
            batch_ids=batch_ids,
            advice=f"fcn-keras train --resume {whole or out}",
            at_end=False,
        )
        steps = int(train_data().cardinality())
        with strategy.scope():
            model = _compiled(config, len(class_names), steps, class_pixels, checkpoint.is_new)
        if strategy.num_replicas_in_sync > 1:
            devices.synchronise(model)
        needed = (KEPT + 1) * size_of(model) + 2 * 4 * model.count_params()
        if is_chief and not is_begun:
            outputs.check_space(out, needed, "the checkpoints and the model")
            run_folder.begin(out, config, class_names, palette, fingerprints)
        if is_chief:
            note_start(out, epochs=config.passes(steps), steps=config.steps(steps))
        log = RunLog(
            out,
            config,
            val_data,
            class_names,
            palette,
            steps,
            checkpoint.position,
            batch_ids,
            is_chief,
        )
        checkpoint.also = (log,)
        _fit(model, config, train_data, val_data, steps, checkpoint, log, callbacks)
        if is_chief:
            run_folder.finish(out, model, config.passes(steps), log.best_report["epoch"])
    return log.best_report


def _fit(model, config, train_data, val_data, steps, checkpoint, log, callbacks):
    """`model.fit` from the checkpoint's position on."""
    if not workers.is_cluster(model.distribute_strategy):
        val_data = devices.validation(val_data, model.distribute_strategy)
    if checkpoint.train_logs:
        _validate(model, val_data, checkpoint, log)
    last, every = config.passes(steps), config.validate_every
    options = {
        "validation_data": val_data,
        "epochs": last,
        "steps_per_epoch": steps,
        "validation_freq": [e for e in range(1, last + 1) if e % every == 0 or e == last],
        "callbacks": [log, checkpoint, *callbacks],
    }
    try:
        if workers.is_cluster(model.distribute_strategy):
            advice = f"start all workers again: {checkpoint.advice}"
            workers.fit(model, train_data, start=checkpoint.position, advice=advice, **options)
        else:
            model.fit(
                train_data(start=checkpoint.position),
                initial_epoch=checkpoint.position.epoch,
                shuffle=False,  # The data set shuffles itself.
                verbose=0,
                **options,
            )
    finally:
        checkpoint.close()


def _validate(model, val_data, checkpoint, log):
    """Ends an epoch whose training had ended when the run was stopped."""
    checkpoint.restore(model)
    epoch = checkpoint.position.epoch
    if workers.is_cluster(model.distribute_strategy):
        found = workers.evaluate(model, val_data)
    else:
        found = model.evaluate(val_data, return_dict=True, verbose=0)
    log.set_model(model)
    log.on_epoch_begin(epoch)
    validation = {f"val_{name}": value for name, value in found.items()}
    log.on_epoch_end(epoch, {**checkpoint.train_logs, **validation})
    checkpoint.position = Position(epoch + 1, 0)


def train_stages(
    config, models, train_data, val_data, out, *, resume=False, strategy=None, **options
):
    """Trains coarse nets first and each finer one from the best model of the one before.

    Every stage is a run of its own: `out/32s`, `out/16s`, `out/8s`. In the end `out` itself gets
    the last one's model, figures and configuration, so that it can be used as a run.

    Args:
        config: a `TrainConfig`; its `model` has no say, and its `init_from` only for the first.
        models: names of nets from coarse to fine, such as `config.STAGES`.
        train_data: as in `train`.
        val_data: as in `train`.
        out: the folder of all stages.
        resume: as in `train`: finished stages stay as they are.
        strategy: as in `train`.
        **options: further arguments of `train`.

    Returns:
        The report of the last stage's best epoch on the validation split.

    Raises:
        ConfigError: as in `train`, or the models are not a sequence of nets from coarse to fine.
        ModelError: as in `train`.
    """
    out = Path(out)
    is_begun = resume and run_folder.is_begun(out)
    is_chief = workers.is_chief(strategy or tf.distribute.get_strategy())
    is_new = is_chief and not is_begun
    folders, source = check_stages(models, out, is_new=is_new), config.init_from
    if is_begun:
        run_folder.check_stages(out, models)
    out.mkdir(parents=True, exist_ok=True)
    with outputs.locked(out) if is_chief else contextlib.nullcontext():
        if is_new:
            names, palette = options["class_names"], options["palette"]
            last = {"model": models[-1], "precision": resolve_precision(config.precision)}
            run_folder.begin(out, config.model_copy(update=last), names, palette, stages=models)
        for model, folder in zip(models, folders, strict=True):
            reset = config.reset_scores and model == models[0]
            changed = {"model": model, "init_from": source, "reset_scores": reset}
            stage = config.model_copy(update=changed)
            best = train(
                stage,
                train_data,
                val_data,
                folder,
                resume=is_begun,
                strategy=strategy,
                whole=out,
                **options,
            )
            source = str(folder)
        written = ("model.keras", "metrics.json", "finished.json")
        for name in written if is_chief else ():
            with outputs.replacing(out / name) as temporary:
                shutil.copy(folder / name, temporary)
    return best


def check_stages(models, out, *, is_new=True):
    """Checks the folders of a staged training and returns them in order: `out/32s` and so on.

    Raises:
        ConfigError: the models are not a sequence of nets from coarse to fine, or with `is_new` one
            of the folders, or `out`, holds a run already or cannot be written.
    """
    order = [STAGES.index(model) if model in STAGES else -1 for model in models]
    if not order or order[0] < 0 or any(a >= b for a, b in pairwise(order)):
        raise ConfigError(
            f"stages={','.join(models)}: must be some of {','.join(STAGES)} (command line: "
            "--stages 32,16,8), from coarse to fine."
        )
    folders = [run_folder.stage_folder(out, model) for model in models]
    if is_new:
        for folder in (out, *folders):
            run_folder.check_new(folder)
    return folders


def _compiled(config, num_classes, steps, class_pixels, is_new):
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


def build_model(config, num_classes):
    """The model that a `TrainConfig` describes, with its frozen layers frozen."""
    options = {
        "backbone": config.backbone,
        "weights": None if config.init_from else config.weights,
        "head_width": config.head_width,
        "dropout": config.dropout,
        "geometry": config.geometry,
        "zoom": config.zoom,
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
    optimizer = _optimizer(config, _schedule(config, total))
    model.compile(
        LossScaling(optimizer) if config.precision == "mixed_float16" else optimizer,
        loss=MaskedCrossentropy(
            class_weights=weights, reduction=config.loss_reduction, keep=config.keep
        ),
        metrics=[ConfusionMatrix(num_classes)],
        jit_compile=False,  # On a GPU "auto" is XLA, which starts anew for each size of image.
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
    if config.optimizer == "adamw":
        return AdamW(rate, weight_decay=config.weight_decay, accumulate=config.accumulate)
    return CaffeSGD(
        rate,
        config.momentum,
        l2=config.weight_decay,
        bias_rate=config.bias_rate,
        accumulate=config.accumulate,
    )


def resolve_precision(precision):
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
        try:
            flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        except OSError:
            flags = ""
        fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return "mixed_bfloat16" if fast else "float32"
