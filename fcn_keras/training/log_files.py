"""A run's logs: history, pictures and TensorBoard's event files.

A disk that is full costs lines of these logs, with one warning for each log, but not the training.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from fcn_keras import outputs
from fcn_keras.text import METRIC_NAMES
from fcn_keras.training import tensorboard

HISTORY = (
    "epoch",
    "loss",
    *METRIC_NAMES,
    "val_loss",
    *(f"val_{name}" for name in METRIC_NAMES),
    "learning_rate",
    "images_per_second",
    "seconds",
)
LARGEST_EVENTS = 2_000_000  # Bytes: the pictures of one epoch.


class LogFiles:
    """Writes history.csv, pictures/ and tensorboard/ in a run's folder."""

    def __init__(self, out: Path, writes: bool = True) -> None:
        """Opens nothing yet: each file is opened when it is first written to.

        Args:
            out: The run's folder, which must exist.
            writes: False writes nothing, for all workers but the chief.
        """
        self.out, self.writes = out, writes
        self._warned: set[Path] = set()
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def cut_history(self, epochs: int) -> None:
        """Keeps only the first epochs; a resumed run writes the later ones again."""
        path = self.out / "history.csv"
        if self.writes and path.exists():
            header, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
            if not header.startswith("epoch,"):  # Lost on a full disk.
                header, rows = ",".join(HISTORY), [header, *rows]
            numbers = {row: re.match(r"(\d+),", row) for row in rows}
            kept = [row for row, found in numbers.items() if found and int(found[1]) <= epochs]
            outputs.write_text(path, "\n".join([header, *kept, ""]))

    def cut_events(self, epochs: int, steps: int) -> None:
        """Removes TensorBoard's events after some epochs and steps: they will be written again."""
        folder = self.out / "tensorboard"

        def keeps(tag: str, step: int) -> bool:
            return step <= (steps if tag.startswith("step/") else epochs)

        with self._spared(folder):
            for path in folder.glob("*/events.*") if self.writes else ():
                tensorboard.cut(path, keeps)

    def append_history(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Appends an epoch's row; its columns are those of `HISTORY`."""
        path = self.out / "history.csv"
        if not self.writes:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, HISTORY)
        with self._spared(path):
            size = path.stat().st_size if path.exists() else 0
            if not size:
                writer.writeheader()
            writer.writerow({"epoch": epoch, **{k: v for k, v in logs.items() if k in HISTORY}})
            try:
                with path.open("a", newline="", encoding="utf-8") as file:
                    file.write(text.getvalue())
            except OSError:
                if path.is_file():
                    os.truncate(path, size)  # A disk that is full may have room for half a row.
                raise

    def save_pictures(self, pictures: Sequence[np.ndarray]) -> None:
        """Saves RGB pictures, uint8 `[h, w, 3]`, as pictures/00.png and so on."""
        folder = self.out / "pictures"
        with self._spared(folder):
            folder.mkdir(exist_ok=True)
            for number, picture in enumerate(pictures):
                Image.fromarray(picture).save(folder / f"{number:02d}.png")

    @contextlib.contextmanager
    def events(self, part: str, step: int) -> Iterator[None]:
        """A context in which `tf.summary` writes to an event file, which it flushes at the end.

        Args:
            part: "train" or "validation".
            step: The step or epoch.
        """
        with self._spared(self.out / "tensorboard"):
            writer = self._writer(part)
            with writer.as_default(step=step):
                try:
                    yield
                    writer.flush()
                except tf.errors.OpError:
                    # The file ends in half a record, after which TensorBoard reads nothing more:
                    # the next events go to a new file.
                    self._close(part)
                    raise

    def close(self) -> None:
        """Closes the event files."""
        for part in list(self._writers):
            self._close(part)

    def _writer(self, part: str) -> tf.summary.SummaryWriter:
        folder = self.out / "tensorboard"
        if self.writes:
            with self._spared(folder):
                # TensorFlow reports only some of the events that it cannot write.
                if shutil.disk_usage(self.out).free < LARGEST_EVENTS:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if part not in self._writers:
                    self._writers[part] = tf.summary.create_file_writer(str(folder / part))
                return self._writers[part]
        return tf.summary.create_noop_writer()

    def _close(self, part: str) -> None:
        if (writer := self._writers.pop(part, None)) is not None:
            with contextlib.suppress(tf.errors.OpError):
                writer.close()

    @contextlib.contextmanager
    def _spared(self, path: Path) -> Iterator[None]:
        """Turns the error of a full disk into a warning, the first one for each path."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            reason = outputs.disk_fault(error)
            if reason is None:
                raise
            if path not in self._warned:
                self._warned.add(path)
                print(
                    f"warning: {path}: cannot be written ({reason}). Training continues without "
                    "it. Free some disk space.",
                    file=sys.stderr,
                )
