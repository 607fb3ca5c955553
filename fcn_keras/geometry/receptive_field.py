"""Which pixels of the image a cell of a net's output sees: receptive field, stride and offset.

Found by walking the model's graph with the rule of each layer (`STEPS`); no image is run.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import keras
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.geometry.graph import by_type, describe, walk
from fcn_keras.layers.fcn import (
    BilinearUpsampling,
    CaffePreprocessing,
    CeilMaxPooling2D,
    CropLike,
    DilatedPooling2D,
    LocalResponseNormalization,
    PadToMultiple,
)


class ReceptiveField(NamedTuple):
    """Output cell (i, j) sees `size` pixels, from `offset + stride * (i, j)` on.

    All in pixels of the image; `offset` is negative where the net pads. Each is one number where
    rows and columns agree in all three, else each is a pair (rows, columns).
    """

    size: int | tuple[int, int]
    stride: int | tuple[int, int]
    offset: int | tuple[int, int]


def receptive_field(model, layer=None):
    """The receptive field of a layer's output cells (section 3; Table 1 for the paper's nets).

    A cell that joins branches sees what any of them sees. After an upsampling, whose cells do not
    all see alike, it is the smallest field that holds for every cell. Before strides, TensorFlow's
    padding "same" depends on the map's size: where the model leaves it open, it is taken to be a
    multiple of the stride.

    Args:
        model: a functional or Sequential `keras.Model`, image `[b, h, w, c]` in.
        layer: name of a layer, also of one in a nested model. By default the scores at the
            coarsest stride, `score_fr`, as in Table 1, or in other models the output.

    Returns:
        A `ReceptiveField`.

    Raises:
        ModelError: there is no such layer, it sees the whole image or branches of unequal strides,
            or a layer in front of it is not in `STEPS`.
    """
    seen, output = _seen(model)
    if layer is not None and layer not in seen:
        raise ModelError(f"layer={layer!r}: the layers of {model.name!r} are {', '.join(seen)}.")
    return _field(seen.get(layer or "score_fr", output))


def output_field(model):
    """The `ReceptiveField` of a model's output; raises as `receptive_field`."""
    return _field(_seen(model)[1])


def total_stride(model):
    """Strides (rows, columns) that the image must be moved by for all cells to move alike.

    The least common multiple of the strides of all maps; raises as `receptive_field`.
    """
    seen, output = _seen(model)
    _field(output)
    maps = [value for value in seen.values() if isinstance(value, _Seen)]
    return tuple(
        math.lcm(*(Fraction(value.axes[axis].stride).numerator for value in maps))
        for axis in (0, 1)
    )


def padding(layer, size, span, stride):
    """Cells that a convolution or pooling lays (before, behind) a map of `size` cells.

    A `size` of None is taken to be a multiple of the stride.
    """
    if isinstance(layer, CeilMaxPooling2D):
        missing = max(span - size, (span - size) % stride) if size else span % stride
        return (0, missing) if layer.incomplete == "last" else (missing, 0)
    if layer.padding != "same":
        return 0, 0
    total = max(span - (stride if size is None or size % stride == 0 else size % stride), 0)
    return total // 2, total - total // 2


def windows(layer):
    """(cells spanned, stride) of a convolution or pooling, for rows and for columns."""
    kernel = getattr(layer, "kernel_size", None) or layer.pool_size
    rates = pair(getattr(layer, "dilation_rate", 1))
    return [
        ((size - 1) * rate + 1, stride)
        for size, rate, stride in zip(pair(kernel), rates, pair(layer.strides), strict=True)
    ]


def step_of(layer, *args):
    """The rule in `STEPS` for a layer or operation called with `args`; None if there is none.

    Raises:
        ModelError: the layer's channels come first.
    """
    if getattr(layer, "data_format", None) == "channels_first":
        raise ModelError(
            f"{describe(layer)} has data_format='channels_first': only 'channels_last' is known."
        )
    if isinstance(layer, layers.Layer) and type(layer).__name__ not in UNEXPORTED_LAYERS:
        return by_type(STEPS, layer)
    if type(layer).__name__ == "GetItem":  # Such as x[..., ::-1]: it may pick channels only.
        key = args[1]
        return pointwise if isinstance(key, tuple) and len(key) == 2 and key[0] is ... else None
    constants = [leaf for leaf in keras.tree.flatten(args) if hasattr(leaf, "dtype")]
    varies = any(size != 1 for constant in constants for size in constant.shape[-3:-1])
    known = type(layer).__name__ in UNEXPORTED_LAYERS | OPERATIONS
    return pointwise if known and not varies and _is_of_keras(layer) else None


