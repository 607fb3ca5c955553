"""What a training tells while it runs: plain lines here, bars and tables in the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras

from pipelines.errors import DataError, as_lines

Logs = Any  # What Keras gives a callback: a dict of figures by name.


class Watch:
    """Tells in plain lines; what is wrong goes to stderr."""

    def say(self, line: str) -> None:
        """Tells what happens."""
        print(line)

    def note(self, line: str) -> None:
        """Tells what a person should look at."""
        print(line, file=sys.stderr)

    def warn(self, faults: list[DataError]) -> None:
        """Tells what is odd in the data, alike faults in one line."""
        for line in as_lines(faults):
            self.note(f"warning: {line}")

    def progress(
        self, text: str, total: int | None
    ) -> AbstractContextManager[Callable[[], object]]:
        """Gives a function to call after each of `total` things that `text` names."""
        return nullcontext(lambda: None)

    @contextmanager
    def training(self, steps: int, epochs: int) -> Iterator[list[keras.callbacks.Callback]]:
        """Gives callbacks that tell of a training of so many steps and epochs in all."""
        yield [_Epochs(self, epochs)]


class Silence(Watch):
    """Tells only what is wrong."""

    def say(self, line: str) -> None:
        """Nothing."""

    @contextmanager
    def training(self, steps: int, epochs: int) -> Iterator[list[keras.callbacks.Callback]]:
        """No callbacks."""
        yield []


class _Epochs(keras.callbacks.Callback):
    """A line an epoch."""

    def __init__(self, watch: Watch, epochs: int) -> None:
        super().__init__()
        self.watch, self.epochs = watch, epochs

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        validation = f"  val mean IU {logs['val_mean_iou']:.3f}" if "val_mean_iou" in logs else ""
        self.watch.say(
            f"epoch {epoch + 1}/{self.epochs}  loss {logs['loss']:.4g}  "
            f"mean IU {logs['mean_iou']:.3f}{validation}"
        )
