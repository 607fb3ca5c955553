import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import layers
from nets import randomise_scores

import fcn_keras
from fcn_keras import receptive_field
from fcn_keras.errors import ModelError
from fcn_keras.geometry import rules
from fcn_keras.geometry.receptive_field import output_field, total_stride
from fcn_keras.layers.alignment import CropLike, PadToMultiple
from fcn_keras.layers.dilated_pooling import DilatedPooling2D
from fcn_keras.layers.upsampling import BilinearUpsampling
from fcn_keras.layers.zoom import Zoom
from fcn_keras.models.classifiers.alexnet import AlexNet
from fcn_keras.models.classifiers.googlenet import GoogLeNet


def measured(model, height, width):
    """Returns first and last pixel that change each output cell, by row and column; -1 for none.

    Weights and pixels are positive, so a bright line changes every cell that sees it.
    """
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    bounds = []
    for axis, size in ((1, height), (2, width)):
        images = np.ones((size + 1, height, width, model.input_shape[-1]), "float32")
        for line in range(size):
            images[(line, *[slice(None)] * (axis - 1), line)] = 1e3
        cells = np.asarray(model(images, training=False), "float64").sum(axis=-1)
        cells = np.moveaxis(cells, axis, 1)[:, :, cells.shape[3 - axis] // 2]
        seen = abs(cells[:-1] - cells[-1:]) > 1e-4 * abs(cells[-1:])  # [pixel, cell]
        first, last = seen.argmax(axis=0), size - 1 - seen[::-1].argmax(axis=0)
        bounds.append(
            [pair if hit else (-1, -1) for *pair, hit in zip(first, last, seen.any(0), strict=True)]
        )
    return [np.array(pairs) for pairs in bounds]


def assert_field_is_measured(model, height, width):
    """Compares every cell whose field is inside the image; returns the number of these cells."""
    field = receptive_field(model)
    pairs = [x if isinstance(x, tuple) else (x, x) for x in field]
    count = 0
    for axis, bounds in enumerate(measured(model, height, width)):
        size, stride, offset = (pair[axis] for pair in pairs)
        for cell, (first, last) in enumerate(bounds):
            expected = offset + stride * cell, offset + stride * cell + size - 1
            if expected[0] >= 0 and expected[1] < (height, width)[axis]:
                assert (first, last) == expected, (field, axis, cell)
                count += 1
    return count


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.sampled_from(["valid", "same"])


def kind(layer, *args, **options):
    """Returns a strategy for layer factories: hypothesis must not create the layers itself."""
    return st.fixed_dictionaries(options).map(lambda drawn: lambda: layer(*args, **drawn))


LAYERS = st.one_of(
    kind(layers.Conv2D, 2, kernel_size=pairs, strides=st.integers(1, 2), padding=paddings),
    kind(layers.Conv2D, 2, kernel_size=pairs, dilation_rate=pairs, padding=paddings),
    kind(layers.DepthwiseConv2D, kernel_size=pairs, strides=st.integers(1, 2), padding=paddings),
    kind(layers.SeparableConv2D, 2, kernel_size=pairs, padding=paddings),
    kind(layers.MaxPooling2D, pool_size=pairs, strides=pairs, padding=paddings),
    kind(layers.AveragePooling2D, pool_size=pairs, strides=pairs, padding=paddings),
    kind(
        DilatedPooling2D,
        pool_size=st.just((2, 3)),
        strides=pairs,
        dilation_rate=pairs,
        average=st.booleans(),
        padding=st.just(((1, 0), (0, 1))),
    ),
    kind(layers.ZeroPadding2D, padding=st.tuples(pairs, pairs)),
    kind(layers.ReLU),
    kind(layers.BatchNormalization),
)


@settings(max_examples=40, deadline=None)
@given(stack=st.lists(LAYERS, min_size=1, max_size=4), more=pairs)
def test_field_matches_measurement(stack, more):
    # Cropping comes last: padding after it would replace pixels of the image.
    stack = [*stack, lambda: layers.Cropping2D(((1, 2), (2, 0)))]
    coarse = receptive_field(
        keras.Sequential([keras.Input((None, None, 2)), *(f() for f in stack)])
    )
    size, stride, _ = (x if isinstance(x, tuple) else (x, x) for x in coarse)
    assume(max(size) < 40)
    shape = [s + 3 * t + 24 + extra for s, t, extra in zip(size, stride, more, strict=True)]
    model = keras.Sequential([keras.Input((*shape, 2)), *(f() for f in stack)])
    assert assert_field_is_measured(model, *shape) > 0


def test_unknown_size_is_assumed_to_be_multiple_of_strides():
    stack = [
        layers.Conv2D(2, 3, 2, "same"),
        layers.MaxPooling2D(5, 3, "same"),
        layers.Conv2D(2, 4, 1, "same"),
    ]
    model = keras.Sequential([keras.Input((None, None, 2)), *stack])
    assert assert_field_is_measured(model, 60, 72) > 3


@pytest.mark.parametrize(("size", "offset"), [(36, 0), (35, -1)])
def test_padding_of_strided_layers_depends_on_the_size(size, offset):
    # TensorFlow pads a window of 3 at stride 2 by one cell: at the end, or of odd maps by two.
    model = keras.Sequential(
        [keras.Input((size, size, 2)), layers.Conv2D(2, 3, strides=2, padding="same")]
    )
    assert receptive_field(model) == (3, 2, offset)
    assert assert_field_is_measured(model, size, size) > 0


def test_total_stride_shifts_every_map_by_whole_cells():
    # Rows have strides 1, 2 and 3, columns 1 and 3.
    stack = [layers.AveragePooling2D((2, 3)), layers.UpSampling2D((2, 3))]
    model = keras.Sequential(
        [keras.Input((36, 36, 2)), *stack, layers.AveragePooling2D((3, 1)), layers.ReLU()]
    )
    assert total_stride(model) == (6, 3)
    assert output_field(model).stride == (3, 1)
    finer = keras.Sequential([keras.Input((36, 36, 2)), layers.UpSampling2D(2)])
    assert total_stride(finer) == (1, 1)
    for compute in (total_stride, output_field):
        with pytest.raises(ModelError, match="Zoom"):
            compute(keras.Sequential([keras.Input((8, 8, 2)), Zoom(2.0)]))


def after_window(change):
    """Builds a 3 x 3 convolution, then an operation."""
    image = keras.Input((9, 9, 3))
    return keras.Model(image, change(layers.Conv2D(3, 3)(image)))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[..., ::-1],
        lambda x: x[..., 0:1],
        lambda x: keras.ops.relu(x) * np.ones((1, 1, 3), "float32"),
        lambda x: x + np.ones(3, "float32"),
    ],
)
def test_operations_on_channels_keep_the_field(change):
    assert receptive_field(after_window(change)) == (3, 1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, 1:], r"\(GetItem\): its receptive field is unknown"),
        (lambda x: x + np.ones((7, 1, 1), "float32"), r"\(Add\): its receptive field is unknown"),
        (lambda x: x + np.ones((1, 7, 1), "float32"), r"\(Add\): its receptive field is unknown"),
        (lambda x: keras.ops.flip(x, 1), r"\(Flip\): its receptive field is unknown"),
        (
            layers.MaxPooling2D(1, data_format="channels_first"),
            "data_format='channels_first' is not supported",
        ),
    ],
)
def test_operations_that_move_or_weigh_cells_are_rejected(change, message):
    with pytest.raises(ModelError, match=message):
        receptive_field(after_window(change))


