"""One worker process of `test_workers.py`, and the same training in a single process."""

import functools
import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import fcn_keras
import pipelines
from fcn_keras.distribution import cluster, devices, workers

EPOCHS, STEPS, BATCH = 3, 3, 4
STOP_AFTER = 5  # In the second epoch, which is still validated, as in `fit`.


class Record(keras.callbacks.Callback):
    """Records every call and its logs; optionally stops after a number of batches."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.calls, self.stop_after = [], stop_after
        for name in (
            *("on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"),
            *("on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end"),
            *("on_epoch_end", "on_train_end"),
        ):
            setattr(self, name, functools.partial(self.note, name))

    def note(self, name, number=None, logs=None):
        if isinstance(number, dict):
            number, logs = None, number
        self.calls.append([name, number, dict(logs or {})])
        batches = sum(call[0] == "on_train_batch_end" for call in self.calls)
        if name == "on_train_batch_end" and batches == self.stop_after:
            self.model.stop_training = True


def data():
    """Returns training data as a function, and seven validation images."""
    train, val = (pipelines.read("synthetic", name) for name in ("train", "val"))
    crops = pipelines.Augmentation(crop=(48, 64), scale=(0.8, 1.2), colour=0.5)
    train = functools.partial(
        pipelines.train_dataset, train, batch_size=BATCH, augmentation=crops, seed=3
    )
    val = tf.data.Dataset.zip(tf.data.Dataset.range(7), pipelines.eval_dataset(val))
    return train, val.map(lambda number, pair: tf.nest.map_structure(lambda x: x[:, 32:], pair))


def compiled(strategy):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = fcn_keras.FCN8s(5, backbone="tiny", weights=None, head_width=16, dropout=0.0)
        if strategy.num_replicas_in_sync > 1:
            devices.synchronise(model)
        model.compile(
            keras.optimizers.Adam(1e-3),
            loss=fcn_keras.MaskedCrossentropy(),
            metrics=[fcn_keras.ConfusionMatrix(5)],
        )
    return model


def fit(model, record):
    """Trains with the loop for several machines and `record` as callback; returns the history."""
    train_data, val_data = data()
    history = workers.fit(
        model,
        train_data,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        validation_data=val_data,
        validation_freq=[2],
        callbacks=[record],
    )
    return history.history


def main(out):
    team = cluster.from_environment()
    cluster.meet(team, {})
    strategy = workers.strategy()
    model = compiled(strategy)
    # Only a callback of worker 1 stops the training.
    record = Record(STOP_AFTER if team.number == 1 else None)
    found = {"history": fit(model, record), "calls": record.calls}
    found["is_chief"] = workers.is_chief(strategy)
    np.savez(out / f"{team.number}.npz", *model.get_weights())
    try:
        workers.check_same(strategy, "number", team.number)
    except fcn_keras.FcnKerasError as error:
        found["not_the_same"] = str(error)
    (out / f"{team.number}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
