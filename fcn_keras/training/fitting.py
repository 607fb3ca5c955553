"""Trains the model of one run, from the start or from a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras import outputs
from fcn_keras.distribution import devices, workers
from fcn_keras.distribution.callbacks import Callbacks
from fcn_keras.errors import ConfigError
from fcn_keras.runs import lifecycle, run_folder
from fcn_keras.runs.config import TrainConfig
from fcn_keras.training.checkpoint import KEPT, ResumableCheckpoint
from fcn_keras.training.compiling import compiled, resolve_precision
from fcn_keras.training.environment import note_start
from fcn_keras.training.run_log import RunLog
from fcn_keras.training.state import size_of


def fit(
    config: TrainConfig,
    train_data: Callable[..., tf.data.Dataset],
    val_data: tf.data.Dataset,
    out: str | Path,
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    class_values: Sequence[int | None] | None = None,
    class_pixels: np.ndarray | None = None,
    skip_absent: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    resume: bool = False,
    checkpoint_every: int | str = "10 min",
    fingerprints: dict[str, Any] | None = None,
    batch_ids: Callable[..., list[str]] | None = None,
    strategy: tf.distribute.Strategy | None = None,
    whole: Path | None = None,
) -> dict[str, Any]:
    """Trains, validates and keeps the best model; resumes an interrupted run if asked to.

    Args:
        config: A `TrainConfig`.
        train_data: A function that makes the training data: `train_data()` returns a
            `tf.data.Dataset` of images `[b, h, w, 3]` and masks `[b, h, w]`, one epoch of known
            cardinality; `train_data(start=(epoch, step))` returns an endless one that starts at
            that batch, like `functools.partial(pipelines.train_dataset, split, ...)`. On several
            machines it also takes `shard=(number, count)`.
        val_data: A `tf.data.Dataset` for validation, at native sizes.
        out: The run's folder; created here, must not contain a run.
        class_names: A name for each class.
        palette: uint8 `[classes, 3]`, an RGB colour for each class.
        class_values: `Split.class_values`, the mask value of each class, for `predict --values`.
        class_pixels: Labelled pixels per class in the training split; needed for
            `config.class_balance`.
        skip_absent: `Split.skip_absent` of the validation split, the rule of the mean IU.
        callbacks: Additional Keras callbacks that show progress.
        resume: Resume the run in `out` from its last checkpoint; start it if there is none.
        checkpoint_every: Steps, or a time such as "10 min", between checkpoints.
        fingerprints: Fingerprints of the training and the validation split, from
            `pipelines.fingerprint`; a run does not resume on changed data.
        batch_ids: A function of `epoch` and `step` that names the examples of a batch, for error
            messages about an infinite or NaN loss.
        strategy: The strategy of all machines, from `workers.strategy()`, if there are several.
            Then every worker trains with the same `out`, and only the chief writes there. By
            default, `config.devices` decides.
        whole: The folder of the staged run that this stage belongs to, for messages on how to
            resume.

    Returns:
        The report of the best epoch on the validation split, as in `metrics.json`.

    Raises:
        ConfigError: The folder already contains a run, or one started with other options, or is in
            use by another process, or its disk is full; the devices do not exist or cannot share a
            batch evenly; a layer to freeze does not exist; the model of `config.init_from` does not
            fit; the run is too short for one update; or the loss became infinite or NaN.
        ModelError: The model of `config.init_from` or every checkpoint cannot be loaded.
        Stopped: Ctrl-C, SIGTERM or SIGHUP, or nobody reads the output any more; the training has
            been saved.
        WorkerLost: Another worker has ended.
    """
    out = Path(out)
    strategy = strategy or devices.strategy_for(devices.count(config.devices, config.batch_size))
    is_chief = workers.is_chief(strategy)
    is_started = resume and run_folder.is_started(out)
    config = config.model_copy(update={"precision": resolve_precision(config.precision)})
    _check_machines(config, strategy, fingerprints)
    if is_started:
        run_folder.check_unchanged(out, config, fingerprints)
        if run_folder.is_finished(out):
            if is_chief:
                lifecycle.clean_up(out)
            return run_folder.best_report(out)
    if is_started and whole is None:
        run_folder.check_stages(out, None)
    if is_chief and not is_started:
        run_folder.check_new(out)
    created = outputs.make_folder(out)
    with contextlib.ExitStack() as stack:
        if is_chief:
            stack.enter_context(outputs.locked(out))
        checkpoint = ResumableCheckpoint(
            out / run_folder.CHECKPOINTS,
            every=checkpoint_every,
            batch_ids=batch_ids,
            advice=f"fcn-keras train --resume {whole or out}",
            at_end=False,
        )
        if is_chief and not is_started:
            stack.enter_context(
                lifecycle.removed_if_untrained(out, created, lambda: checkpoint.position != (0, 0))
            )
        steps = int(train_data().cardinality())
        with strategy.scope():
            model = compiled(
                config, len(class_names), steps, class_pixels, checkpoint.is_new, skip_absent
            )
        if strategy.num_replicas_in_sync > 1:
            devices.synchronise(model)
        # On all workers, because it creates the optimizer's variables.
        needed = (KEPT + 1) * size_of(model) + 2 * 4 * model.count_params()
        if is_chief and not is_started:
            outputs.check_space(out, needed, "the checkpoints and the model")
            run_folder.write_config(
                out, config, class_names, palette, fingerprints, class_values=class_values
            )
        if is_chief:
            note_start(out, epochs=config.passes(steps), steps=config.steps(steps))
        log = RunLog(
            out,
            config,
            val_data,
            class_names,
            palette,
            steps,
            checkpoint.interrupted(steps),
            batch_ids,
            is_chief,
        )
        checkpoint.also = (log,)
        _fit(model, config, train_data, val_data, steps, checkpoint, log, callbacks)
        if is_chief:
            lifecycle.finish(out, model, config.passes(steps), log.best_report["epoch"])
    return log.best_report


def _check_machines(
    config: TrainConfig, strategy: tf.distribute.Strategy, fingerprints: dict[str, Any] | None
) -> None:
    """Checks that the devices can share a batch and that all workers have the same data."""
    together = strategy.num_replicas_in_sync
    if config.batch_size % together:
        raise ConfigError(
            f"batch_size={config.batch_size}: the {together} devices of all machines cannot share "
            f"a batch evenly. Use a multiple of {together} (--batch-size)."
        )
    workers.check_same(strategy, f"precision={config.precision}", config.precision)
    workers.check_same(strategy, "data", fingerprints)


def _fit(
    model: keras.Model,
    config: TrainConfig,
    train_data: Callable[..., tf.data.Dataset],
    val_data: tf.data.Dataset,
    steps: int,
    checkpoint: ResumableCheckpoint,
    log: RunLog,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Runs `model.fit` from the checkpoint's position."""
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
    }
    calls = [log, checkpoint, *callbacks]
    try:
        if workers.is_cluster(model.distribute_strategy):
            advice = f"start all workers again: {checkpoint.advice}"
            workers.fit(
                model,
                train_data,
                start=checkpoint.position,
                advice=advice,
                callbacks=calls,
                **options,
            )
        else:
            model.fit(
                train_data(start=checkpoint.position),
                initial_epoch=checkpoint.position.epoch,
                shuffle=False,  # The data set is already shuffled.
                verbose=0,
                callbacks=Callbacks(calls, add_history=True, model=model, epochs=last, steps=steps),
                **options,
            )
    finally:
        checkpoint.close()


def _validate(
    model: keras.Model,
    val_data: tf.data.Dataset,
    checkpoint: ResumableCheckpoint,
    log: RunLog,
) -> None:
    """Completes an epoch that was trained but not validated when the run was stopped."""
    checkpoint.restore(model)
    epoch = checkpoint.position.epoch - 1
    log.set_model(model)
    log.on_epoch_begin(epoch)
    if workers.is_cluster(model.distribute_strategy):
        found = workers.evaluate(model, val_data)
    else:
        found = model.evaluate(val_data, return_dict=True, verbose=0)
    validation = {f"val_{name}": value for name, value in found.items()}
    log.on_epoch_end(epoch, {**checkpoint.train_logs, **validation})
