"""A split becomes batches of a `tf.data.Dataset`."""
