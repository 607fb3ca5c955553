"""Writes a run's best model, metrics, history, pictures and TensorBoard files.

TensorBoard gets two runs, `tensorboard/train` and `tensorboard/validation`, so it draws both curves
of a metric in one chart. The tags, in TensorBoard's order:

best/...           the four metrics of the best epoch so far; compare runs by these in HParams
class IU/CLASS     validation IU per class; the step is the epoch
confusion matrix   each row in percent of its class's pixels
epoch/...          loss, the four metrics, learning rate, images per second; the step is the epoch
predictions/00     fixed validation images: image, ground truth, prediction, error
step/...           loss (mean since the last point) and learning rate; the step is the batch
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras import outputs
from fcn_keras.errors import ConfigError
from fcn_keras.evaluation.confusion_picture import confusion_picture
from fcn_keras.evaluation.results import Evaluation
from fcn_keras.metrics import ConfusionMatrix
from fcn_keras.models.saving import save_model
from fcn_keras.prediction.pictures import side_by_side
from fcn_keras.runs import run_folder
from fcn_keras.runs.config import TrainConfig
from fcn_keras.runs.lifecycle import weights_sha256
from fcn_keras.text import METRIC_NAMES
from fcn_keras.training.log_files import LogFiles
from fcn_keras.training.shown_images import Shown, chosen, predicted
from fcn_keras.training.state import check_finite
from fcn_keras.training.step_losses import EVERY, StepLosses
from fcn_keras.training.tensorboard import trial_name, write_layers, write_options, write_picture
from fcn_keras.training.watching import Logs

TIMES = 9  # Validations with pictures after the first: TensorBoard shows ten pictures per tag.


class RunLog(keras.callbacks.Callback):
    """Writes best model, metrics, history, pictures and TensorBoard files to the run's folder.

    Later callbacks find "learning_rate", "images_per_second" and "seconds" in the epoch's logs, and
    "done" in the batch's: the steps of the run so far.
    """

    def __init__(
        self,
        out: Path,
        config: TrainConfig,
        val_data: tf.data.Dataset,
        class_names: Sequence[str],
        palette: np.ndarray,
        steps: int,
        first: tuple[int, int] = (0, 0),
        batch_ids: Callable[..., list[str]] | None = None,
        writes: bool = True,
    ) -> None:
        """Opens the log and removes the history and events from the batch `first` on.

        Args:
            out: The run's folder, which must exist.
            config: The run's `TrainConfig`.
            val_data: As in `fitting.fit`; some of its images are shown.
            class_names: A name for each class.
            palette: A colour for each class.
            steps: Batches per epoch.
            first: Epoch and step of the first batch; the step is `steps` if the epoch is only to be
                validated.
            batch_ids: As in `fitting.fit`.
            writes: False for all workers but the chief: they only keep track of the best epoch.
        """
        super().__init__()
        self.out, self.config, self.steps = out, config, steps
        self.first, self.losses = first, StepLosses(batch_ids)
        self.class_names, self.palette = class_names, palette
        self.val_data = val_data
        self.best_report: dict[str, Any] = {}  # Empty before the first validation.
        self.last_point = (0, 0.0)  # Of step/loss: steps of the epoch, sum of their losses.
        self.drawn = -1  # The part of the run, 0 to `TIMES`, that TensorBoard last got pictures of.
        self.writes = writes
        self.earlier = (0.0, 0.0, 0)  # Of the epoch before an interruption; see `_times`.
        self.started, self.batches, self.trained = time.perf_counter(), 0, 0.0
        self.files = LogFiles(out, writes)
        self.files.cut_history(first[0])
        self.files.cut_events(first[0], first[0] * steps + first[1])

    @functools.cached_property
    def shown(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Images and masks that are shown; read after the first validation."""
        return chosen(self.val_data)

    def get_state(self) -> dict[str, Any]:
        """Returns the state for a checkpoint.

        Raises:
            ConfigError: The run's folder was removed, or the loss became infinite or NaN.
        """
        self._check_folder()
        self._check_loss()
        options = run_folder.deciding_options(self.config)
        return {
            "best_report": self.best_report,
            "last_point": self.last_point,
            "times": self._times(),
            "drawn": self.drawn,
            "options": options,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the state from a checkpoint.

        Raises:
            ConfigError: The checkpoint has other options than the run's config.yaml.
        """
        run_folder.check_options(self.out, state["options"], self.get_state()["options"])
        self.best_report = state["best_report"] or {}
        self.last_point = state["last_point"]
        seconds, trained, batches = state.get("times", self.earlier)  # 0.1 did not store this.
        self.earlier = (seconds, trained, batches)
        self.drawn = state.get("drawn", self.drawn)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Writes the configuration and the model's graph to TensorBoard, once per run."""
        if self.first != (0, 0):
            return
        with self.files.events("validation", 0):
            write_options(self.config.model_dump(mode="json"), trial_name(self.out))
        with self.files.events("train", 0):
            write_layers(self.model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Starts the clock."""
        self.started, self.batches, self.trained = time.perf_counter(), 0, 0.0
        self.epoch = epoch
        self.losses.start(epoch)
        self.before = self.first[1] if epoch == self.first[0] else 0  # Steps done before resuming.
        if not self.before:
            self.last_point, self.earlier = (0, 0.0), (0.0, 0.0, 0)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Stops the run at its last iteration, or if the loss has become infinite or NaN.

        Reads the loss, which waits for the device, only every `EVERY` steps and after the last one.
        """
        self.batches += 1
        now = self.before + self.batches  # Steps of the epoch.
        done = logs["done"] = self.epoch * self.steps + now
        self.losses.add(range(now - 1, now), logs)
        if done == self.config.steps(self.steps):
            self.model.stop_training = True
        if done % EVERY == 0 or now == self.steps or self.model.stop_training:
            self._check_loss()
        self.trained = time.perf_counter() - self.started  # Without validation.
        if done % EVERY == 0:
            self._check_folder()
            self._write_step(float(logs["loss"]))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Logs the epoch, and saves the model if it is the best so far."""
        self._check_folder()
        self._check_loss()
        weights = ((w.path, keras.ops.convert_to_numpy(w)) for w in self.model.weights)
        check_finite(weights, lambda: f"epoch {epoch + 1}")
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        logs.pop("done", None)  # Of the batch before an interrupted validation.
        logs["seconds"], trained, batches = self._times()
        if batches and trained:
            logs["images_per_second"] = batches * self.config.batch_size / trained
        self.files.append_history(epoch + 1, logs)
        self._write_scalars(epoch + 1, logs)
        if "val_mean_iou" not in logs:
            return
        # The metric still contains the validation pixels; it is reset when the next epoch begins.
        # Each worker has a part of them, so all workers must call `confusion`, which sums them.
        metric, names = self._metric(), tuple(self.class_names)
        current = Evaluation(metric.confusion(), names, metric.skip_absent).to_dict()
        loss = logs["val_loss"]
        found = {"epoch": epoch + 1, "val_loss": loss if math.isfinite(loss) else None}
        current |= {"mean_iou": current["mean_iou"] or 0}
        is_best = _is_better({**current, **found}, self.best_report)
        if is_best:
            self.best_report = {**current, **found}
        if not self.writes:
            return
        part = TIMES * (epoch + 1) // self.config.passes(self.steps)
        is_drawn = part > self.drawn
        shown = predicted(self.model, self.shown) if is_best or is_drawn else []
        with self.files.events("validation", epoch + 1):
            for entry in current["per_class"]:
                if entry["iou"] is not None:
                    tf.summary.scalar(f"class IU/{entry['name']}", entry["iou"])
            if is_drawn:
                self.drawn = part
                self._write_tensorboard_pictures(shown, current["confusion"])
            if is_best:
                for name, text in METRIC_NAMES.items():
                    tf.summary.scalar(f"best/{text}", current[name] or 0)
        if is_best:
            save_model(self.model, self.out / "model.keras")
            # By it, reports and model cards recognise the model that the metrics belong to.
            self.best_report["weights_sha256"] = weights_sha256(self.model)
            outputs.write_json(self.out / "metrics.json", self.best_report)
            self.files.save_pictures([side_by_side(*masks, self.palette) for masks in shown])

    def on_train_end(self, logs: Logs = None) -> None:
        """Closes the log."""
        self.files.close()

    def _times(self) -> tuple[float, float, int]:
        """Returns the epoch's seconds, those of its training, and its steps, over all starts."""
        seconds, trained, batches = self.earlier
        return (
            seconds + time.perf_counter() - self.started,
            trained + self.trained,
            batches + self.batches,
        )

    def _check_loss(self) -> None:
        """Checks that no loss so far was infinite or NaN."""
        fault = self.losses.fault()
        if not fault:
            return
        is_summed = getattr(self.model.loss, "reduction", None) == "sum"
        raise ConfigError(
            f"{fault}. Train again (--out) with a lower learning rate (--learning-rate"
            + ("; a summed loss needs about 1e-10)." if is_summed else ").")
            + (" The best model so far is kept for --init-from." * bool(self.best_report))
        )

    def _check_folder(self) -> None:
        """Checks that nobody has removed the run's folder since the training began."""
        if self.writes and not run_folder.is_started(self.out):
            raise ConfigError(
                f"{self.out}: the run's folder was removed or emptied while it was trained, so it "
                "cannot be saved. Train again."
            )

    def _metric(self) -> ConfusionMatrix:
        return next(m for m in _flat(self.model.metrics) if isinstance(m, ConfusionMatrix))

    def _write_step(self, mean_loss: float) -> None:
        """Writes the mean loss since the last point; Keras gives the mean since the epoch began.

        All training batches have the same size, so each has the same weight in Keras's mean.
        """
        if self.before and self.batches == 1:
            return  # Keras's mean may not include the checkpoint's yet.
        (steps, total), now = self.last_point, self.before + self.batches
        recent = (mean_loss * now - total) / (now - steps)
        self.last_point = (now, mean_loss * now)
        with self.files.events("train", self.epoch * self.steps + now):
            tf.summary.scalar("step/loss", recent)
            tf.summary.scalar("step/learning rate", float(self.model.optimizer.learning_rate))

    def _write_scalars(self, epoch: int, logs: Mapping[str, float]) -> None:
        for name, value in logs.items():
            part = "validation" if name.startswith("val_") else "train"
            with self.files.events(part, epoch):
                name = name.removeprefix("val_")
                text = METRIC_NAMES.get(name, name.replace("_", " "))
                tf.summary.scalar(f"epoch/{text}", value)

    def _write_tensorboard_pictures(
        self, shown: Sequence[Shown], confusion: list[list[int]]
    ) -> None:
        for number, masks in enumerate(shown):
            write_picture(
                f"predictions/{number:02d}",
                side_by_side(*masks, self.palette, columns=2),  # TensorBoard's cards are narrow.
                "Image and ground truth; prediction and errors (red). Void is nearly black.",
            )
        write_picture(
            "confusion matrix",
            confusion_picture(confusion, self.class_names),
            "Rows: true class. Columns: predicted class, in percent of the true class's pixels.",
        )


def _is_better(current: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Whether an epoch is better than the best so far: by mean IU, then by validation loss.

    While a rare class is never predicted, the mean IU stays exactly the same.
    """
    if not best or current["mean_iou"] != best["mean_iou"]:
        return not best or current["mean_iou"] > best["mean_iou"]
    loss, least = current["val_loss"], best.get("val_loss")  # Version 0.1 did not store it.
    return None not in (loss, least) and loss < least


def _flat(metrics: Iterable[keras.metrics.Metric]) -> Iterator[keras.metrics.Metric]:
    """Yields metrics, including those inside Keras's containers of compiled metrics."""
    for metric in metrics:
        yield metric
        yield from _flat(getattr(metric, "metrics", ()))
