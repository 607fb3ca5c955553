import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import layers

import fcn_keras
from fcn_keras import convolutionalize, receptive_field, shift_and_stitch
from fcn_keras.errors import ModelError
from fcn_keras.layers.alignment import PadToMultiple
from fcn_keras.layers.caffe import CeilMaxPooling2D
from fcn_keras.layers.dilated_pooling import DilatedPooling2D
from fcn_keras.models.classifiers.alexnet import AlexNet
from fcn_keras.models.classifiers.googlenet import GoogLeNet


def slide(classifier, images, stride):
    """Applies the classifier to every window."""
    height, width = classifier.input_shape[1:3]
    rows, columns = ((images.shape[i] - size) // stride for i, size in ((1, height), (2, width)))
    windows = [
        images[:, i * stride : i * stride + height, j * stride : j * stride + width]
        for i, j in np.ndindex(rows + 1, columns + 1)
    ]
    scores = np.asarray(classifier(np.concatenate(windows), training=False))
    return np.moveaxis(scores.reshape(rows + 1, columns + 1, len(images), -1), 2, 0)


def assert_close(actual, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def small_classifier():
    return keras.Sequential(
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


def test_small_classifier_has_field_23_and_stride_4(rng):
    classifier = small_classifier()
    net = convolutionalize(classifier)
    image = rng.normal(size=(2, 50, 50, 3)).astype("float32")
    grid = np.asarray(net(image))
    assert grid.shape == (2, 7, 7, 10)
    assert receptive_field(net) == receptive_field(classifier) == (23, 4, 0)
    assert_close(grid, slide(classifier, image, 4))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_dilation_and_shift_and_stitch_match_sliding_window(stride, rng):
    classifier = small_classifier()
    image = rng.normal(size=(2, 50, 45, 3)).astype("float32")
    dense = np.asarray(convolutionalize(classifier, stride)(image))
    assert dense.shape == (2, 27 // stride + 1, 22 // stride + 1, 10)
    assert_close(shift_and_stitch(classifier, image, stride), dense)
    # The model sees 23 of a window's 25 pixels, so windows may end 2 pixels outside the image.
    expected = slide(classifier, np.pad(image, [(0, 0), (0, 2), (0, 2), (0, 0)]), stride)
    assert_close(dense, expected)


def residual_classifier():
    """Builds branches, three kinds of joins, a nested model, grouped and separable convolutions."""
    nested = keras.Sequential(
        [
            keras.Input((None, None, 8)),
            layers.SeparableConv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
        ],
        name="nested",
    )
    image = keras.Input((33, 29, 4))
    x = layers.Conv2D(8, 3, groups=2, name="stem")(layers.Rescaling(0.5)(image))
    shortcut = layers.Cropping2D(((1, 1), (1, 1)))(x)
    x = layers.Add()([nested(x, training=False), shortcut])
    x = layers.Concatenate()(
        [layers.MaxPooling2D(3, strides=2)(x), layers.AveragePooling2D(3, strides=2)(x)]
    )
    x = layers.DepthwiseConv2D(3, dilation_rate=2)(x)
    x = layers.LayerNormalization()(x) - 0.25
    x = layers.Conv2D(9, 2, strides=2)(layers.PReLU(shared_axes=[1, 2])(x))
    x = keras.ops.relu(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.BatchNormalization()(x)
    x = layers.LayerNormalization(axis=1)(layers.Dense(6, activation="tanh")(x))
    return keras.Model(image, layers.Softmax()(layers.Dense(3)(layers.Dropout(0.1)(x))))


def flattening_classifier():
    """Builds a model with strides 3 and 2 and two Dense layers on one Flatten."""
    image = keras.Input((26, 23, 1))
    x = layers.Conv2D(4, 4, strides=3, activation="elu")(image)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Activation("tanh")(layers.Flatten()(x))
    x = layers.Multiply()([layers.Dense(5)(x), layers.Dense(5, activation="sigmoid")(x)])
    return keras.Model(image, layers.Dense(2)(x))


def randomise(model, rng):
    model.set_weights([rng.uniform(0.1, 0.6, w.shape) * rng.choice([1, -1]) for w in model.weights])
    return model


@pytest.mark.parametrize("build", [residual_classifier, flattening_classifier])
def test_unpadded_models_match_sliding_window_at_any_stride(build, rng):
    classifier = randomise(build(), rng)
    native, _ = receptive_field(classifier).stride
    image = rng.normal(size=(2, 44, 41, classifier.input_shape[-1])).astype("float32")
    for stride in (s for s in range(1, native + 1) if native % s == 0):
        grid = np.asarray(convolutionalize(classifier, stride)(image))
        expected = slide(classifier, image, stride)
        assert_close(grid[:, : expected.shape[1], : expected.shape[2]], expected)
        assert_close(shift_and_stitch(classifier, image, stride), grid)


def test_converted_model_matches_classifier_on_its_image_size(rng):
    for build in (residual_classifier, flattening_classifier):
        classifier = randomise(build(), rng)
        image = rng.normal(size=(2, *classifier.input_shape[1:])).astype("float32")
        assert_close(convolutionalize(classifier)(image)[:, 0, 0], classifier(image))


@pytest.fixture(scope="module")
def padded():
    """Subsampling with padding "same" and with ZeroPadding2D, as in a residual network."""
    keras.utils.set_random_seed(1)
    image = keras.Input((31, 32, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    y = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.AveragePooling2D(3, strides=1, padding="same")(layers.Add()([x, y]))
    x = layers.ZeroPadding2D(((0, 1), (1, 0)))(x)
    x = layers.Conv2D(6, 3, strides=2)(x)
    return keras.Model(image, layers.Dense(5)(layers.GlobalMaxPooling2D()(x)))


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_padded_models_match_classifier_and_shift_and_stitch(padded, stride, rng):
    image = rng.normal(size=(1, 31, 32, 3)).astype("float32")
    dense = convolutionalize(padded, stride)
    assert_close(dense(image)[:, 0, 0], padded(image))
    image = rng.normal(size=(1, 104, 99, 3)).astype("float32")
    grid, shifted = np.asarray(dense(image)), shift_and_stitch(padded, image, stride)
    # Cells that see no padding, even if up to 8 pixels are cropped.
    size, _, offset = receptive_field(dense)
    inside = [
        slice((16 - offset[i]) // stride, (image.shape[i + 1] - size[i] - offset[i]) // stride)
        for i in (0, 1)
    ]
    assert grid[:, *inside].size
    assert_close(grid[:, *inside], shifted[:, *inside])


@settings(max_examples=40, deadline=None)
@given(height=st.integers(20, 60), width=st.integers(20, 60), stride=st.sampled_from([1, 2, 4]))
def test_grids_have_one_cell_per_window(height, width, stride):
    classifier, converted = cached_models()
    image = np.zeros((1, height, width, 3), "float32")
    if min(height, width) < 23:
        with pytest.raises(ModelError, match=f"{height} x {width} pixels are too small"):
            shift_and_stitch(classifier, image, stride)
        return
    expected = (1, (height - 23) // stride + 1, (width - 23) // stride + 1, 10)
    assert shift_and_stitch(converted[4], image, stride).shape == expected
    assert converted[stride](image).shape == expected


def cached_models(made=[]):  # noqa: B006 (cache for hypothesis' examples)
    if not made:
        classifier = small_classifier()
        made.append((classifier, {s: convolutionalize(classifier, s) for s in (1, 2, 4)}))
    return made[0]


@pytest.mark.slow
def test_converted_vgg16_matches_classifier(rng):
    classifier = keras.applications.VGG16(weights=None)
    net = convolutionalize(classifier)
    image = rng.uniform(-124, 151, (1, 224, 224, 3)).astype("float32")
    np.testing.assert_allclose(net(image)[:, 0, 0], classifier(image), rtol=1e-4)
    assert net(np.zeros((1, 256, 320, 3), "float32")).shape == (1, 2, 4, 1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ResNet50", "MobileNet", "MobileNetV2", "DenseNet121", "ConvNeXtTiny"]
)
def test_converted_keras_applications_match_classifiers(name, rng):
    classifier = getattr(keras.applications, name)(weights=None)
    image = rng.uniform(-1, 1, (1, 224, 224, 3)).astype("float32")
    assert_close(convolutionalize(classifier)(image)[:, 0, 0], classifier(image))
    assert_close(convolutionalize(classifier, stride=8)(image)[:, 0, 0], classifier(image))


@pytest.mark.slow
@pytest.mark.parametrize("build", [AlexNet, GoogLeNet])
@pytest.mark.parametrize("stride", [None, 8])
def test_converted_alexnet_and_googlenet_match_classifiers(build, stride, rng):
    classifier = build(classes=20)
    image = rng.normal(size=(1, *classifier.input_shape[1:])).astype("float32") * 50
    net = convolutionalize(classifier, stride)
    assert_close(net(image)[:, 0, 0], classifier(image))


def own_activation(x):
    return keras.ops.sin(x)


def test_layer_options_are_kept(rng):
    classifier = keras.Sequential(
        [
            keras.Input((12, 12, 2)),
            layers.RandomFlip(),
            layers.Normalization(mean=[0.5, 1.0], variance=[2.0, 3.0]),
            layers.Conv2D(4, 3, activation=own_activation, trainable=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.SpatialDropout2D(0.25),
            layers.Flatten(),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(3, activation="softmax", kernel_regularizer="l2", name="scores"),
        ]
    )
    classifier.compile("adam", loss=lambda truth, scores: scores)  # Does not affect the conversion.
    net = convolutionalize(classifier)
    assert not any(isinstance(layer, layers.RandomFlip) for layer in net.layers)
    assert net.get_layer("drop").rate == 0.5
    assert not net.get_layer("conv").trainable
    assert net.get_layer("scores").kernel_regularizer is not None
    assert net.get_layer("scores").kernel.shape == (10, 10, 4, 3)
    image = rng.normal(size=(1, 15, 15, 2)).astype("float32")
    assert_close(net(image), slide(classifier, image, 1))
    np.testing.assert_allclose(np.sum(net(image), axis=-1), 1, rtol=1e-5)


def test_adapted_statistics_are_kept(rng):
    normalise = layers.Normalization()
    normalise.adapt(rng.normal(3, 2, size=(50, 6, 6, 2)))
    classifier = keras.Sequential(
        [keras.Input((6, 6, 2)), normalise, layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    image = rng.normal(3, 2, size=(1, 9, 9, 2)).astype("float32")
    assert_close(convolutionalize(classifier)(image), slide(classifier, image, 1))


def test_preprocessing_operations_are_kept(rng):
    image = keras.Input((8, 8, 3))
    x = keras.applications.vgg16.preprocess_input(image)[..., ::-1] / 127.5 - 1
    x = layers.Flatten()(layers.Conv2D(2, 3)(x))
    classifier = keras.Model(image, layers.Dense(2)(x))
    pixels = rng.uniform(0, 255, (1, 11, 10, 3)).astype("float32")
    assert_close(convolutionalize(classifier)(pixels), slide(classifier, pixels, 1))


def test_classifier_is_not_changed():
    classifier = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(2)])
    before = classifier.get_weights()
    net = convolutionalize(classifier)
    net.set_weights([w + 1 for w in net.get_weights()])
    assert [layer.name for layer in classifier.layers][-1].startswith("dense")
    for old, new in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_dilated_model_can_be_saved_and_trained(padded, tmp_path, rng):
    net = convolutionalize(padded, 2)
    net.save(tmp_path / "net.keras")
    image = rng.normal(size=(1, 40, 50, 3)).astype("float32")
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(again(image), net(image))
    again.compile("sgd", loss="mse")
    again.train_on_batch(image, np.zeros(again(image).shape))
    assert not np.array_equal(again(image), net(image))


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    rate=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 1)] * 4),
    average=st.booleans(),
)
def test_dilated_pooling_matches_numpy(size, strides, rate, pads, average):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 8, 3))
    padding = (pads[:2], pads[2:])
    canvas = np.pad(x, [(0, 0), *padding, (0, 0)], constant_values=np.nan)
    span = [(k - 1) * r + 1 for k, r in zip(size, rate, strict=True)]
    counts = [(canvas.shape[i + 1] - span[i]) // strides[i] + 1 for i in (0, 1)]
    expected = np.empty((2, *counts, 3))
    for i, j in np.ndindex(*counts):
        top, left = i * strides[0], j * strides[1]
        cells = canvas[:, top : top + span[0] : rate[0], left : left + span[1] : rate[1]]
        assume(not np.isnan(cells).all(axis=(1, 2)).any())
        expected[:, i, j] = (np.nanmean if average else np.nanmax)(cells, axis=(1, 2))
    layer = DilatedPooling2D(
        size, strides=strides, padding=padding, dilation_rate=rate, average=average
    )
    x = x.astype("float32")
    assert layer.compute_output_shape((None, 9, 8, 3)) == (None, *counts, 3)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(graph(x), expected, atol=1e-5)


@pytest.mark.parametrize("average", [False, True])
def test_gradient_of_dilated_pooling_matches_pooling(average, rng):
    # Dilated pooling is ordinary pooling over every second cell.
    x = tf.constant(rng.normal(size=(1, 10, 12, 2)).astype("float32"))
    plain = (layers.AveragePooling2D if average else layers.MaxPooling2D)(3, strides=1)
    dilated = DilatedPooling2D(3, strides=2, dilation_rate=2, average=average)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        expected = tf.reduce_sum(plain(x[:, ::2, ::2]) ** 2)
        actual = tf.reduce_sum(dilated(x) ** 2)
    np.testing.assert_allclose(tape.gradient(actual, x), tape.gradient(expected, x), atol=1e-5)


def sequential(*stack, size=(8, 8, 2)):
    return keras.Sequential([keras.Input(size), *stack])


def squeeze_and_excite():
    image = keras.Input((8, 8, 3))
    scale = layers.GlobalAveragePooling2D(keepdims=True)(image)
    x = layers.Multiply(name="excite")([image, layers.Dense(3)(scale)])
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def shared_at_two_strides():
    image, conv = keras.Input((16, 16, 3)), layers.Conv2D(3, 3, name="shared")
    x = conv(layers.AveragePooling2D(2)(conv(image)))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def mean_image():
    image = keras.Input((8, 8, 3))
    x = keras.ops.subtract(image, np.ones((8, 8, 3), "float32"))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


def two_inputs():
    one, two = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    return keras.Model([one, two], layers.Add()([one, two]))


class Doubled(layers.Dense):
    def call(self, x):
        return 2 * super().call(x)


class Normalised(layers.Dense):
    @property
    def kernel(self):
        return self._kernel / keras.ops.norm(self._kernel)


class Signed(layers.MaxPooling2D):
    def call(self, x):
        return -super().call(-x)


class PowerMean(layers.GlobalAveragePooling2D):
    def call(self, x):
        return super().call(x**3) ** (1 / 3)


class Reversed(layers.Flatten):
    def call(self, x):
        return super().call(x)[:, ::-1]


class Brightened(layers.RandomFlip):
    def call(self, x, training=False):
        return x + 1


class Narrow(layers.Dense):
    """Only its defaults differ."""

    def __init__(self, units=3, **kwargs):
        super().__init__(units, **kwargs)


def quantized(mode):
    model = sequential(layers.Flatten(), layers.Dense(3, name="head"))
    model.get_layer("head").quantize(mode)
    return model


class Unconfigured(layers.ReLU):
    def __init__(self, steepness, **kwargs):
        super().__init__(**kwargs)


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: sequential(layers.Dense(2, name="head"), size=(9,)),
            "layer 'head' (Dense) has the input (None, 9), not an image",
        ),
        (
            lambda: sequential(
                layers.Flatten(), layers.BatchNormalization(name="norm"), layers.Dense(2)
            ),
            "layer 'norm' (BatchNormalization) is between Flatten and Dense",
        ),
        (
            lambda: sequential(layers.Flatten(), layers.Softmax(name="soft"), layers.Dense(2)),
            "layer 'soft' (Softmax) is between Flatten and Dense",
        ),
        (
            lambda: sequential(layers.Reshape((8, 16)), layers.LSTM(3, name="lstm")),
            "layer 'reshape' (Reshape) reshapes (8, 8, 2) to (8, 16)",
        ),
        (
            lambda: sequential(layers.LSTM(3, name="lstm"), size=(8, 16)),
            "layer 'lstm' (LSTM) cannot be made convolutional",
        ),
        (
            lambda: sequential(layers.Permute((2, 1, 3), name="turn"), layers.Flatten()),
            "layer 'turn' (Permute) cannot be made convolutional",
        ),
        (
            lambda: sequential(layers.UpSampling2D(name="up"), layers.Flatten(), layers.Dense(2)),
            "layer 'up' (UpSampling2D) cannot be made convolutional",
        ),
        (
            lambda: sequential(
                layers.Flatten(data_format="channels_first", name="flat"), layers.Dense(2)
            ),
            "layer 'flat' (Flatten): data_format='channels_first'",
        ),
        (
            lambda: sequential(
                layers.BatchNormalization(axis=1, name="norm"), layers.Flatten(), layers.Dense(2)
            ),
            "layer 'norm' (BatchNormalization): works along axis 1",
        ),
        (
            lambda: sequential(layers.PReLU(name="prelu"), layers.Flatten(), layers.Dense(2)),
            "layer 'prelu' (PReLU) has separate weights for each position",
        ),
        (
            lambda: sequential(Unconfigured(2, name="own"), layers.Flatten(), layers.Dense(2)),
            "layer 'own' (Unconfigured) cannot be copied from its configuration",
        ),
        (
            lambda: sequential(layers.GlobalMaxPooling2D(name="pool"), size=(None, None, 3)),
            "layer 'pool' (GlobalMaxPooling2D) has an input of unknown size (None, None, 3)",
        ),
        (
            lambda: sequential(layers.Flatten(), Doubled(2, name="own")),
            "layer 'own' (Doubled) cannot be made convolutional: its `call` is not that of Keras'",
        ),
        (
            lambda: sequential(layers.Flatten(), Normalised(2, name="own")),
            "layer 'own' (Normalised) cannot be made convolutional: its `kernel` is not that of",
        ),
        (
            lambda: sequential(PowerMean(name="own"), layers.Dense(2)),
            "layer 'own' (PowerMean) cannot be made convolutional: its `call`",
        ),
        (
            lambda: sequential(Reversed(name="own"), layers.Dense(2)),
            "layer 'own' (Reversed) cannot be made convolutional: its `call`",
        ),
        (
            lambda: sequential(Brightened(name="own"), layers.Flatten(), layers.Dense(2)),
            "layer 'own' (Brightened) cannot be made convolutional: its `call`",
        ),
        (lambda: quantized("int8"), "layer 'head' (Dense) has 3 weights where a plain one has 2"),
        (lambda: quantized("float8"), "layer 'head' (Dense) has 8 weights where a plain one"),
        (lambda: None, "model: must be a Keras model, found NoneType"),
        (lambda: sequential(layers.Flatten()), "ends with a flattened map (8, 8, 2)"),
        (lambda: sequential(layers.Dropout(0.5), size=(8, 3)), "must take images [b, h, w, c]"),
        (squeeze_and_excite, "layer 'excite' (Multiply) joins maps of (8, 8, 3) and (1, 1, 3)"),
        (mean_image, "layer 'subtract' (Subtract) cannot be made convolutional"),
        (two_inputs, "must have one input and one output, found 2 inputs and 1 outputs"),
        (lambda: keras.Sequential([layers.Dense(2)]), "Start a Sequential model with keras.Input"),
        (Subclassed, "use a functional model instead of a subclass of keras.Model"),
    ],
)
def test_unsupported_models_are_rejected(build, message):
    keras.utils.clear_session()
    with pytest.raises(ModelError) as error:
        convolutionalize(build())
    assert message in str(error.value)


@pytest.mark.parametrize("use_bias", [True, False])
def test_lora_is_merged(use_bias, rng):
    model = sequential(layers.Flatten(), layers.Dense(3, name="head", use_bias=use_bias))
    model.get_layer("head").enable_lora(2)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    net = convolutionalize(model)
    assert len(net.weights) == 1 + use_bias
    image = rng.normal(size=(1, 11, 9, 2)).astype("float32")
    assert_close(net(image), slide(model, image, 1))


def test_subclasses_that_compute_the_same_are_converted(rng):
    classifier = sequential(Signed(2), layers.Flatten(), Narrow())
    image = rng.normal(size=(1, 12, 10, 2)).astype("float32")
    assert_close(convolutionalize(classifier)(image), slide(classifier, image, 2))
    with pytest.raises(ModelError, match="(Signed).*its `call` is not that of Keras' layer"):
        convolutionalize(classifier, stride=1)  # Another layer must replace the pooling.


@pytest.mark.parametrize(
    ("stride", "message"),
    [
        (True, "stride=True: must be an integer of at least 1"),
        (3, "stride=3: must be a divisor of the stride of 'net', 4"),
        (8, "stride=8: must be a divisor of the stride of 'net', 4"),
        (0, "stride=0: must be an integer of at least 1"),
        (2.0, "stride=2.0: must be an integer"),
    ],
)
def test_invalid_strides_are_rejected(stride, message):
    classifier = small_classifier()
    classifier.name = "net"
    with pytest.raises(ModelError) as error:
        convolutionalize(classifier, stride)
    assert message in str(error.value)
    with pytest.raises(ModelError, match="must be a divisor of the model's stride, 4 x 4"):
        shift_and_stitch(classifier, np.zeros((1, 30, 30, 3)), stride)


def test_model_with_stride_below_one_is_rejected():
    net = keras.Sequential([keras.Input((None, None, 3)), keras.layers.UpSampling2D(2)])
    with pytest.raises(ModelError, match="must be a divisor of the model's stride, 0.5 x 0.5"):
        shift_and_stitch(net, np.zeros((1, 8, 8, 3)), 1)


def test_layer_shared_at_two_strides_is_rejected():
    assert convolutionalize(shared_at_two_strides()).output_shape == (None, None, None, 2)
    with pytest.raises(ModelError, match="layer 'shared' .* is used in several places"):
        convolutionalize(shared_at_two_strides(), stride=1)


def test_invalid_image_shapes_are_rejected():
    with pytest.raises(ModelError, match=r"the shape \[b, h, w, 3\], found float64 \(30"):
        shift_and_stitch(small_classifier(), np.zeros((30, 30, 3)), 4)


@pytest.mark.parametrize("images", ["abc", None, [[1], [1, 2]], np.full((1, 30, 30, 3), "x")])
def test_images_of_other_types_are_rejected(images):
    with pytest.raises(ModelError, match="images: must be numbers of the shape"):
        shift_and_stitch(small_classifier(), images, 4)


def test_strides_may_be_numpy_numbers(rng):
    classifier, image = small_classifier(), rng.normal(size=(1, 30, 33, 3)).astype("float32")
    dense = convolutionalize(classifier, np.int64(2))(image)
    assert_close(dense, convolutionalize(classifier, 2)(image))
    assert_close(shift_and_stitch(classifier, image, np.int32(2)), dense)


def any_size(*stack):
    return keras.Sequential([keras.Input((None, None, 3)), *stack])


@pytest.mark.parametrize(
    ("stack", "size", "pad"),
    [
        # The padding of "same" and of the incomplete window comes after the map.
        ((layers.MaxPooling2D(2, padding="same"), layers.Conv2D(2, 3)), 6, 0),
        ((layers.Conv2D(2, 2, 2, "same"), CeilMaxPooling2D(3, 2)), 6, 0),
        ((layers.ZeroPadding2D(1), layers.Conv2D(2, 3, 2), layers.AveragePooling2D(2)), 5, 1),
    ],
)
def test_padding_that_the_size_does_not_change_is_stitched(stack, size, pad, rng):
    image = rng.normal(size=(1, 21, 22, 3)).astype("float32")
    stitched = shift_and_stitch(any_size(*stack), image, 1)
    window = any_size(*stack[pad:])  # Without ZeroPadding2D; a window of `size` needs no other.
    # Cells 0 to 3 see the padding of an image that is shifted by up to 3 pixels.
    for i, j in itertools.product(range(4, 22 - size), range(4, 23 - size)):
        score = window(image[:, i : i + size, j : j + size])
        assert score.shape == (1, 1, 1, score.shape[-1])
        assert_close(stitched[:, i + pad, j + pad], score[:, 0, 0])


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (lambda: any_size(layers.Conv2D(2, 3, 2, "same", name="own")), "'own' (Conv2D): pads by"),
        (
            lambda: any_size(layers.AveragePooling2D(3, 2, "same", name="own")),
            "'own' (AveragePooling2D): pads by the image's size",
        ),
        (lambda: any_size(PadToMultiple(8, name="pad"), layers.MaxPooling2D(8)), "'pad' (PadToM"),
        (lambda: any_size(CeilMaxPooling2D(3, 2, "first", name="own")), "'own' (CeilMaxPooling2D"),
        (
            lambda: any_size(
                any_size(layers.MaxPooling2D(3, 2, "same", name="inner")), layers.MaxPooling2D(2)
            ),
            "'inner' (MaxPooling2D): pads by the image's size",
        ),
        (
            lambda: any_size(layers.MaxPooling2D(8), layers.UpSampling2D(2, name="up")),
            "'up' (UpSampling2D): upsamples, so a score depends on where the image begins",
        ),
    ],
)
def test_layers_that_depend_on_more_than_the_window_are_rejected(model, layer):
    with pytest.raises(ModelError) as error:
        shift_and_stitch(model(), np.zeros((1, 21, 22, 3)), 1)
    assert f"layer {layer}" in str(error.value)


