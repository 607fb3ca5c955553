"""Exact resume: all that decides how a training goes on, saved now and then, and put back.

That is the weights, the optimizer with its iterations (and so the schedule), the states of all
random generators, the metrics of the epoch so far, the position in the data (which decides order
and augmentation of all further samples), and what other callbacks ask to have kept. A training that
is killed at any moment and resumed ends with the same weights, bit by bit on a CPU, as one that was
not.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import keras
import numpy as np

from fcn_keras import replicas
from fcn_keras.distribution import workers
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.outputs import remove_unfinished
from fcn_keras.training import checkpoint_file
from fcn_keras.training.interruption import Stopped, StopSignals
from fcn_keras.training.state import build_optimizer, check_finite, kept_variables, metric_variables
from fcn_keras.training.watching import Logs

KEPT = 2  # Should the newest be damaged, the one before it serves.
SECONDS = {"s": 1, "min": 60, "h": 3600}


class Position(NamedTuple):
    """The batch that comes next: `step` of `epoch`, both counted from 0."""

    epoch: int = 0
    step: int = 0


class ResumableCheckpoint(keras.callbacks.Callback):
    """Saves a training so that it can be resumed exactly, and resumes it; for `model.fit`.

    Made before the data, since it knows where these go on:

        checkpoint = fcn_keras.ResumableCheckpoint("runs/mine/checkpoints")
        train = pipelines.train_dataset(split, ..., start=checkpoint.position)
        model.fit(train, steps_per_epoch=steps, epochs=30, shuffle=False, callbacks=[checkpoint],
                  initial_epoch=checkpoint.position.epoch)

    The first time that starts at the beginning, and after an interruption, by whatever, the same
    script goes on from the last checkpoint. Ctrl-C and SIGTERM let the step finish, save, and end
    the process with a line that says so. Stands after callbacks that stop a training for its loss,
    so that what they stop is not saved.
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
        """Looks for the last good checkpoint; damaged ones are skipped with a warning.

        Args:
            folder: of the checkpoints; the last two are kept. Made when the first is saved.
            every: a number of steps, or a time such as "30 s", "10 min", "2 h".
            also: objects (callbacks, for example) with `get_state()`, which gives something that
                JSON can hold, and `set_state(state)`, which takes it.
            batch_ids: a function of `epoch` and `step` that names the examples of a batch, for the
                message about weights that are no numbers.
            advice: how to go on, for the line that is printed when a signal has stopped it.
            at_end: save once more when the training has come to its end, so that it is not done
                again by whoever starts it again.

        Raises:
            ConfigError: `every` is neither steps nor a time.
            ModelError: there are checkpoints, and all of them are damaged.
        """
        super().__init__()
        self.folder = Path(folder)
        self.every_steps, self.every_seconds = parse_every(every)
        self.also, self.batch_ids, self.advice = also, batch_ids, advice
        self.at_end = at_end
        self.source, self.state = _newest(self.folder)
        self.position = Position(*self.state["position"])
        self.signals = StopSignals()

    @property
    def is_new(self) -> bool:
        """Whether there was no checkpoint to go on from."""
        return self.source is None

    @property
    def train_logs(self) -> dict[str, float]:
        """Of an epoch that was trained when the training stopped, and not validated; else {}."""
        return self.state["train_logs"]

    def restore(self, model: keras.Model) -> None:
        """Puts a compiled model into the state of the checkpoint; nothing without one.

        Raises:
            ConfigError: the checkpoint is of another model or optimizer.
        """
        if self.source is None:
            return
        self._arrays, _ = checkpoint_file.read(self.source)
        build_optimizer(model)
        self._assign(kept_variables(model))
        for part, state in zip(self.also, self.state["also"], strict=True):
            part.set_state(state)
        self.source = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Restores, unless that is done, and listens for signals."""
        self.restore(self.model)
        self._resumed, self._was_cut = self.position, False
        # Of the epoch so far: Keras may make the variables at the first step.
        self._metrics: dict[str, np.ndarray] = {}
        self._last_save = time.monotonic(), self.position
        self.signals.listen()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Restores the metrics of an epoch that was broken off."""
        is_resumed = epoch == self._resumed.epoch and self._resumed.step > 0
        self.position = self._resumed if is_resumed else Position(epoch, 0)
        if is_resumed:
            kept = {k: v for k, v in self._arrays.items() if k.startswith("metrics/")}
            built = metric_variables(self.model)
            if built.keys() == kept.keys():
                self._assign(built, replicas.assign_total)
            else:
                self._metrics = kept
        self._arrays = {}

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Saves if it is time to, or if a signal has come."""
        self.position = Position(self.position.epoch, self.position.step + 1)
        self._logs = logs
        if self._metrics:
            for name, variable in metric_variables(self.model).items():
                replicas.assign_total(variable, variable.numpy() + self._metrics[name])
            self._metrics = {}
        if self.position.step == self.params["steps"]:
            if batch + 1 < self.params["steps"]:
                # The rest of an epoch that was broken off: `fit` would go on for a whole one.
                self.model.stop_training = self._was_cut = True
            return  # What is saved now would lack the validation.
        self._stop_or_save()

    def on_test_begin(self, logs: Logs = None) -> None:
        """Notes the figures of the training, which the validation's are about to replace."""
        self.state["train_logs"] = {name: float(value) for name, value in self._logs.items()}

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Stops in the middle of a validation, which is then done again."""
        if self._any_worker(self.signals.received):
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Saves if it is time to, with the best model of the callbacks before this one."""
        self.state["train_logs"] = {}
        self.position = Position(epoch + 1, 0)
        if self._was_cut:
            self.model.stop_training = self._was_cut = False
        self._stop_or_save()

    def on_train_end(self, logs: Logs = None) -> None:
        """Saves the end, and gives the signals back."""
        if self.at_end and self.position != self._last_save[1]:
            self.save()
        self.close()

    def close(self) -> None:
        """Gives the signals back; for a training that has ended by an error."""
        self.signals.close()

    def save(self) -> None:
        """Saves the training as it is; on a full disk it warns, and the last checkpoint stays."""
        variables = kept_variables(self.model)
        if 0 < self.position.step < self.params["steps"]:
            variables |= metric_variables(self.model)
        arrays = {name: keras.ops.convert_to_numpy(value) for name, value in variables.items()}
        last = Position(self.position.epoch, self.position.step - 1)
        check_finite(
            ((variables[name].path, array) for name, array in arrays.items()),
            lambda: step_in_words(last, self.batch_ids),
        )
        state = {
            "position": self.position,
            "train_logs": self.state["train_logs"],
            "also": [part.get_state() for part in self.also],
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
        except OSError as error:
            print(
                f"warning: {self.folder}: no checkpoint could be saved ({error.strerror}); the "
                "training goes on. Make room; until then the last checkpoint is an older one.",
                file=sys.stderr,
            )
        for old in checkpoint_file.in_order(self.folder)[KEPT:]:
            old.unlink()

    def _stop_or_save(self) -> None:
        """What one worker knows, a signal or its clock, decides for all: they save together."""
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
        self.close()
        epoch, step = self.position
        where = f"after step {step} of epoch {epoch + 1}" if step else f"after epoch {epoch}"
        number = self.signals.received or signal.SIGTERM  # Another worker's.
        raise Stopped(number, f"stopped {where}, and saved. To go on: {self.advice}")

    def _assign(
        self,
        variables: Mapping[str, keras.Variable],
        assign: Callable[[keras.Variable, np.ndarray], object] = keras.Variable.assign,
    ) -> None:
        for name, variable in variables.items():
            there, here = self._arrays.get(name), tuple(variable.shape)
            if there is None or there.shape != here:
                found = "is not in it" if there is None else f"has the shape {there.shape} there"
                raise ConfigError(
                    f"{self.folder}: the checkpoint is of another model or optimizer: "
                    f"{variable.path}, of the shape {here}, {found}. Go on with the model it was "
                    "begun with, or choose another folder."
                )
            assign(variable, there)


def parse_every(every: int | str) -> tuple[int | None, int | None]:
    """Steps and seconds, one of them None, of a number of steps or a time such as "10 min".

    Raises:
        ConfigError: it is neither.
    """
    found = re.fullmatch(r"\s*(\d+)\s*(s|min|h|steps?|)\s*", str(every))
    if not found or not int(found[1]):
        raise ConfigError(
            f"checkpoint_every={every!r}: must be a number of steps, such as 500, or a time, such "
            "as '10 min' or '2 h' (--checkpoint-every)."
        )
    number, unit = int(found[1]), found[2]
    return (None, number * SECONDS[unit]) if unit in SECONDS else (number, None)


def step_in_words(
    position: tuple[int, int], batch_ids: Callable[..., list[str]] | None = None
) -> str:
    """A batch as `step 3 of epoch 1 (images a, b)`, for a message."""
    epoch, step = position
    words = f"step {step + 1} of epoch {epoch + 1}" if step >= 0 else f"epoch {epoch}"
    if step >= 0 and batch_ids:
        words += f" (images {', '.join(map(str, batch_ids(epoch=epoch, step=step)))})"
    return words


def _newest(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """The newest checkpoint that is whole and its state; without any, None and the beginning."""
    faults = []
    for path in checkpoint_file.in_order(folder):
        try:
            state = checkpoint_file.read_state(path)
        except ModelError as error:
            faults.append(error)
            continue
        for fault in faults:
            print(f"warning: {fault} The one before it is taken.", file=sys.stderr)
        return path, state
    if faults:
        raise ModelError(f"{faults[0]} There is no older one. Remove {folder} to begin again.")
    return None, {"position": Position(), "train_logs": {}, "also": []}
