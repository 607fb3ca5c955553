"""Runs a whole training (read, check, train, report), and opens runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fcn_keras import outputs
from fcn_keras.distribution import devices, workers
from fcn_keras.distribution.cluster import Cluster
from fcn_keras.evaluation.results import Evaluation
from fcn_keras.prediction.segmenter import Segmenter, load
from fcn_keras.reporting import run_report
from fcn_keras.runs import reading, run_folder
from fcn_keras.runs.config import TrainConfig
from fcn_keras.runs.resolve import resolve_run
from fcn_keras.text import duration
from fcn_keras.training.data import read_data
from fcn_keras.training.fitting import fit
from fcn_keras.training.intervals import parse_every
from fcn_keras.training.machines import meet_others, watched
from fcn_keras.training.run_reports import after_training
from fcn_keras.training.stages import check_stages, train_stages
from fcn_keras.training.watching import Watch
from pipelines.batches.tf_datasets import eval_dataset


def train(
    recipe: TrainConfig | str | Path | Mapping[str, Any] = "default",
    *,
    out: str | Path,
    stages: str | Sequence[str] | None = None,
    resume: bool = False,
    checkpoint_every: str | int = "10 min",
    data_service: str | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Run:
    """Trains, validates, keeps the best model and writes the report, like `fcn-keras train`.

        run = fcn_keras.train("camvid", data="data.yaml", epochs=12, out="runs/mine")
        print(run.evaluation.mean_iou)

    Reads and checks all data files before the first step.

    Args:
        recipe: A recipe's name, a YAML file of options such as `RUN/config.yaml`, a `TrainConfig`,
            or a dict of options.
        out: The run's folder; must not contain a run, unless `resume` is set.
        stages: Models from coarse to fine, such as `("fcn32s", "fcn16s", "fcn8s")` or "32,16,8":
            each is trained from the best model of the previous stage, into `out/32s` and so on.
        resume: Resume the run in `out` from its last checkpoint, or start it if there is none.
            Options may be left out: they are stored in the folder.
        checkpoint_every: A number of steps, or a time such as "10 min".
        data_service: Addresses of `fcn-keras data serve` processes that make the batches.
        watch: Receives progress and warnings; by default a `Watch`, which prints plain lines.
            `training.watching.Silence()` prints warnings only.
        **options: Fields of `TrainConfig` that override the recipe.

    Returns:
        The `Run`.

    Raises:
        ConfigError: An option is unknown or out of its range, the folder already contains a run or
            one started with other options, or the loss became infinite or NaN.
        DataError: Data files have faults; the message lists all of them.
        ModelError: The model of `init_from` or every checkpoint cannot be loaded.
        Stopped: Ctrl-C, SIGTERM or SIGHUP, or nobody reads the output any more; the training has
            been saved.
    """
    out, watch = outputs.path_argument("out", out), watch or Watch()
    config, stages = resolve_run(recipe, options, out, stages, resume)
    team = meet_others(config, out, stages, resume)
    is_chief = team is None or team.is_chief
    strategy = workers.strategy() if team else None  # Before any other TensorFlow call.
    parse_every(checkpoint_every)
    _check_folder(out, stages, resume, is_chief, watch)
    _tell_devices(config, team, watch)
    started, is_resumed = time.perf_counter(), resume and run_folder.is_started(out)
    train_data, val_split, known = read_data(config, out, data_service, watch)
    size = int(train_data().cardinality())
    if is_chief and not is_resumed:
        _tell_short_warmup(config, size, watch)
    data = (train_data, eval_dataset(val_split), out)
    known |= {"resume": resume, "checkpoint_every": checkpoint_every, "strategy": strategy}
    progress = watch.training(config.steps(size), config.passes(size))
    with watched(data_service, out), progress as callbacks:
        known["callbacks"] = callbacks if is_chief else []
        if stages:
            train_stages(config, stages, *data, **known)
        else:
            fit(config, *data, **known)
    if is_chief:
        folders = [run_folder.stage_folder(out, net) for net in stages] if stages else [out]
        after_training(out, folders, val_split, watch)
        passed = duration(time.perf_counter() - started)
        when = f"{passed} after the resume" if is_resumed else f"in {passed}"
        watch.say(f"finished {when}; the run is in {out}")
    return Run(out)


@dataclass(frozen=True)
class Run:
    """A run in its folder, as written by `fcn-keras train` or `fcn_keras.train`.

    Attributes:
        folder: The folder; see `runs.run_folder` for its files.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Opens a run, finished or not.

        Raises:
            ConfigError: The folder is not a run, or its configuration cannot be read.
        """
        run = cls(outputs.path_argument("folder", folder))
        run._read  # noqa: B018 - Raises if there is no run.
        return run

    @cached_property
    def _read(self) -> reading.Run:
        return reading.read(self.folder)

    @cached_property
    def _stored(self) -> tuple[TrainConfig, list[str] | None]:
        return run_folder.read_config(self.folder)

    @property
    def config(self) -> TrainConfig:
        """All options of the run."""
        return self._stored[0]

    @cached_property
    def model(self) -> Segmenter:
        """The model of the best epoch, with its classes and colours.

        Raises:
            ModelError: No epoch has been validated yet, or the file is damaged.
        """
        return load(self.folder)

    @property
    def evaluation(self) -> Evaluation | Any:
        """The best epoch's metrics on the validation split; None before the first validation."""
        found = self._read.metrics
        return None if found is None else Evaluation.from_dict(found)

    @property
    def best_epoch(self) -> int | None:
        """The best epoch, from 1; None before any validation.

        It has the highest validation mean IU and, among equals, the least validation loss.
        """
        return (self._read.metrics or {}).get("epoch")

    @property
    def history(self) -> list[dict[str, float | None]]:
        """One dict per finished epoch, with the columns of `history.csv`.

        A staged run has the history of its last stage, which its model comes from.
        """
        stages = self.stages
        if not stages:
            return self._read.history
        return stages[-1].history if run_folder.is_started(stages[-1].folder) else []

    @property
    def is_finished(self) -> bool:
        """Whether the training is finished."""
        return run_folder.is_finished(self.folder)

    @property
    def stages(self) -> list[Run]:
        """The runs of the stages, from coarse to fine; empty if the run is not staged."""
        models = self._stored[1] or []
        return [Run(run_folder.stage_folder(self.folder, model)) for model in models]

    def report(self, path: str | Path | None = None) -> Path:
        """Writes the report, one self-contained HTML page.

        Args:
            path: Path of the page; by default `report.html` in the run's folder.

        Returns:
            The path of the page.

        Raises:
            ConfigError: The page cannot be written, or `path` is another kind of file.
        """
        page = self.folder / "report.html" if path is None else Path(path)
        outputs.check_file("path", page, ".html")
        outputs.write_text(page, run_report.render(run_report.find([self.folder])))
        return page

    def resume(self, **options: Any) -> Run:
        """Resumes an unfinished training with its own options.

        Args:
            **options: `checkpoint_every`, `data_service` and `watch`, as for `train`.
        """
        return train(out=self.folder, resume=True, **options)


