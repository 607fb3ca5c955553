"""AlexNet and GoogLeNet, the paper's classifiers that keras.applications does not have.

They follow the conventions of keras.applications. Layers are named as in Caffe's models, with `_`
instead of `/`, which Keras rejects: `inception_3a/1x1` is `inception_3a_1x1`.
"""
