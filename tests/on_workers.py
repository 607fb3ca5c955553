"""One worker of `test_workers.py`, in a process of its own; also what one process does instead."""

import functools
import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import fcn_keras
import pipelines
from fcn_keras import cluster, workers

EPOCHS, STEPS, BATCH = 2, 3, 4


class Record(keras.callbacks.Callback):
    """Every call and its logs, in order; a stop after so many batches, if asked for."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.calls, self.batches, self.stop_after = [], 0, stop_after

    def __getattribute__(self, name):
        if not name.startswith("on_") or name in ("on_batch_begin", "on_batch_end"):
            return super().__getattribute__(name)

        def note(*arguments, logs=None):
            numbers = [a for a in arguments if isinstance(a, int)]
            logs = logs or next((a for a in arguments if isinstance(a, dict)), {})
            self.calls.append([name, *numbers, dict(sorted(logs.items()))])
            if name == "on_train_batch_end":
                self.batches += 1
                if self.batches == self.stop_after:
                    self.model.stop_training = True

        return note


def data():
    """Training data as a function, and seven validation images of several sizes."""
    train, val = (pipelines.read("synthetic", name) for name in ("train", "val"))
    crops = pipelines.Augmentation(crop=(48, 64), scale=(0.8, 1.2), colour=0.5)
    train = functools.partial(
        pipelines.train_dataset, train, batch_size=BATCH, augmentation=crops, seed=3
    )
    count = tf.data.Dataset.range(7)

    def cut(number, pair):
        side = 40 + 8 * tf.cast(number, tf.int32)
        return pair[0][:, :side], pair[1][:, :side]

    val = tf.data.Dataset.zip(count, pipelines.eval_dataset(val)).map(
        lambda number, pair: cut(number, pair)
    )
    return train, val


def compiled(strategy):
    """A net whose batch normalisations, which see a replica's share of the batch, are frozen."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = fcn_keras.FCN8s(5, backbone="tiny", weights=None, head_width=16, dropout=0.0)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        model.compile(
            keras.optimizers.Adam(1e-3),
            loss=fcn_keras.MaskedCrossentropy(),
            metrics=[fcn_keras.ConfusionMatrix(5)],
        )
    return model


def train(strategy, stop_on=None):
    """Trains on all workers; with `stop_on` that worker stops after the fourth batch."""
    team = cluster.from_environment()
    record = Record(4 if stop_on == team.number else None)
    model, (train_data, val_data) = compiled(strategy), data()
    history = workers.fit(
        model,
        train_data,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        validation_data=val_data,
        validation_freq=[2],
        callbacks=[record],
    )
    return model, history, record


def main(out):
    team = cluster.from_environment()
    cluster.meet(team, {})
    strategy = workers.strategy()
    found = {"is_chief": workers.is_chief(strategy)}
    model, history, record = train(strategy)
    found["history"], found["calls"] = history.history, record.calls
    np.savez(out / f"{team.number}.npz", *model.get_weights())
    found["stopped"] = [call[:-1] for call in train(strategy, stop_on=1)[2].calls]
    try:
        workers.check_same(strategy, "number", team.number)
    except fcn_keras.FcnKerasError as error:
        found["not_the_same"] = str(error)
    (out / f"{team.number}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