def branches():
    """Builds three branches with the same stride and different fields, one of them nested."""
    image = keras.Input((50, 60, 2))
    x = layers.Conv2D(2, 3, strides=2)(image)
    nested = keras.Sequential([keras.Input((None, None, 2)), layers.Conv2D(2, 5, padding="same")])
    wide = layers.MaxPooling2D((1, 7), 1, padding="same")(x)
    x = layers.Concatenate()([layers.Add()([x, nested(x)]), wide]) * 2.0
    return keras.Model(image, layers.Conv2D(2, 3, strides=3)(x))


def test_joined_branches_have_the_union_of_fields():
    assert assert_field_is_measured(branches(), 50, 60) > 3
    assert receptive_field(branches()) == ((15, 19), (6, 6), (-4, -6))


@pytest.mark.parametrize(
    "layer",
    [
        BilinearUpsampling(2),
        BilinearUpsampling(4),
        BilinearUpsampling(4, learn=True),
        layers.UpSampling2D((2, 3)),
        layers.UpSampling2D(3, interpolation="bilinear"),
        layers.UpSampling2D(4, interpolation="bilinear"),
        layers.Conv2DTranspose(2, 5, strides=3),
        layers.Conv2DTranspose(2, (4, 3), strides=2, padding="same"),
    ],
)
def test_upsampled_field_is_smallest_for_all_cells(layer):
    model = keras.Sequential(
        [
            keras.Input((36, 42, 2)),
            layers.AveragePooling2D(2),
            layers.Conv2D(2, 3, padding="same"),
            layer,
            layers.AveragePooling2D(3, strides=1, padding="same"),
        ]
    )
    pairs = [x if isinstance(x, tuple) else (x, x) for x in receptive_field(model)]
    for axis, bounds in enumerate(measured(model, 36, 42)):
        size, stride, offset = (pair[axis] for pair in pairs)
        cells = np.arange(len(bounds))[12:-12]
        before = bounds[cells, 0] - stride * cells
        after = bounds[cells, 1] - stride * cells
        expected = pytest.approx((offset, offset + size - 1))
        assert (before.min(), after.max()) == expected


