"""Staged training: coarse models first, each finer one from the previous stage's best model."""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import tensorflow as tf

from fcn_keras import outputs
from fcn_keras.distribution import workers
from fcn_keras.errors import ConfigError
from fcn_keras.runs import lifecycle, run_folder
from fcn_keras.runs.config import STAGES, TrainConfig
from fcn_keras.training.compiling import resolve_precision
from fcn_keras.training.fitting import fit


def train_stages(
    config: TrainConfig,
    models: Sequence[str],
    train_data: Callable[..., tf.data.Dataset],
    val_data: tf.data.Dataset,
    out: str | Path,
    *,
    resume: bool = False,
    strategy: tf.distribute.Strategy | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Trains coarse models first, each finer one from the best model of the previous stage.

    Each stage is a run of its own: `out/32s`, `out/16s`, `out/8s`. At the end `out` itself gets the
    last stage's model, metrics and configuration, so it can be used as a run.

    Args:
        config: A `TrainConfig`; its `model` is ignored, and its `init_from` applies to the first
            stage only.
        models: Model names from coarse to fine, such as `config.STAGES`.
        train_data: As in `fit`.
        val_data: As in `fit`.
        out: The folder of all stages.
        resume: As in `fit`; finished stages are skipped.
        strategy: As in `fit`.
        **options: Further arguments of `fit`.

    Returns:
        The report of the last stage's best epoch on the validation split.

    Raises:
        ConfigError: As in `fit`, or the models are not in order from coarse to fine.
        ModelError: As in `fit`.
    """
    out = Path(out)
    is_started = resume and run_folder.is_started(out)
    is_chief = workers.is_chief(strategy or tf.distribute.get_strategy())
    is_new = is_chief and not is_started
    folders, source = check_stages(models, out, is_new=is_new), config.init_from
    if is_started:
        run_folder.check_stages(out, models)
    created = outputs.make_folder(out)
    with contextlib.ExitStack() as stack:
        if is_chief:
            stack.enter_context(outputs.locked(out))
        if is_new:
            stack.enter_context(
                lifecycle.removed_if_untrained(
                    out, created, lambda: any(map(run_folder.is_started, folders))
                )
            )
            names, palette = options["class_names"], options["palette"]
            values = options.get("class_values")
            last = {"model": models[-1], "precision": resolve_precision(config.precision)}
            stored = config.model_copy(update=last)
            run_folder.write_config(out, stored, names, palette, stages=models, class_values=values)
        for model, folder in zip(models, folders, strict=True):
            reset = config.reset_scores and model == models[0]
            changed = {"model": model, "init_from": source, "reset_scores": reset}
            stage = config.model_copy(update=changed)
            best = fit(
                stage,
                train_data,
                val_data,
                folder,
                resume=is_started,
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


def check_stages(models: Sequence[str], out: str | Path, *, is_new: bool = True) -> list[Path]:
    """Checks the folders of a staged run and returns them in order: `out/32s` and so on.

    Raises:
        ConfigError: The models are not in order from coarse to fine, or with `is_new` one of the
            folders, or `out`, already contains a run or is not writable.
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
