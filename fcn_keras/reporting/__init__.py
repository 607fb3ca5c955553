"""The run report: an HTML page made from the files of a run.

Imports no TensorFlow.
"""
