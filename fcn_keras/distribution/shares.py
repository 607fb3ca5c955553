"""Splits the data among several workers."""

from collections.abc import Callable

import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID


def share_of_batches(
    strategy: tf.distribute.Strategy,
    train_data: Callable[..., tf.data.Dataset],
    start: tuple[int, int],
) -> tf.distribute.DistributedDataset:
    """Returns this worker's share of the training batches, split among its replicas.

    Raises:
        ConfigError: The replicas cannot share a batch evenly.
    """

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        workers = context.num_input_pipelines
        local = context.num_replicas_in_sync // workers
        data = train_data(start=start, shard=(context.input_pipeline_id, workers))
        size = tf.nest.flatten(data.element_spec)[0].shape[0]
        if size % local:
            raise ConfigError(
                f"batch_size={size * workers}: {local * workers} devices cannot share a batch "
                f"evenly. Use a multiple of {local * workers} (--batch-size)."
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
    """Returns this worker's share of a data set, the steps of all workers, and the spare images.

    Every replica needs a batch in every step. So if the replicas cannot share the elements evenly,
    spare images are added whose pixels are all void and thus ignored.

    Raises:
        ConfigError: The data's cardinality is unknown or zero.
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
        # Endless: otherwise TensorFlow asks all workers in each step whether there is more data.
        return padded.repeat().shard(context.num_input_pipelines, context.input_pipeline_id)

    return strategy.distribute_datasets_from_function(share), steps, spare


def _void(mask: tf.Tensor) -> tf.Tensor:
    return tf.cast(VOID, mask.dtype)
