"""Training on several machines: what `model.fit` does, where Keras 3's own cannot.

Under `tf.distribute.MultiWorkerMirroredStrategy` `fit` of Keras 3 fails (issue 20585 of keras), so
this is its loop: the compiled model's own `train_step` and `test_step`, and the same callbacks with
the same logs, in the same order.

Every worker runs the same lines, and some of these all workers compute together: one that comes to
such a line alone waits for the others in vain. They are: a step; `any_worker`; making a variable in
the strategy's scope; reading the state or the result of a metric, of which each replica holds a
part. Weights, the optimizer and random states are the same everywhere, and each worker reads and
assigns its own. So callbacks belong on every worker, and what they write is the chief's alone
(`is_chief`); what only one worker can know, a signal or the time, goes through `any_worker` first.
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
from fcn_keras.distribution.shares import share_of_batches, share_of_examples
from fcn_keras.errors import ConfigError, WorkerLost

# The longest wait for another worker within a step: long enough for a chief that writes pictures, a
# model and a checkpoint meanwhile. A worker that has died is noticed in seconds.
STEP_LIMIT = 1800.0

Step = Callable[[tuple[tf.Tensor, ...]], dict[str, Any]]  # Of a batch: the metrics by name.


def strategy() -> tf.distribute.MultiWorkerMirroredStrategy:
    """The strategy of all GPUs (or the CPU) of all processes in `TF_CONFIG`.

    To be made first of all that TensorFlow does. It waits for the others, without a word and for an
    hour: `cluster.meet` comes before it.

    Raises:
        ConfigError: this process's port is taken.
    """
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=STEP_LIMIT)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())
        raise ConfigError(f"TF_CONFIG: this process cannot join the others: {reason}") from None


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
        model: compiled, made in the strategy's scope, and so are its metrics.
        train_data: a function; `train_data(start=(epoch, step), shard=(number, count))` gives this
            worker's share of each batch from there on, without end, as
            `functools.partial(pipelines.train_dataset, split, ...)` does. With several GPUs on each
            worker the share is split among them.
        epochs: where training ends, counted from the very beginning.
        steps_per_epoch: batches in an epoch.
        validation_data: a `tf.data.Dataset` of known cardinality, the same on all workers: each
            takes its share of it, one element at a time on each GPU.
        validation_freq: every how many epochs to validate, or a list of such epochs, from 1.
        callbacks: of Keras, on every worker; see above. A `model.stop_training` on one of them
            stops all workers after the same step.
        start: (epoch, step), counted from 0, of the first batch. Callbacks see the batches of that
            epoch counted from there.
        advice: how to go on, for the line that says that a worker was lost.

    Returns:
        A `keras.callbacks.History`.

    Raises:
        ConfigError: a batch cannot be split evenly.
        WorkerLost: another worker has ended or cannot be reached.
    """
    strategy = model.distribute_strategy
    calls = keras.callbacks.CallbackList(
        list(callbacks), add_history=True, model=model, epochs=epochs, steps=steps_per_epoch
    )

    with strategy.scope():  # In a step each replica would make the variables on its own.
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
        raise lost(error, advice) or error from None
    return model.history


def evaluate(
    model: keras.Model, data: tf.data.Dataset, callbacks: Iterable[keras.callbacks.Callback] = ()
) -> dict[str, float]:
    """Measures like `model.evaluate(return_dict=True, verbose=0)`, on all workers together.

    Args:
        model: as in `fit`.
        data: as `validation_data` there.
        callbacks: of Keras, on every worker.

    Returns:
        The metrics by name; those that sum up counts, such as `ConfusionMatrix`, exactly those of
        one process.

    Raises:
        ConfigError: `data` is of unknown cardinality.
    """
    calls = keras.callbacks.CallbackList(list(callbacks), model=model)
    return _evaluate(model, data, calls, _test_step(model))


def any_worker(strategy: tf.distribute.Strategy, flag: object) -> bool:
    """Whether `flag` holds on any worker; all have to ask, and all get the same answer."""
    return _sum(strategy)(int(bool(flag))) > 0


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes; where there is one process, it is."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def check_same(strategy: tf.distribute.Strategy, what: str, value: object) -> None:
    """Checks that all workers have the same.

    Args:
        strategy: of the workers, who all have to call this.
        what: names the value in the message.
        value: anything that JSON can hold.

    Raises:
        ConfigError: on all workers, if one has another value.
    """
    text = json.dumps(value, sort_keys=True, default=str)
    checksum = zlib.crc32(text.encode()) & 0xFFFFF  # As many bits as a sum of floats holds.
    workers = _sum(strategy)(1)
    if any_worker(strategy, _sum(strategy)(checksum) != workers * checksum):
        raise ConfigError(
            f"{what}: not the same on all workers; here its checksum is {checksum:05x}. Give all "
            "workers the same."
        )


def lost(error: tf.errors.OpError, advice: str) -> WorkerLost | None:
    """The `WorkerLost` that an error of TensorFlow means, or None if it means something else."""
    if "ollective" not in error.message:
        return None
    named = re.findall(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)", error.message)
    who = "{} {}".format(*named[-1]) if named else "another worker"
    return WorkerLost(
        f"{who} has ended, or cannot be reached any more: its own output says why. To go on: "
        f"{advice}."
    )


def is_cluster(strategy: tf.distribute.Strategy) -> bool:
    """Whether a strategy has several processes, so that `fit` here is needed."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _evaluate(
    model: keras.Model, data: tf.data.Dataset, calls: keras.callbacks.CallbackList, test_step: Step
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
    logs["loss"] *= images / (images - spare)  # Keras has counted the spare ones, of loss 0.
    calls.on_test_end(logs)
    return logs


def _train_step(model: keras.Model) -> Step:
    """A step on every replica as one function, which gives the metrics of all."""
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
    """A function that adds up a number of each worker, exactly up to 2^24."""
    if not is_cluster(strategy):
        return lambda number: number

    @tf.function
    def of_replicas(number: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(lambda n: n, args=(number,)), axis=None)

    local = len(strategy.extended.worker_devices)
    return lambda number: int(of_replicas(tf.constant(float(number)))) // local


def _numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """Logs as floats by name; a metric of several figures, such as `ConfusionMatrix`, is a dict."""
    flat: dict[str, float] = {}
    for name, value in sorted(logs.items()):
        flat |= _numbers(value) if isinstance(value, dict) else {name: float(value)}
    return flat


def _is_due(epoch: int, frequency: int | Collection[int]) -> bool:
    return epoch % frequency == 0 if isinstance(frequency, int) else epoch in frequency
