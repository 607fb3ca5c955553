"""A training loop for several machines, like `model.fit`.

Keras 3's own `fit` fails under `tf.distribute.MultiWorkerMirroredStrategy` (keras issue 20585).
This loop calls the compiled model's `train_step` and `test_step`, and the same callbacks with the
same logs in the same order.

All workers run the same code. Some operations are collective: a worker that reaches one alone waits
forever for the others. These are a step, `any_worker`, creating a variable in the strategy's scope,
and reading the state or result of a metric, of which each replica has a part. Weights, optimizer
and random states are the same on all workers, and each worker reads and assigns its own copy. So
callbacks must run on every worker, but only the chief may write files (`is_chief`). Anything that
only one worker knows, such as a signal or the time, must go through `any_worker`.
"""

import functools
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from fcn_keras import replicas
from fcn_keras.distribution.callbacks import Callbacks
from fcn_keras.distribution.shares import share_of_batches, share_of_examples
from fcn_keras.distribution.watchdog import time_limit
from fcn_keras.errors import ConfigError, WorkerLost

# The longest wait for another worker in a step, in seconds: long enough for the chief to write
# pictures, a model and a checkpoint. A worker that has died is detected within seconds.
STEP_LIMIT = 1800.0
# The longest wait for TensorFlow to start on all workers, in seconds; they have met before.
START_LIMIT = 300.0

Step = Callable[
    [tuple[tf.Tensor, ...]], dict[str, Any]
]  # Takes a batch, returns the metrics by name.


def strategy() -> tf.distribute.MultiWorkerMirroredStrategy:
    """Creates the strategy for all GPUs (or CPUs) of all processes in `TF_CONFIG`.

    Call it before any other TensorFlow function, and right after `cluster.meet`: it waits for the
    other workers without any message, and holds Python's GIL. If one has died in between,
    TensorFlow would wait an hour, deaf to Ctrl-C and SIGTERM. So after `START_LIMIT`, or on a
    signal to its process group, this process is killed.

    Raises:
        ConfigError: This process's port is in use.
    """
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=STEP_LIMIT)
    line = (
        f"error: TF_CONFIG: TensorFlow has not started on all workers within {START_LIMIT:.0f} s. "
        "One of them has probably died; see its output. Start all workers again."
    )
    try:
        with time_limit(START_LIMIT, line):
            return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())
        raise ConfigError(f"TF_CONFIG: cannot connect to the other workers: {reason}") from None


def fit(
    model: keras.Model,
    train_data: Callable[..., tf.data.Dataset],
    *,
    epochs: int,
    steps_per_epoch: int,
    validation_data: tf.data.Dataset | None = None,
    validation_freq: int | Collection[int] = 1,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    start: tuple[int, int] = (0, 0),
    advice: str = "start all workers again",
) -> keras.callbacks.History:
    """Trains like `model.fit(shuffle=False, verbose=0)`, on all workers of the model's strategy.

    Args:
        model: A compiled model; model and metrics must be created in the strategy's scope.
        train_data: A function; `train_data(start=(epoch, step), shard=(number, count))` returns an
            endless data set with this worker's share of each batch, like
            `functools.partial(pipelines.train_dataset, split, ...)`. If a worker has several GPUs,
            they split its share.
        epochs: The last epoch, counted from the start of the run.
        steps_per_epoch: Batches per epoch.
        validation_data: A `tf.data.Dataset` of known cardinality, the same on all workers. Each
            worker takes its share, one element per GPU and step.
        validation_freq: Epochs between validations, or a list of epochs, counted from 1.
        callbacks: Keras callbacks, on every worker; see above. If one of them sets
            `model.stop_training`, all workers stop after the same step.
        start: (epoch, step) of the first batch, counted from 0. In that epoch, callbacks count the
            batches from there.
        advice: How to resume, for the message that a worker was lost.

    Returns:
        A `keras.callbacks.History`.

    Raises:
        ConfigError: The devices cannot share a batch evenly.
        WorkerLost: Another worker has ended or is unreachable.
    """
    strategy = model.distribute_strategy
    calls = Callbacks(
        list(callbacks), add_history=True, model=model, epochs=epochs, steps=steps_per_epoch
    )

    with strategy.scope():  # Otherwise each replica would create its own in the first step.
        model.optimizer.build(model.trainable_variables)
    train_step, test_step = _train_step(model), _test_step(model)
    try:
        batches = iter(share_of_batches(strategy, train_data, start))
        model.stop_training = False
        calls.on_train_begin()
        logs: dict[str, Any] = {}
        epoch_logs: dict[str, float] | None = None
        for epoch in range(start[0], epochs):
            model.reset_metrics()
            calls.on_epoch_begin(epoch)
            first = start[1] if epoch == start[0] else 0
            for step in range(steps_per_epoch - first):
                calls.on_train_batch_begin(step)
                logs = train_step(next(batches))
                calls.on_train_batch_end(step, logs)
                model.stop_training = any_worker(strategy, model.stop_training)
                if model.stop_training:
                    break
            epoch_logs = _numbers(logs)
            if validation_data is not None and _is_due(epoch + 1, validation_freq):
                found = _evaluate(model, validation_data, calls, test_step)
                epoch_logs |= {f"val_{name}": value for name, value in found.items()}
            calls.on_epoch_end(epoch, epoch_logs)
            model.stop_training = any_worker(strategy, model.stop_training)
            if model.stop_training:
                break
        model.optimizer.finalize_variable_values(model.trainable_weights)
        calls.on_train_end(epoch_logs)
    except tf.errors.OpError as error:
        raise lost_worker(error, advice) or error from None
    return model.history


