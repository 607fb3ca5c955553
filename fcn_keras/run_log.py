"""What a training writes: best model, figures, history, pictures, TensorBoard's files."""

import csv
import math
import time

import keras
import tensorflow as tf
from PIL import Image

from fcn_keras import outputs
from fcn_keras.checkpoint import step_in_words
from fcn_keras.errors import ConfigError
from fcn_keras.evaluation import confusion_picture, report
from fcn_keras.loading import save_model
from fcn_keras.metrics import FIGURES, ConfusionMatrix
from fcn_keras.prediction import predict, side_by_side

SHOWN = 8  # Validation images that become pictures.
HISTORY = (
    "epoch",
    "loss",
    *FIGURES,
    "val_loss",
    *(f"val_{name}" for name in FIGURES),
    "learning_rate",
    "images_per_second",
    "seconds",
)


class RunLog(keras.callbacks.Callback):
    """Writes the run's folder: best model, figures, history, TensorBoard, pictures.

    It adds "learning_rate", "images_per_second" and "seconds" to the epoch's logs, for the
    callbacks after it.
    """

    def __init__(
        self, out, train_batch, val_data, class_names, palette, steps, first=(0, 0), batch_ids=None
    ):
        """Writes into `out`, which exists; what stands there of `first`'s epoch and later goes.

        Args:
            out: the run's folder.
            train_batch: images in a batch.
            val_data: as in `training.train`; some of its first images are shown.
            class_names: a name for each class.
            palette: a colour for each class.
            steps: batches after which training ends.
            first: epoch and step of the first batch.
            batch_ids: as in `training.train`.
        """
        super().__init__()
        self.out, self.train_batch, self.steps_left = out, train_batch, steps
        self.first, self.batch_ids = first, batch_ids
        self.class_names, self.palette = class_names, palette
        self.shown = [
            (images[0].numpy(), masks[0].numpy()) for images, masks in val_data.take(SHOWN)
        ]
        self.best_report = None
        self._cut_history(first[0])
        self.writer = tf.summary.create_file_writer(str(out / "tensorboard"))

    def get_state(self):
        """What a checkpoint keeps."""
        return self.best_report

    def set_state(self, state):
        """Goes on from a checkpoint."""
        self.best_report = state

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.started, self.batches, self.trained = time.perf_counter(), 0, 0
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Stops the run as soon as the loss is no number, and where its iterations end."""
        self.batches += 1
        self.steps_left -= 1
        if not self.steps_left:
            self.model.stop_training = True
        self.trained = time.perf_counter() - self.started  # Without validation.
        if not math.isfinite(logs["loss"]):
            raise ConfigError(self._loss_fault(batch, logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the model if it is the best so far, and writes the epoch down."""
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.batches:
            logs["images_per_second"] = self.batches * self.train_batch / self.trained
        logs["seconds"] = time.perf_counter() - self.started
        self._append_history(epoch + 1, logs)
        self._write_scalars(epoch + 1, logs)
        if "val_mean_iou" not in logs:
            return
        # The metric still holds the validation pixels; it is reset when the next epoch begins.
        current = report(self._metric().confusion(), self.class_names)
        self._write_tensorboard_pictures(epoch + 1, current)
        if self.best_report is None or (current["mean_iou"] or 0) > self.best_report["mean_iou"]:
            self.best_report = {**current, "epoch": epoch + 1, "mean_iou": current["mean_iou"] or 0}
            save_model(self.model, self.out / "model.keras")
            outputs.write_json(self.out / "metrics.json", self.best_report)
            self._write_pictures()

    def on_train_end(self, logs=None):
        """Closes the log."""
        self.writer.close()

    def _loss_fault(self, batch, loss):
        step = batch + (self.first[1] if self.epoch == self.first[0] else 0)
        where = step_in_words((self.epoch, step), self.batch_ids)
        is_summed = getattr(self.model.loss, "reduction", None) == "sum"
        return (
            f"the loss became {loss} at {where}. Lower the learning rate (--learning-rate"
            + ("; a summed loss takes about 1e-10)." if is_summed else ").")
            + (" The best model so far is kept; --init-from starts there." * bool(self.best_report))
        )

    def _metric(self):
        return next(m for m in _flat(self.model.metrics) if isinstance(m, ConfusionMatrix))

    def _cut_history(self, epochs):
        """Leaves the lines of the first epochs; those of a run that is resumed come again."""
        path = self.out / "history.csv"
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            outputs.write_text(path, "".join(lines[: 1 + epochs]))

    def _append_history(self, epoch, logs):
        path = self.out / "history.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, HISTORY)
            if is_new:
                writer.writeheader()
            writer.writerow({"epoch": epoch, **{k: v for k, v in logs.items() if k in HISTORY}})

    def _write_scalars(self, epoch, logs):
        with self.writer.as_default(step=epoch):
            for name, value in logs.items():
                split = "validation" if name.startswith("val_") else "train"
                tf.summary.scalar(f"{split}/{name.removeprefix('val_')}", value)
        self.writer.flush()

    def _write_tensorboard_pictures(self, epoch, current):
        matrix = confusion_picture(current["confusion"], self.class_names)
        with self.writer.as_default(step=epoch):
            for number, picture in enumerate(self._pictures()):
                tf.summary.image(f"validation/{number:02d}", picture[None])
            tf.summary.image("validation/confusion", matrix[None])
            for entry in current["per_class"]:
                if entry["iou"] is not None:
                    tf.summary.scalar(f"iou/{entry['name']}", entry["iou"])
        self.writer.flush()

    def _write_pictures(self):
        folder = self.out / "pictures"
        folder.mkdir(exist_ok=True)
        for number, picture in enumerate(self._pictures()):
            Image.fromarray(picture).save(folder / f"{number:02d}.png")

    def _pictures(self):
        for image, mask in self.shown:
            yield side_by_side(image, mask, predict(self.model, image), self.palette)


def _flat(metrics):
    """Metrics, and those inside Keras's own containers of compiled metrics."""
    for metric in metrics:
        yield metric
        yield from _flat(getattr(metric, "metrics", ()))
