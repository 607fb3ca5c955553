"""Model conversion: classifiers to FCNs, Caffe models to Keras models, weight transfer."""
