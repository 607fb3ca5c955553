"""What a run is: its options as data, and its folder on disk.

Imports no TensorFlow.
"""
