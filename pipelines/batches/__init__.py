"""Turns a split into a `tf.data.Dataset` of batches."""
