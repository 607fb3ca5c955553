"""What a training writes: best model, figures, history, pictures, TensorBoard's files."""

import csv
import math
import time

import keras
import tensorflow as tf
from PIL import Image

from fcn_keras import outputs
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

    def __init__(self, out, train_batch, val_data, class_names, palette, steps):
        """Writes into `out`, which exists, and ends training after `steps` batches.

        `train_batch` is the number of images in a batch.
        """
        super().__init__()
        self.out, self.train_batch, self.steps_left = out, train_batch, steps
        self.class_names, self.palette = class_names, palette
        self.shown = [
            (images[0].numpy(), masks[0].numpy()) for images, masks in val_data.take(SHOWN)
        ]
        self.best_report = None
        self.writer = tf.summary.create_file_writer(str(out / "tensorboard"))

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self.started, self.batches = time.perf_counter(), 0

    def on_train_batch_end(self, batch, logs=None):
        """Stops the run as soon as the loss is no number, and where its iterations end."""
        self.batches += 1
        self.steps_left -= 1
        if not self.steps_left:
            self.model.stop_training = True
        self.trained = time.perf_counter() - self.started  # Without validation.
        if not math.isfinite(logs["loss"]):
            raise ConfigError(
                f"the loss became {logs['loss']} at step {batch + 1} of the epoch. Lower the "
                "learning rate (--learning-rate"
                + ("; a summed loss takes about 1e-10)" if self._is_summed() else ")")
                + ("; the best model so far is kept." if self.best_report else ".")
            )

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the model if it is the best so far, and writes the epoch down."""
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
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

    def _is_summed(self):
        return getattr(self.model.loss, "reduction", None) == "sum"

    def _metric(self):
        return next(m for m in _flat(self.model.metrics) if isinstance(m, ConfusionMatrix))

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
