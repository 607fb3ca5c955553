"""The two of the paper's three classifiers that keras.applications lacks.

They follow its conventions. Layers are named as in Caffe's models, with `_` for the `/` that Keras
refuses: `inception_3a/1x1` is `inception_3a_1x1`.
"""
