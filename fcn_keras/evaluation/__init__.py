"""A model on a data set, in numbers."""