def pointwise(layer, *inputs):
    """Each output cell depends on the cells at its own place only; branches are joined."""
    check_channelwise(layer, len(inputs[0].shape))
    return [_union(layer, axes) for axes in zip(*(seen.axes for seen in inputs), strict=True)]


def check_channelwise(layer, rank):
    """Raises ModelError if a layer on feature maps of that rank mixes cells along an axis."""
    axis = getattr(layer, "axis", None)
    axes = axis if isinstance(axis, list | tuple) else [-1 if axis is None else axis]
    if any(axis not in (-1, rank) for axis in axes):
        raise ModelError(
            f"{describe(layer)} works along axis {axis}; only the last one, the channels, leaves "
            "every cell to itself."
        )


@dataclass(frozen=True)
class _Axis:
    """What is seen along rows or along columns, in pixels."""

    size: int = 1
    stride: int | Fraction = 1
    offset: int | Fraction = 0

    def window(self, span, stride=1, before=0):
        """Behind a window of `span` cells, over a map padded by `before` cells (or cropped)."""
        return _Axis(
            self.size + (span - 1) * self.stride,
            self.stride * stride,
            self.offset - before * self.stride,
        )

    def upsampled(self, factor, kernel, crop):
        """Behind a transposed convolution whose output is cropped by `crop` cells at its start.

        It is a convolution over the cells with `factor - 1` empty ones between them.
        """
        fine = _Axis(self.size, Fraction(self.stride) / factor, self.offset)
        return fine.window(kernel, before=kernel - 1 - crop)


@dataclass(frozen=True)
class _Seen:
    """What the cells of a feature map see, and the map's shape, batch left out."""

    axes: tuple[_Axis, _Axis]
    shape: tuple


def _seen(model):
    """By layer and at the output: a `_Seen`, or the error that says why there is none."""
    seen = {}

    def visit(layer, shape, *args, **kwargs):
        inputs = keras.tree.flatten((args, kwargs))
        errors = [value for value in inputs if isinstance(value, ModelError)]
        try:
            if errors:
                raise errors[0]
            step = step_of(layer, *args)
            if step is None:
                raise ModelError(
                    f"{describe(layer)}: its receptive field is not known. If each output cell "
                    "depends on the cell at its own place only, say so: from fcn_keras import "
                    f"geometry; geometry.STEPS[{type(layer).__name__}] = geometry.pointwise."
                )
            inputs = [value for value in inputs if isinstance(value, _Seen)]
            seen[layer.name] = _Seen(tuple(step(layer, *inputs)), shape)
        except ModelError as error:  # Only matters if what lies behind it is asked for.
            seen[layer.name] = error
        return seen[layer.name]

    shape = model.input_shape[1:] if hasattr(model, "inputs") else ()
    return seen, walk(model, _Seen((_Axis(), _Axis()), shape), visit)


def _field(seen):
    if isinstance(seen, ModelError):
        raise seen
    rows, columns = ([_number(x) for x in (a.size, a.stride, a.offset)] for a in seen.axes)
    return ReceptiveField(*(rows if rows == columns else zip(rows, columns, strict=True)))


def _union(layer, axes):
    strides = {axis.stride for axis in axes}
    if len(strides) > 1:
        raise ModelError(
            f"{describe(layer)} joins branches of strides "
            f"{' and '.join(str(stride) for stride in sorted(strides))}: their cells do not lie on "
            "one grid."
        )
    first = min(axis.offset for axis in axes)
    return _Axis(max(axis.offset + axis.size for axis in axes) - first, *strides, first)


def _window(layer, x):
    return [
        axis.window(span, stride, padding(layer, size, span, stride)[0])
        for axis, size, (span, stride) in zip(x.axes, x.shape, windows(layer), strict=False)
    ]


def _dilated_pooling(layer, x):
    return [
        axis.window(span, stride, before)
        for axis, (before, _), (span, stride) in zip(
            x.axes, layer.padding, windows(layer), strict=True
        )
    ]


def _whole(layer, x):
    if len(x.shape) < 3:
        return x.axes
    if None in x.shape:
        raise ModelError(f"{describe(layer)} sees the whole image, whatever its size.")
    return [axis.window(size) for axis, size in zip(x.axes, x.shape, strict=False)]


def _zero_padding(layer, x):
    return [
        axis.window(1, before=before)
        for axis, (before, _) in zip(x.axes, layer.padding, strict=True)
    ]


def _cropping(layer, x):
    return [
        axis.window(1, before=-before)
        for axis, (before, _) in zip(x.axes, layer.cropping, strict=True)
    ]


