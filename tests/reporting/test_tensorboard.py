"""TensorBoard's files of a run."""

import csv
import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import pipelines
from fcn_keras.runs.resolve import resolve
from fcn_keras.training import fitting, run_log


def test_tensorboard_shows_curves_pictures_layers_and_options(finished, class_names):
    parts = {
        part: EventAccumulator(str(finished / "tensorboard" / part), {"tensors": 0}).Reload()
        for part in ("train", "validation")
    }
    train, validation = (set(parts[part].Tags()["tensors"]) for part in ("train", "validation"))
    assert {"epoch/loss", "epoch/mean IU", "epoch/images per second", "step/loss"} <= train
    assert {
        "epoch/loss",
        "best/mean IU",
        "class IU/road",
        "confusion matrix",
        "predictions/00",
    } <= validation
    assert f"class IU/{class_names[3]}" not in validation
    epochs = [event.step for event in parts["validation"].Tensors("epoch/mean IU")]
    assert epochs == [4, 8, 12]
    (step,) = parts["train"].Tensors("step/learning rate")
    assert step.step == 20

    width, height, picture = (
        parts["validation"].Tensors("predictions/00")[0].tensor_proto.string_val
    )
    assert (int(width), int(height)) == (2 * 56 + 4, 2 * 40 + 4) and picture.startswith(
        b"\xff\xd8\xff"
    )

    layers = {node.name: node for node in parts["train"].Graph().node}
    assert list(layers["fuse_pool3"].input) == ["upscore_pool4", "score_pool3"]
    options = parts["validation"].SummaryMetadata("_hparams_/session_start_info")
    plugin = plugin_data_pb2.HParamsPluginData.FromString(options.plugin_data.content)
    assert plugin.session_start_info.group_name == f"{finished.parent.name}/{finished.name}"
    values = plugin.session_start_info.hparams
    assert values["learning_rate"].number_value == 0.01
    assert values["crop"].string_value == "32, 48"
    assert values["mirror"].bool_value is True


@pytest.mark.slow
def test_step_losses_average_to_epoch_losses_across_a_resume(data, tmp_path, monkeypatch):
    monkeypatch.setattr(run_log, "EVERY", 2)
    train, val = (pipelines.read(data, split) for split in ("train", "val"))
    config = resolve(
        "default",
        {"backbone": "tiny", "weights": None, "head_width": 4, "data": "none", "epochs": 2}
        | {"batch_size": 1, "validate_every": 2},
    )
    batches = functools.partial(
        pipelines.train_dataset, train, batch_size=1, augmentation=pipelines.Augmentation((32, 32))
    )

    def run(name, **options):
        fitting.fit(
            config, batches, pipelines.eval_dataset(val), tmp_path / name, palette=train.palette,
            class_names=train.class_names, checkpoint_every=1, **options,
        )  # fmt: skip
        log = EventAccumulator(str(tmp_path / name / "tensorboard/train"), {"tensors": 0}).Reload()
        points = {e.step: tf.make_ndarray(e.tensor_proto) for e in log.Tensors("step/loss")}
        return {step: float(loss) for step, loss in points.items()}

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 5:
                raise KeyboardInterrupt

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", callbacks=[Break()])
    broken = run("broken", resume=True)
    history = list(csv.DictReader((tmp_path / "whole/history.csv").read_text().splitlines()))
    for row, points in zip(history, ((2, 4), (6, 8)), strict=True):
        mean = np.mean([whole[step] for step in points])
        assert mean == pytest.approx(float(row["loss"]), rel=1e-5)
    assert whole.keys() == {2, 4, 6, 8} and broken.keys() == {2, 4, 8}
    assert broken[4] == whole[4]
    assert broken[8] == pytest.approx((whole[6] + whole[8]) / 2, rel=1e-5)
    starts = json.loads((tmp_path / "broken/environment.json").read_text())["starts"]
    assert len(starts) == 2