def test_size_must_be_open_or_fixed():
    model = keras.Sequential([keras.Input((32, None, 3)), layers.Conv2D(2, 3, strides=2)])
    with pytest.raises(ModelError, match="must take images of any size or of one size"):
        shift_and_stitch(model, np.zeros((1, 32, 40, 3)), 1)


def scores_of(**options):
    model = fcn_keras.FCN32s(2, weights=None, head_width=2, **options)
    return model, keras.Model(model.input, model.get_layer("score_fr").output)


@pytest.mark.parametrize("backbone", ["tiny", "alexnet", "googlenet", "mobilenet_v2"])
def test_own_nets_pad_by_the_image_size(backbone, rng):
    model, scores = scores_of(backbone=backbone)
    image = rng.uniform(0, 255, (1, 33, 40, 3)).astype("float32")
    with pytest.raises(ModelError, match="layer 'pad' .PadToMultiple.: pads by the image's size"):
        shift_and_stitch(scores, image, 16)
    # The logits have a stride of 1 already, and need no shift.
    np.testing.assert_array_equal(shift_and_stitch(model, image, 1), model(image))


def test_zoomed_nets_cannot_be_shifted():
    _, scores = scores_of(backbone="tiny", zoom=1.5)
    with pytest.raises(ModelError, match="layer 'image_zoomed' .Zoom.: resizes the image"):
        shift_and_stitch(scores, np.zeros((1, 40, 40, 3)), 1)


def test_reference_geometry_is_stitched(rng):
    _, scores = scores_of(backbone="alexnet", geometry="reference")
    image = rng.uniform(0, 255, (1, 379, 388, 3)).astype("float32")
    stitched = shift_and_stitch(scores, image, 8)
    # Cell i of the result sees 355 pixels from -163 + 8 i on. Without its padding of 100 pixels,
    # cell 2 of the net sees those from 1 on: 2 * 32 - 163 + 100.
    bare = keras.Model(scores.get_layer("pad1").output, scores.output)
    for top, left in ((4, 4), (12, 28), (20, 12)):
        pixels = scores.get_layer("preprocessing")(image[:, top:, left:])
        cell = (top + 1 + 163) // 8, (left + 1 + 163) // 8
        assert_close(stitched[:, *cell], bare(pixels)[:, 2, 2])
