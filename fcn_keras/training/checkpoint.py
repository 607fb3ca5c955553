"""Checkpoints that resume a training run exactly.

A checkpoint contains weights, optimizer and iterations (and so the schedule), all random states,
the metrics of the current epoch, the position in the data (which determines the order and
augmentation of all further samples), and the state of other callbacks. A run that is killed at any
moment and resumed ends with the same weights, bit by bit on a CPU, as an uninterrupted run.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np

from fcn_keras import replicas
from fcn_keras.distribution import workers
from fcn_keras.errors import ConfigError
from fcn_keras.outputs import check_folder, path_argument, remove_unfinished
from fcn_keras.training import checkpoint_file
from fcn_keras.training.interruption import Stopped, StopSignals
from fcn_keras.training.intervals import parse_every
from fcn_keras.training.matching import sources
from fcn_keras.training.state import (
    Position,
    build_optimizer,
    check_finite,
    kept_variables,
    metric_variables,
    step_in_words,
)
from fcn_keras.training.step_losses import StepLosses
from fcn_keras.training.watching import Logs

KEPT = 2  # The older checkpoint is used if the newest is damaged.


class ResumableCheckpoint(keras.callbacks.Callback):
    """Saves a training run with `model.fit` so that it can be resumed exactly, and resumes it.

    Create it before the data, because it knows where the data must start:

        checkpoint = fcn_keras.ResumableCheckpoint("runs/mine/checkpoints")
        train = pipelines.train_dataset(split, ..., start=checkpoint.position)
        model.fit(train, steps_per_epoch=steps, epochs=30, shuffle=False, callbacks=[checkpoint],
                  initial_epoch=checkpoint.position.epoch)

    The first call starts at the beginning; after any interruption, the same script resumes from the
    last checkpoint. On Ctrl-C, SIGTERM or SIGHUP, or when nobody reads the output any more, the
    current step finishes, the training is saved, and the process ends with a message. Put it after
    callbacks that stop training because of the loss, so that such a state is not saved.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every: int | str = "10 min",
        also: Sequence[Any] = (),
        batch_ids: Callable[..., list[str]] | None = None,
        advice: str = "run the same script again",
        at_end: bool = True,
    ) -> None:
        """Finds the last good checkpoint; skips damaged ones with a warning.

        Args:
            folder: Folder of the last two checkpoints; created with the first one.
            every: A number of steps, or a time such as "30 s", "10 min", "2 h".
            also: Further objects to save, such as callbacks: `get_state()` returns a JSON value,
                `set_state(state)` takes it.
            batch_ids: A function of `epoch` and `step` that names the examples of a batch, for
                error messages about infinite or NaN weights.
            advice: How to resume, for the message after a signal.
            at_end: Save at the end of training, so that the same script does not train again.

        Raises:
            ConfigError: `folder` is a file or not writable, or `every` is not as above.
            ModelError: All checkpoints are damaged.
        """
        super().__init__()
        self.folder = path_argument("folder", folder)
        check_folder(self.folder)
        self.every_steps, self.every_seconds = parse_every(every)
        self.also, self.batch_ids, self.advice = also, batch_ids, advice
        self.at_end = at_end
        self.source, self.state = checkpoint_file.newest(self.folder)
        self.state = self.state or {"position": Position(), "train_logs": {}, "also": []}
        epoch, step = self.state["position"]
        # An epoch with logs was trained, but not validated: its next batch is the next epoch's.
        self.position = Position(epoch + 1) if self.train_logs else Position(epoch, step)
        # Metrics of an interrupted epoch, until Keras creates their variables at its first step.
        self._metrics: dict[str, np.ndarray] = {}
        self._losses = StepLosses(batch_ids)
        self.signals = StopSignals()

    @property
    def is_new(self) -> bool:
        """Whether there was no checkpoint to resume from."""
        return self.source is None

    @property
    def train_logs(self) -> dict[str, float]:
        """The logs of an epoch that was trained but not validated before the stop; or else {}."""
        return self.state["train_logs"]

    def interrupted(self, steps: int) -> Position:
        """Returns where an epoch of `steps` was interrupted: `position`, or before a validation."""
        return Position(self.position.epoch - 1, steps) if self.train_logs else self.position

    def restore(self, model: keras.Model) -> None:
        """Restores a compiled model from the checkpoint; does nothing without one.

        Raises:
            ConfigError: The checkpoint belongs to another model or optimizer.
        """
        if self.source is None:
            return
        arrays, _ = checkpoint_file.read(self.source)
        self._metrics = {k: arrays.pop(k) for k in list(arrays) if k.startswith("metrics/")}
        build_optimizer(model)
        variables = kept_variables(model)
        names = sources(self.folder, model, variables, arrays, self.state.get("paths"))
        for name, variable in variables.items():
            variable.assign(arrays[names[name]])
        if len(self.also) != len(self.state["also"]):
            raise ConfigError(
                f"{self.folder}: the checkpoint holds the state of {len(self.state['also'])} "
                f"further objects, found also={list(self.also)!r}. Resume with the original ones."
            )
        for part, state in zip(self.also, self.state["also"], strict=True):
            part.set_state(state)
        self.source = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Restores the model, unless already done, and listens for signals.

        Raises:
            ConfigError: The checkpoint belongs to another model or to epochs of another length, or
                an epoch's length is unknown, or it or the position no multiple of
                `steps_per_execution`.
        """
        self.restore(self.model)
        self._check_steps()
        self._resumed, self._was_cut = self.position, False
        self._last_save = time.monotonic(), self.position
        self.signals.listen()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Restores the metrics of an interrupted epoch."""
        is_resumed = epoch == self._resumed.epoch and self._resumed.step > 0
        self.position = self._resumed if is_resumed else Position(epoch, 0)
        self._first = self.position.step
        self._losses.start(epoch)
        built = metric_variables(self.model)
        if not is_resumed:
            self._metrics = {}
        elif len(built) == len(self._metrics):
            self._restore_metrics(built)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Saves if a checkpoint is due or a signal was received."""
        # Keras calls this once for all steps of an execution, with the number of the last one.
        before, done = self.position.step, self._first + batch + 1
        self.position = Position(self.position.epoch, done)
        self._logs = logs
        self._losses.add(range(before, done), logs)
        if self._metrics:
            self._restore_metrics(metric_variables(self.model))
        if self.position.step == self.params["steps"]:
            if batch + 1 < self.params["steps"]:
                # The rest of an interrupted epoch: `fit` would run a whole epoch.
                self.model.stop_training = self._was_cut = True
            return  # A checkpoint here would miss the validation.
        self._stop_or_save()

    def on_test_begin(self, logs: Logs = None) -> None:
        """Keeps the training metrics, which the validation overwrites."""
        self.state["train_logs"] = {name: float(value) for name, value in self._logs.items()}

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Stops during validation on a signal; the validation is repeated after a resume."""
        if self._any_worker(self.signals.received):
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Saves if a checkpoint is due, after earlier callbacks have saved the best model."""
        self.state["train_logs"] = {}
        self.position = Position(epoch + 1, 0)
        if self._was_cut:
            self.model.stop_training = self._was_cut = False
        self._stop_or_save()

    def on_train_end(self, logs: Logs = None) -> None:
        """Saves the final state and restores the signal handlers."""
        if self.at_end and self.position != self._last_save[1]:
            self.save()
        self.close()

    def close(self) -> None:
        """Restores the signal handlers; also after a training that failed."""
        self.signals.close()

    def save(self) -> None:
        """Saves the training; on a full disk it warns and keeps the last checkpoint."""
        also = [part.get_state() for part in self.also]  # First: `RunLog` explains a faulty loss.
        variables = kept_variables(self.model)
        if 0 < self.position.step < self.params["steps"]:
            variables |= metric_variables(self.model)
        arrays = {name: keras.ops.convert_to_numpy(value) for name, value in variables.items()}
        last = Position(self.position.epoch, self.position.step - 1)
        check_finite(
            ((variables[name].path, array) for name, array in arrays.items()),
            lambda: step_in_words(last, self.batch_ids),
            self._losses.fault(),
        )
        state = {
            "position": self.position,
            "steps": self.params["steps"],
            "paths": {name: variable.path for name, variable in variables.items()},
            "train_logs": self.state["train_logs"],
            "also": also,
        }
        self._last_save = time.monotonic(), self.position
        if not workers.is_chief(self.model.distribute_strategy):
            return
        number = self.position.epoch * self.params["steps"] + self.position.step
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.folder)
            path = self.folder / f"step-{number:010d}{checkpoint_file.ENDING}"
            checkpoint_file.write(path, arrays, state)
            checkpoint_file.keep(path, KEPT)
        except OSError as error:
            print(
                f"warning: {self.folder}: cannot save a checkpoint ({error.strerror}). Training "
                "continues with the older checkpoint. Free some disk space.",
                file=sys.stderr,
            )

    def _stop_or_save(self) -> None:
        """Stops or saves on all workers if one of them got a signal or its checkpoint is due."""
        if self._any_worker(self.signals.received or self._is_due()):
            if self._any_worker(self.signals.received):
                self._stop()
            self.save()

    def _any_worker(self, flag: object) -> bool:
        return workers.any_worker(self.model.distribute_strategy, flag)

    def _is_due(self) -> bool:
        then, position = self._last_save
        if self.every_seconds:
            return time.monotonic() - then >= self.every_seconds
        passed = self.params["steps"] * (self.position.epoch - position.epoch)
        return passed + self.position.step - position.step >= self.every_steps

    def _stop(self) -> NoReturn:
        self.save()
        epoch, step = self.position
        where = f"after step {step} of epoch {epoch + 1}" if step else f"after epoch {epoch}"
        number = self.signals.received or signal.SIGTERM  # None: another worker got it.
        stopped = Stopped(number, f"stopped {where} and saved. To resume: {self.advice}")
        self.close()
        raise stopped

    def _check_steps(self) -> None:
        """Checks that a position in an epoch has a meaning."""
        steps, before = self.params["steps"], self.state.get("steps")
        if steps is None:
            raise ConfigError("steps_per_epoch: not given, nor told by the data. Pass it to fit.")
        execution = getattr(self.model, "steps_per_execution", 1)
        if steps % execution:  # The last execution would take steps of the next epoch.
            raise ConfigError(
                f"steps_per_epoch={steps}: must be a multiple of steps_per_execution={execution}, "
                "or training cannot be resumed exactly. Change one of them."
            )
        if self.position.step and before not in (None, steps):
            raise ConfigError(
                f"{self.folder}: the checkpoint was saved after step {self.position.step} of an "
                f"epoch of {before} steps, and an epoch has {steps} now. Resume with "
                f"steps_per_epoch={before}, or choose another folder."
            )
        if self.position.step % execution:  # `fit` would never stop at the end of the epoch.
            raise ConfigError(
                f"steps_per_execution={execution}: {self.folder} was saved after step "
                f"{self.position.step} of an epoch, no multiple of it. Resume with the former one."
            )

    def _restore_metrics(self, variables: Mapping[str, keras.Variable]) -> None:
        """Adds the metrics of an interrupted epoch to those of the steps since."""
        paths, saved = self.state.get("paths"), self._metrics
        names = sources(self.folder, self.model, variables, saved, paths)
        for name, variable in variables.items():
            replicas.assign_total(variable, variable.numpy() + saved[names[name]])
        self._metrics = {}
