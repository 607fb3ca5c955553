import keras
import numpy as np
import pytest
from keras import layers

from fcn_keras import convolutionalize
from fcn_keras.errors import ModelError


def test_the_25_x_25_classifier_becomes_a_filter_of_size_23_and_stride_4(rng):
    classifier = keras.Sequential(
        [
            keras.Input((25, 25, 3)),
            layers.Conv2D(6, 3, strides=2, activation="relu"),
            layers.MaxPooling2D(3, strides=2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(12, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    image = rng.normal(size=(2, 50, 50, 3)).astype("float32")
    grid = np.asarray(convolutionalize(classifier)(image))
    assert grid.shape == (2, 7, 7, 10)
    for row, column in np.ndindex(7, 7):
        window = image[:, 4 * row : 4 * row + 25, 4 * column : 4 * column + 25]
        if window.shape[1:3] == (25, 25):
            np.testing.assert_allclose(grid[:, row, column], classifier(window), rtol=1e-4)


@pytest.mark.slow
def test_vgg16_gives_its_own_scores(rng):
    classifier = keras.applications.VGG16(weights=None)
    net = convolutionalize(classifier)
    image = rng.uniform(-124, 151, (1, 224, 224, 3)).astype("float32")
    np.testing.assert_allclose(net(image)[:, 0, 0], classifier(image), rtol=1e-4)
    assert net(np.zeros((1, 256, 320, 3), "float32")).shape == (1, 2, 4, 1000)


def test_the_classifier_is_left_as_it_was():
    classifier = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(2)])
    before = classifier.get_weights()
    convolutionalize(classifier)
    assert [layer.name for layer in classifier.layers][-1].startswith("dense")
    for old, new in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def branching():
    image = keras.Input((8, 8, 3))
    x = layers.Add(name="joint")([layers.Conv2D(3, 1)(image), image])
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (branching, "layer 'joint' joins several tensors"),
        (
            lambda: keras.Sequential([keras.Input((9,)), layers.Dense(2, name="head")]),
            "layer 'head' is Dense on the input",
        ),
        (
            lambda: keras.Sequential(
                [
                    keras.Input((4, 4, 2)),
                    layers.Flatten(),
                    layers.BatchNormalization(name="norm"),
                    layers.Dense(2),
                ]
            ),
            "layer 'norm' (BatchNormalization) stands between Flatten and Dense",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(build, message):
    with pytest.raises(ModelError) as error:
        convolutionalize(build())
    assert message in str(error.value)
