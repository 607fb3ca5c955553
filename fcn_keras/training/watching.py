"""Output of a training run: plain lines here; the command line adds bars and tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras

from pipelines.errors import DataError, as_lines

Logs = Any  # Keras passes callbacks a dict of metrics by name.


class Watch:
    """Prints plain lines; warnings go to stderr."""

    def say(self, line: str) -> None:
        """Prints progress and results."""
        print(line)

    def note(self, line: str) -> None:
        """Prints something the user should look at, to stderr."""
        print(line, file=sys.stderr)

    def warn(self, faults: list[DataError]) -> None:
        """Prints warnings about the data; similar faults share a line."""
        for line in as_lines(faults):
            self.note(f"warning: {line}")

    def progress(
        self, text: str, total: int | None
    ) -> AbstractContextManager[Callable[[], object]]:
        """Returns a context that gives a function to call after each of `total` items.

        Args:
            text: What is being done, for a progress bar.
            total: Number of items; None if unknown.
        """
        return nullcontext(lambda: None)

    @contextmanager
    def training(self, steps: int, epochs: int) -> Iterator[list[keras.callbacks.Callback]]:
        """Yields callbacks that show the progress of `steps` steps and `epochs` epochs in all."""
        yield [_Epochs(self, epochs)]


class Silence(Watch):
    """Prints warnings only."""

    def say(self, line: str) -> None:
        """Prints nothing."""

    @contextmanager
    def training(self, steps: int, epochs: int) -> Iterator[list[keras.callbacks.Callback]]:
        """Yields no callbacks."""
        yield []


class _Epochs(keras.callbacks.Callback):
    """Prints one line per epoch."""

    def __init__(self, watch: Watch, epochs: int) -> None:
        super().__init__()
        self.watch, self.epochs = watch, epochs

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        validation = f"  val mean IU {logs['val_mean_iou']:.3f}" if "val_mean_iou" in logs else ""
        self.watch.say(
            f"epoch {epoch + 1}/{self.epochs}  loss {logs['loss']:.4g}  "
            f"mean IU {logs['mean_iou']:.3f}{validation}"
        )
