"""Progress output during training: one line per epoch, and a bar on a terminal."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Self

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fcn_keras.cli.terminal import console, progress_bar, say
from fcn_keras.text import duration
from fcn_keras.training.watching import Logs, Watch

REFRESH = 1.0  # Seconds for which the bar shows a loss.


class TerminalWatch(Watch):
    """Shows a training run of a command: bars on a terminal, one line per epoch."""

    def say(self, line: str) -> None:
        """Prints a line without wrapping it."""
        say(line)

    def progress(
        self, text: str, total: int | None
    ) -> AbstractContextManager[Callable[[], object]]:
        """Shows a bar on a terminal."""
        return progress_bar(text, total)

    @contextmanager
    def training(self, steps: int, epochs: int) -> Iterator[list[keras.callbacks.Callback]]:
        """Yields a callback that shows a bar and one line per epoch."""
        with TrainingProgress(console, steps, epochs) as progress:
            yield [progress]


class TrainingProgress(keras.callbacks.Callback):
    """Prints loss, mean IU, images/s and time left per epoch; shows a bar on a terminal."""

    def __init__(self, console: Console, steps: int, epochs: int) -> None:
        """Creates the callback.

        Args:
            console: A Rich console.
            steps: Steps of the whole run.
            epochs: Epochs of the whole run.
        """
        super().__init__()
        self.console, self.epochs, self.steps = console, epochs, steps

    def on_train_begin(self, logs: Logs = None) -> None:
        """Prints the model's name and starts the bar and the clock."""
        self.console.print(f"training {self.model.name}", highlight=False)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.started, self.done, self.counted = time.perf_counter(), 0, 0
        self.read = -math.inf  # When the loss was last read.
        self.task = self.bar.add_task("training", total=self.steps, loss="-")
        self.bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Advances the bar; reads the loss, which waits for the device, once a second at most."""
        self.done = logs["done"]
        if not self.counted:
            # The first step traces the model, which says nothing about the others.
            self.started, self.counted = time.perf_counter(), self.done
            self.bar.reset(self.task, completed=self.done, loss="-")
        self.bar.update(self.task, completed=self.done)
        if self.console.is_terminal and time.perf_counter() - self.read >= REFRESH:
            self.bar.update(self.task, loss=loss_text(logs["loss"]))
            self.read = time.perf_counter()

    def on_test_begin(self, logs: Logs = None) -> None:
        """Shows "validating" while the bar does not advance."""
        self.bar.update(self.task, description="validating")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Prints the epoch's line."""
        self.bar.update(self.task, description="training")
        passed, measured = time.perf_counter() - self.started, max(1, self.done - self.counted)
        left = passed / measured * (self.steps - self.done)
        validation = (
            f"  val loss {loss_text(logs['val_loss'])}  val mean IU {logs['val_mean_iou']:.3f}"
            if "val_loss" in logs
            else ""
        )
        self.console.print(
            f"epoch {epoch + 1}/{self.epochs}  loss {loss_text(logs['loss'])}"
            f"  mean IU {logs['mean_iou']:.3f}{validation}"
            f"  {logs['images_per_second']:.1f} images/s  {duration(left)} left",
            highlight=False,
            soft_wrap=True,
        )

    def on_train_end(self, logs: Logs = None) -> None:
        """Removes the bar."""
        self.bar.stop()

    def __enter__(self) -> Self:
        """Does nothing: the bar starts with the training."""
        return self

    def __exit__(self, *error: object) -> None:
        """Removes the bar and restores the cursor if the training was interrupted."""
        if hasattr(self, "bar"):
            self.bar.stop()


def loss_text(loss: float) -> str:
    """Formats a loss with three decimals; without decimals from 1000 on, as for summed losses."""
    return f"{loss:.3f}" if abs(loss) < 1000 else f"{loss:,.0f}"
