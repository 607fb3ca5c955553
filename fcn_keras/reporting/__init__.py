"""What a person looks at, made from the files of a run.

Imports no TensorFlow.
"""