def evaluate(
    model: keras.Model, data: tf.data.Dataset, callbacks: Iterable[keras.callbacks.Callback] = ()
) -> dict[str, float]:
    """Evaluates like `model.evaluate(return_dict=True, verbose=0)`, on all workers together.

    Args:
        model: As in `fit`.
        data: Like `validation_data` in `fit`.
        callbacks: Keras callbacks, on every worker.

    Returns:
        The metrics by name. Metrics that sum counts, such as `ConfusionMatrix`, are exactly those
        of one process.

    Raises:
        ConfigError: The cardinality of `data` is unknown.
    """
    calls = Callbacks(list(callbacks), model=model)
    return _evaluate(model, data, calls, _test_step(model))


def any_worker(strategy: tf.distribute.Strategy, flag: object) -> bool:
    """Returns whether `flag` is true on any worker; all workers must call this."""
    return _sum(strategy)(int(bool(flag))) > 0


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes the files; True if it is the only process."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def check_same(strategy: tf.distribute.Strategy, what: str, value: object) -> None:
    """Checks that all workers have the same value; all workers must call this.

    Args:
        strategy: The workers' strategy.
        what: Name of the value, for the message.
        value: Any JSON value.

    Raises:
        ConfigError: The values differ; raised on all workers.
    """
    text = json.dumps(value, sort_keys=True, default=str)
    checksum = zlib.crc32(text.encode()) & 0xFFFFF  # 20 bits, so that float32 sums are exact.
    workers = _sum(strategy)(1)
    if any_worker(strategy, _sum(strategy)(checksum) != workers * checksum):
        raise ConfigError(
            f"{what}: differs between workers; its checksum here is {checksum:05x}. Give all "
            "workers the same."
        )


def lost_worker(error: tf.errors.OpError, advice: str) -> WorkerLost | None:
    """Converts a TensorFlow error about a lost worker to `WorkerLost`; None for other errors."""
    if "ollective" not in error.message:
        return None
    named = re.findall(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)", error.message)
    who = "{} {}".format(*named[-1]) if named else "another worker"
    return WorkerLost(
        f"{who} has ended or is unreachable; see its output for the reason. To resume: {advice}."
    )


def is_cluster(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether a strategy has several processes and so needs this module's `fit`."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _evaluate(
    model: keras.Model, data: tf.data.Dataset, calls: Callbacks, test_step: Step
) -> dict[str, float]:
    strategy = model.distribute_strategy
    batches, steps, spare = share_of_examples(strategy, data)
    calls.on_test_begin()
    model.reset_metrics()
    logs: dict[str, Any] = {}
    images = 0
    for step, batch in zip(range(steps), batches, strict=False):
        calls.on_test_batch_begin(step)
        logs = test_step(batch)
        calls.on_test_batch_end(step, logs)
        parts = strategy.experimental_local_results(tf.nest.flatten(batch)[0])
        images += sum(part.shape[0] for part in parts)
    logs = _numbers(logs)
    images = _sum(strategy)(images)
    logs["loss"] *= images / (images - spare)  # Keras included the spare ones, with loss 0.
    calls.on_test_end(logs)
    return logs


def _train_step(model: keras.Model) -> Step:
    """Returns a function that runs a step on every replica and returns the metrics of all."""
    strategy = model.distribute_strategy

    @tf.function(reduce_retracing=True)
    def train_step(batch: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        strategy.run(model.train_step, args=(batch,))
        return model.get_metrics_result()

    return train_step


def _test_step(model: keras.Model) -> Step:
    strategy = model.distribute_strategy

    @tf.function(reduce_retracing=True)
    def test_step(batch: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        with replicas.local_only():
            strategy.run(model.test_step, args=(batch,))
        return model.get_metrics_result()

    return test_step


@functools.cache
def _sum(strategy: tf.distribute.Strategy) -> Callable[[int], int]:
    """Returns a function that sums a number over all workers, exactly up to 2^24."""
    if not is_cluster(strategy):
        return lambda number: number

    @tf.function
    def of_replicas(number: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(lambda n: n, args=(number,)), axis=None)

    local = len(strategy.extended.worker_devices)
    return lambda number: int(of_replicas(tf.constant(float(number)))) // local


def _numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """Flattens logs to floats by name; a metric such as `ConfusionMatrix` logs a dict."""
    flat: dict[str, float] = {}
    for name, value in sorted(logs.items()):
        flat |= _numbers(value) if isinstance(value, dict) else {name: float(value)}
    return flat


def _is_due(epoch: int, frequency: int | Collection[int]) -> bool:
    return epoch % frequency == 0 if isinstance(frequency, int) else epoch in frequency
