"""Training runs: options, recipes, and the folder on disk.

Does not import TensorFlow.
"""