def test_padding_to_multiple_and_cropping_are_supported():
    image = keras.Input((21, 26, 2))
    x = layers.AveragePooling2D(8)(PadToMultiple(8)(image))
    assert assert_field_is_measured(keras.Model(image, x), 21, 26) > 1
    x = BilinearUpsampling(8)(x)
    model = keras.Model(image, CropLike()(x, image))
    assert receptive_field(model) == (23, 1, -11)


def own_backbone(channels=2):
    """Builds a backbone of maps at strides 8, 16 and 32, with a window of 2 pixels a stage."""
    image = keras.Input((None, None, channels))
    x, maps = image, []
    for stage in range(5):
        x = layers.Conv2D(2, 2, strides=2, padding="same", name=f"stage{stage + 1}")(x)
        maps.append(x)
    return keras.Model(image, maps[2:], name="mine")


def test_field_of_an_fcn_on_an_own_backbone():
    fcn = fcn_keras.FCN8s(3, backbone=own_backbone(), input_shape=(None, None, 2))
    scores = keras.Model(fcn.input, fcn.get_layer("score_fr").output)
    # Five windows of 2 pixels, each at twice the stride, tile the image: 1 + 1 + 2 + 4 + 8 + 16.
    assert receptive_field(fcn) == receptive_field(scores) == (32, 32, 0)
    assert receptive_field(fcn, "stage3") == (8, 8, 0)
    assert receptive_field(fcn, "logits").stride == 1
    assert assert_field_is_measured(scores, 96, 64) == 3 + 2


def test_fcns_on_own_backbones_can_be_tiled(rng):
    options = {"backbone": own_backbone(), "input_shape": (None, None, 2)}
    fcn = randomise_scores(fcn_keras.FCN8s(3, **options))
    image = rng.integers(0, 256, (96, 224, 2), "uint8")
    whole = fcn_keras.predict(fcn, image)
    assert np.mean(fcn_keras.predict(fcn, image, tile=(96, 160)) == whole) > 0.999
    assert len(np.unique(whole)) > 1


@pytest.mark.parametrize(
    ("name", "size"), [("VGG16", 212), ("MobileNet", 315), ("ResNet50", 483), ("InceptionV3", 1311)]
)
def test_fields_match_published_ones(weightless, name, size):
    # Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks, 2019.
    trunk = getattr(keras.applications, name)(weights=None, include_top=False)
    assert receptive_field(trunk)[:2] == (size, 32)


@pytest.mark.parametrize("build", fcn_keras.MODELS.values())
def test_vgg16_field_matches_the_paper(weightless, build):
    model = build(21, weights=None, head_width=8)
    field = receptive_field(model)
    assert (field.size, field.stride) == (404, 32)  # Table 1
    # Centred on the cell's 32 pixels.
    assert field.offset == 16 - 404 // 2
    assert receptive_field(model, "score_fr") == field
    assert receptive_field(model, "block3_pool") == (44, 8, -18)
    assert receptive_field(model, "logits").stride == 1


def test_flatten_and_global_pooling_cover_the_whole_map():
    image = keras.Input((12, 16, 3))
    x = layers.MaxPooling2D(2)(layers.Conv2D(4, 3)(image))
    flat = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    assert receptive_field(flat) == ((12, 16), (2, 2), (0, 0))
    pooled = keras.Model(image, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))
    assert receptive_field(pooled) == receptive_field(flat)


def test_zoomed_models_name_the_zoom_and_its_remedy():
    options = {"backbone": "tiny", "weights": None, "head_width": 8}
    model = fcn_keras.FCN8s(3, zoom=1.5, **options)
    for layer in (None, "score_fr", "logits"):
        with pytest.raises(ModelError) as error:
            receptive_field(model, layer)
        assert "layer 'image_zoomed' (Zoom): resizes the image by 1.5" in str(error.value)
        assert "zoom=1, and divide its field by 1.5" in str(error.value)
        assert "rules.STEPS" not in str(error.value)


@pytest.mark.parametrize("model", [None, "vgg16", 5, fcn_keras.FCN8s])
def test_other_objects_are_rejected(model):
    with pytest.raises(ModelError, match="^model: must be a Keras model, found"):
        receptive_field(model)