def _check_folder(
    out: Path, stages: Sequence[str] | None, resume: bool, is_chief: bool, watch: Watch
) -> None:
    """Checks, before reading the data, that the run can start or resume in its folder."""
    if is_chief and resume and run_folder.is_finished(out):
        watch.say(f"{out} is finished; its metrics:")
    is_started = resume and run_folder.is_started(out)
    if is_started:
        run_folder.check_stages(out, stages)
    is_new = is_chief and not is_started
    if stages:
        check_stages(stages, out, is_new=is_new)
    elif is_new:
        run_folder.check_new(out)


def _tell_devices(config: TrainConfig, team: Cluster | None, watch: Watch) -> None:
    number = 1 if team else devices.count(config.devices, config.batch_size)
    if number > 1:
        watch.say(f"{number} devices share each batch of {config.batch_size} images")
    if config.precision == "mixed_float16" and not devices.gpus():
        watch.note("warning: mixed_float16 is many times slower than float32 on a CPU.")


def _tell_short_warmup(config: TrainConfig, steps_per_epoch: int, watch: Watch) -> None:
    """Warns if the warm-up would take more than half of the training and is shortened."""
    steps = config.steps(steps_per_epoch)
    warmup = config.warmup(steps_per_epoch)
    if warmup < config.warmup_steps:
        watch.note(
            f"warning: warmup_steps={config.warmup_steps}: the whole training has {steps} steps, "
            f"so the warm-up takes only half of them, {warmup}. Train longer (--epochs), or lower "
            "--warmup-steps."
        )
