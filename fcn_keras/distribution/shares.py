"""What each of several workers gets of the data."""

from collections.abc import Callable

import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID


def share_of_batches(
    strategy: tf.distribute.Strategy,
    train_data: Callable[..., tf.data.Dataset],
    start: tuple[int, int],
) -> tf.distribute.DistributedDataset:
    """The batches of each replica on this worker."""

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        workers = context.num_input_pipelines
        local = context.num_replicas_in_sync // workers
        data = train_data(start=start, shard=(context.input_pipeline_id, workers))
        size = tf.nest.flatten(data.element_spec)[0].shape[0]
        if size % local:
            raise ConfigError(
                f"a batch of {size * workers} images cannot be split among "
                f"{local * workers} devices. Use a multiple (--batch-size)."
            )

        def parts(*batch: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.from_tensor_slices(
                tf.nest.map_structure(lambda t: tf.stack(tf.split(t, local)), batch)
            )

        return data if local == 1 else data.flat_map(parts).prefetch(local)

    return strategy.distribute_datasets_from_function(share)


def share_of_examples(
    strategy: tf.distribute.Strategy, data: tf.data.Dataset
) -> tuple[tf.distribute.DistributedDataset, int, int]:
    """This worker's share of a data set, the steps that all workers make, and spare images.

    Where the elements do not come out even these are added, with all pixels void: a replica without
    a batch would break the step, and void counts nowhere.
    """
    count, replicas = int(data.cardinality()), strategy.num_replicas_in_sync
    if count < 1:
        raise ConfigError("validation_data: must have a known cardinality of at least 1.")
    steps = -(-count // replicas)
    spare = steps * replicas - count

    def void(images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        one = tf.nest.map_structure(lambda image: image[:1], images)
        return one, tf.nest.map_structure(lambda m: tf.fill(tf.shape(m[:1]), _void(m)), masks)

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        padded = data.concatenate(data.take(1).map(void).repeat(spare))
        # Without end: else TensorFlow asks all workers at each step whether there is more.
        return padded.repeat().shard(context.num_input_pipelines, context.input_pipeline_id)

    return strategy.distribute_datasets_from_function(share), steps, spare


def _void(mask: tf.Tensor) -> tf.Tensor:
    return tf.cast(VOID, mask.dtype)