@pytest.mark.parametrize("layer", [5, ["conv"], True])
def test_layers_are_given_by_name(layer):
    model = keras.Sequential([keras.Input((9, 9, 3)), layers.Conv2D(2, 3)])
    with pytest.raises(ModelError, match="unknown; the layers of"):
        receptive_field(model, layer)


def test_models_of_other_inputs_are_rejected():
    streams = {name: fcn_keras.Modality() for name in ("color", "hha")}
    late = fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=8, inputs=streams)
    with pytest.raises(ModelError, match=r"found 2 inputs and 1 outputs.*model.get_layer\(NAME\)"):
        receptive_field(late)
    assert receptive_field(late.get_layer("stream_hha")).stride == 32
    vectors = keras.Sequential([keras.Input((9,)), layers.Dense(2)])
    with pytest.raises(ModelError, match=r"must take an image \[b, h, w, c\], found the input"):
        receptive_field(vectors)


class Blur(layers.Layer):
    def call(self, x):
        return x


def different_strides():
    image = keras.Input((16, 16, 3))
    x = layers.AveragePooling2D(2)(image)
    y = layers.AveragePooling2D(4)(layers.UpSampling2D(2)(image))
    z = layers.AveragePooling2D(4)(layers.ZeroPadding2D(8)(image))
    return keras.Model(image, layers.Add(name="joint")([x, layers.Add()([y, y]), z]))


@pytest.mark.parametrize(
    ("build", "layer", "message"),
    [
        (different_strides, None, "layer 'joint' (Add): the branches it joins must have the same"),
        (
            different_strides,
            "pool9",
            "layer='pool9': unknown; the layers of 'net' are up_sampling2d, zero_padding2d,",
        ),
        (
            lambda: keras.Sequential([keras.Input((None, None, 3)), Blur(name="blur")]),
            None,
            "layer 'blur' (Blur): its receptive field is unknown. If each output cell",
        ),
        (
            lambda: keras.Sequential(
                [keras.Input((None, None, 3)), layers.GlobalAveragePooling2D(name="pool")]
            ),
            None,
            "layer 'pool' (GlobalAveragePooling2D): its receptive field is the whole image",
        ),
        (
            lambda: keras.Sequential(
                [
                    keras.Input((9, 9, 3)),
                    layers.UpSampling2D(interpolation="bicubic", name="up"),
                ]
            ),
            None,
            "layer 'up' (UpSampling2D): the interpolation must be nearest or bilinear",
        ),
        (
            lambda: keras.Sequential(
                [keras.Input((9, 9, 3)), layers.BatchNormalization(axis=2, name="norm")]
            ),
            None,
            "layer 'norm' (BatchNormalization): works along axis 2",
        ),
    ],
)
def test_models_without_field_are_rejected(build, layer, message):
    keras.utils.clear_session()
    model = build()
    model.name = "net"
    with pytest.raises(ModelError) as error:
        receptive_field(model, layer)
    assert message in str(error.value)


def test_custom_layers_can_be_registered(monkeypatch):
    model = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(2, 3), Blur(name="blur"), layers.Conv2D(2, 3)]
    )
    with pytest.raises(ModelError, match="blur.*import rules; rules.STEPS"):
        receptive_field(model)
    assert receptive_field(model, model.layers[0].name) == (3, 1, 0)
    monkeypatch.setitem(rules.STEPS, Blur, rules.pointwise)
    assert receptive_field(model) == (5, 1, 0)


@pytest.mark.parametrize(
    ("build", "size"), [pytest.param(AlexNet, 355, marks=pytest.mark.slow), (GoogLeNet, 907)]
)
def test_alexnet_and_googlenet_fields_match_the_paper(build, size):
    # Table 1. GoogLeNet's 907 includes 6 * 32 pixels of average pooling, which its FCN leaves out.
    assert receptive_field(fcn_keras.convolutionalize(build()))[:2] == (size, 32)
    fcn = fcn_keras.FCN32s(21, backbone=build.__name__.lower(), weights=None, head_width=8)
    assert receptive_field(fcn)[:2] == (min(size, 715), 32)


@pytest.mark.parametrize(
    ("build", "backbone"),
    [
        (fcn_keras.FCN32s, "vgg16"),
        (fcn_keras.FCN16s, "vgg16"),
        (fcn_keras.FCN8s, "vgg16"),
        (fcn_keras.FCN32s, "alexnet"),
    ],
)
def test_reference_crops_centre_each_logit_on_its_pixel(build, backbone):
    # The published offsets and the computed field are independent of each other.
    options = {"backbone": backbone, "weights": None, "head_width": 2, "geometry": "reference"}
    size, stride, offset = fcn_keras.receptive_field(build(2, **options), "logits")
    assert stride == 1
    assert offset + (size - 1) / 2 == 0
