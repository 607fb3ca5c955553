"""What a person sees while a model trains: a bar on a terminal, else one line an epoch."""

import time

import keras
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress(keras.callbacks.Callback):
    """A line an epoch: loss, mean IU, images/s, time left; a progress bar too, on a terminal."""

    def __init__(self, console, steps_per_epoch, epochs):
        """Prints to a Rich console."""
        super().__init__()
        self.console, self.epochs, self.steps = console, epochs, steps_per_epoch
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def on_train_begin(self, logs=None):
        """Starts the bar and the clock."""
        self.begun = time.perf_counter()
        self.task = self.bar.add_task("training", total=self.epochs * self.steps, loss="-")
        self.bar.start()

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar."""
        self.bar.update(self.task, advance=1, loss=f"{logs['loss']:.3f}")

    def on_test_begin(self, logs=None):
        """Says that the bar stands still for a reason."""
        self.bar.update(self.task, description="validating")

    def on_epoch_end(self, epoch, logs=None):
        """Prints the epoch's line."""
        self.bar.update(self.task, description="training")
        done = epoch + 1
        left = (time.perf_counter() - self.begun) / done * (self.epochs - done)
        validation = (
            f"  val loss {logs['val_loss']:.3f}  val mean IU {logs['val_mean_iou']:.3f}"
            if "val_loss" in logs
            else ""
        )
        self.console.print(
            f"epoch {done}/{self.epochs}  loss {logs['loss']:.3f}  mean IU {logs['mean_iou']:.3f}"
            f"{validation}  {logs['images_per_second']:.1f} images/s  {duration(left)} left",
            highlight=False,
            soft_wrap=True,
        )

    def on_train_end(self, logs=None):
        """Takes the bar away."""
        self.bar.stop()


def duration(seconds):
    """Seconds as `1 h 05 min`, `3 min 20 s` or `15 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
