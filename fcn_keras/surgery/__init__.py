"""What turns one net into another: classifiers into segmenters, Caffe models into Keras models."""
