"""Applies your own classifier densely to larger images, in three lines.

Run `python examples/convolutionalize.py`.
"""

import keras
import numpy as np
from keras import layers

import fcn_keras

# Any Keras classifier works: your own trained one, or for example keras.applications.ResNet50().
classifier = keras.Sequential(
    [
        keras.Input((32, 32, 3)),
        layers.Rescaling(1 / 255),
        layers.Conv2D(16, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(32, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]
)
photo = np.random.default_rng(0).uniform(0, 255, (1, 96, 160, 3)).astype("float32")

net = fcn_keras.convolutionalize(classifier)  # stride=2 or 1 gives a finer grid by dilation.
size, stride, offset = fcn_keras.receptive_field(net)
scores = np.asarray(net(photo))  # [1, rows, columns, 10]

print(f"scores {scores.shape}: windows of {size} x {size} pixels, {stride} pixels apart")
window = photo[:, 5 * stride : 5 * stride + 32, 7 * stride : 7 * stride + 32]
difference = np.abs(scores[:, 5, 7] - np.asarray(classifier(window))).max()
print(f"cell (5, 7) differs from the classifier on its window by {difference:.0e}")
