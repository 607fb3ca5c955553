"""Calls Keras callbacks without waiting for the device in each step.

A GPU computes a step while the host prepares the next ones. Keras' own list converts the logs of
every step to numbers, whether or not a callback needs them, and so waits until the step is done.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import Any

import keras


class StepLogs(UserDict[str, Any]):
    """The logs of a step by name; a value is fetched from the device when it is first read.

    The attribute `data` has the values as they are, and so on the device if nobody has read them.
    """

    def __init__(self, logs: Mapping[str, Any] | None = None) -> None:
        """Flattens the logs: a metric such as `ConfusionMatrix` logs a dict."""
        super().__init__(_flat(logs or {}))

    def __getitem__(self, name: str) -> Any:
        """Returns a value, as a float if it is a number on the device."""
        value = self.data[name]
        if keras.ops.is_tensor(value):
            value = self.data[name] = float(value)
        return value


class Callbacks(keras.callbacks.CallbackList):
    """A `keras.callbacks.CallbackList` that gives callbacks the `StepLogs` of a step."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Calls each callback; one that changes the logs changes them for those after it."""
        step_logs = StepLogs(logs)
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, step_logs)

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Like `on_train_batch_end`."""
        step_logs = StepLogs(logs)
        for callback in self.callbacks:
            callback.on_test_batch_end(batch, step_logs)


def _flat(logs: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in sorted(logs.items()):
        flat |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return flat
