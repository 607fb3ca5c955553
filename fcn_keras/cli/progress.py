"""What a person sees while a model trains: a bar on a terminal, else one line an epoch."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fcn_keras.cli.terminal import console, progress_bar
from fcn_keras.text import duration
from fcn_keras.training.watching import Watch

Logs = Any  # Keras gives a dict of figures by name.


class TerminalWatch(Watch):
    """What commands tell of a training: bars on a terminal, one line an epoch."""

    def say(self, line: str) -> None:
        """A line, which is never wrapped."""
        console.print(line, soft_wrap=True)

    def progress(
        self, text: str, total: int | None
    ) -> AbstractContextManager[Callable[[], object]]:
        """A bar on a terminal."""
        return progress_bar(text, total)

    @contextmanager
    def training(self, steps: int, epochs: int) -> Iterator[list[keras.callbacks.Callback]]:
        """A bar and a line an epoch."""
        with TrainingProgress(console, steps, epochs) as progress:
            yield [progress]


class TrainingProgress(keras.callbacks.Callback):
    """A line an epoch: loss, mean IU, images/s, time left; a progress bar too, on a terminal."""

    def __init__(self, console: Console, steps: int, epochs: int) -> None:
        """Prints to a Rich console; `steps` and `epochs` are those of the whole run."""
        super().__init__()
        self.console, self.epochs, self.steps = console, epochs, steps

    def on_train_begin(self, logs: Logs = None) -> None:
        """Says what is trained, and starts the bar and the clock."""
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
        self.begun, self.done = time.perf_counter(), 0
        self.task = self.bar.add_task("training", total=self.steps, loss="-")
        self.bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Moves the bar."""
        self.done += 1
        self.bar.update(self.task, advance=1, loss=loss_text(logs["loss"]))

    def on_test_begin(self, logs: Logs = None) -> None:
        """Says that the bar stands still for a reason."""
        self.bar.update(self.task, description="validating")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Prints the epoch's line."""
        self.bar.update(self.task, description="training")
        left = (time.perf_counter() - self.begun) / self.done * (self.steps - self.done)
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
        """Takes the bar away."""
        self.bar.stop()

    def __enter__(self) -> Self:
        """Nothing: the bar comes with the training."""
        return self

    def __exit__(self, *error: object) -> None:
        """Takes the bar away, and gives the cursor back, if the training was broken off."""
        if hasattr(self, "bar"):
            self.bar.stop()


def loss_text(loss: float) -> str:
    """A loss with three decimals; a summed one, which is large, without."""
    return f"{loss:.3f}" if abs(loss) < 1000 else f"{loss:,.0f}"
