"""Finds the first step whose loss was infinite or NaN, without waiting for the device each step.

Keras reports the mean loss of the epoch so far: once it is infinite or NaN, it stays so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fcn_keras.distribution.callbacks import StepLogs
from fcn_keras.training.state import steps_in_words
from fcn_keras.training.watching import Logs

EVERY = 20  # Steps after which the losses are read at the latest.


class StepLosses:
    """The losses of an epoch's steps, which stay on the device until they are checked."""

    def __init__(self, batch_ids: Callable[..., list[str]] | None = None) -> None:
        """Creates the object; `start` begins an epoch.

        Args:
            batch_ids: A function of `epoch` and `step` that names the examples of a batch.
        """
        self.batch_ids = batch_ids
        self.start(0)

    def start(self, epoch: int) -> None:
        """Forgets the losses of earlier epochs."""
        self._epoch, self._fault = epoch, ""
        self._unread: list[tuple[range, Any]] = []

    def add(self, steps: range, logs: Logs) -> None:
        """Adds the loss that was logged after some steps of the epoch, if there is one."""
        values = logs.data if isinstance(logs, StepLogs) else logs
        if "loss" in values:
            self._unread.append((steps, values["loss"]))
        if len(self._unread) == EVERY:
            self.fault()

    def fault(self) -> str:
        """Reads the losses and tells the first fault: "the loss became nan at ..."; "" for none."""
        for steps, loss in self._unread:
            if not self._fault and not math.isfinite(value := float(loss)):
                where = steps_in_words(self._epoch, steps, self.batch_ids)
                self._fault = f"the loss became {value} at {where}"
        self._unread = []
        return self._fault