def _pad_to_multiple(layer, x):
    return [
        axis.window(1, before=0 if size is None else -size % layer.multiple // 2)
        for axis, size in zip(x.axes, x.shape, strict=False)
    ]


def _crop_like(layer, x, reference):
    if layer.offset is not None:
        return [axis.window(1, before=-layer.offset) for axis in x.axes]
    return [
        axis.window(1, before=0 if None in sizes else -((sizes[0] - sizes[1]) // 2))
        for axis, *sizes in zip(x.axes, x.shape, reference.shape, strict=False)
    ]


def _transposed(layer, x):
    return [
        axis.upsampled(stride, span, padding(layer, None, span, stride)[0])
        for axis, (span, stride) in zip(x.axes, windows(layer), strict=True)
    ]


def _upsampling(layer, x):
    if layer.interpolation not in ("nearest", "bilinear"):
        raise ModelError(
            f"{describe(layer)}: its receptive field is only known for interpolation nearest and "
            f"bilinear, not {layer.interpolation}."
        )
    kernels = [(f, f if layer.interpolation == "nearest" else 2 * f - f % 2) for f in layer.size]
    return [
        axis.upsampled(factor, kernel, (kernel - factor) // 2)
        for axis, (factor, kernel) in zip(x.axes, kernels, strict=True)
    ]


def _bilinear_upsampling(layer, x):
    crop = 0 if layer.fade else layer.factor // 2
    return [axis.upsampled(layer.factor, layer.kernel_size, crop) for axis in x.axes]


def _is_of_keras(layer):
    return type(layer).__module__.partition(".")[0] == "keras"


def pair(value):
    """A number, or a pair (rows, columns), as a pair."""
    return (value, value) if isinstance(value, int) else tuple(value)


def _number(x):
    return int(x) if x == int(x) else float(x)


# Left out when a classifier is made convolutional: they do nothing but in training, where they
# would move or recolour an image without its mask.
AUGMENTATION = (
    layers.RandomBrightness,
    layers.RandomContrast,
    layers.RandomFlip,
    layers.RandomHue,
    layers.RandomRotation,
    layers.RandomSaturation,
    layers.RandomShear,
    layers.RandomTranslation,
    layers.RandomZoom,
)

# What a layer does to what its inputs' cells see: `step(layer, *inputs) -> (rows, columns)`. A
# layer that is not here takes the rule of its base class, or has none.
STEPS = {
    **dict.fromkeys(
        [
            *AUGMENTATION,
            layers.Activation,
            layers.ActivityRegularization,
            layers.Add,
            layers.AlphaDropout,
            layers.Average,
            layers.BatchNormalization,
            layers.Concatenate,
            layers.Dense,
            layers.Dropout,
            layers.ELU,
            layers.GaussianDropout,
            layers.GaussianNoise,
            layers.Identity,
            layers.LayerNormalization,
            layers.LeakyReLU,
            layers.Maximum,
            layers.Minimum,
            layers.Multiply,
            layers.Normalization,
            layers.PReLU,
            layers.ReLU,
            layers.Rescaling,
            layers.Softmax,
            layers.SpatialDropout2D,
            layers.Subtract,
            layers.UnitNormalization,
            CaffePreprocessing,
            LocalResponseNormalization,
        ],
        pointwise,
    ),
    **dict.fromkeys(
        [
            layers.Conv2D,
            layers.DepthwiseConv2D,
            layers.SeparableConv2D,
            layers.MaxPooling2D,
            layers.AveragePooling2D,
        ],
        _window,
    ),
    **dict.fromkeys(
        [layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D], _whole
    ),
    layers.ZeroPadding2D: _zero_padding,
    layers.Cropping2D: _cropping,
    layers.Conv2DTranspose: _transposed,
    layers.UpSampling2D: _upsampling,
    BilinearUpsampling: _bilinear_upsampling,
    CropLike: _crop_like,
    DilatedPooling2D: _dilated_pooling,
    PadToMultiple: _pad_to_multiple,
}

# Operations of `keras.ops`, and layers of ConvNeXt, that act as `pointwise` layers do. They go by
# name, since Keras exports no types for them.
UNEXPORTED_LAYERS = frozenset({"LayerScale", "StochasticDepth"})
OPERATIONS = frozenset(
    "Absolute Add Cast Clip Concatenate Divide Elu Exp Gelu HardSigmoid HardSilu LeakyRelu Log "
    "LogSoftmax Maximum Minimum Multiply Negative Power Relu Relu6 Selu Sigmoid Silu Softmax "
    "Softplus Softsign Sqrt Square Stack Subtract Tanh TrueDivide".split()
)
