"""Receptive-field rules: how each layer changes the field of its inputs.

A rule is `step(layer, *inputs) -> (rows, columns)`. A layer that is not in `STEPS` uses the rule
of its base class, if there is one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.geometry.axis import Axis, Seen
from fcn_keras.geometry.graph import by_type, describe
from fcn_keras.geometry.windows import padding, windows
from fcn_keras.layers.alignment import CropLike, PadToMultiple
from fcn_keras.layers.caffe import CaffePreprocessing, LocalResponseNormalization
from fcn_keras.layers.dilated_pooling import DilatedPooling2D
from fcn_keras.layers.upsampling import BilinearUpsampling
from fcn_keras.layers.zoom import ResizeLike, Zoom

Step = Callable[..., Sequence[Axis]]  # `step(layer, *inputs)`, one `Seen` per input.


def step_of(layer: keras.Operation, *args: Any) -> Step | None:
    """Returns the rule for a layer or operation called with `args`; None if there is none.

    Raises:
        ModelError: The layer uses data format "channels_first".
    """
    if getattr(layer, "data_format", None) == "channels_first":
        raise ModelError(
            f"{describe(layer)}: data_format='channels_first' is not supported. Use "
            "'channels_last'."
        )
    if isinstance(layer, layers.Layer) and type(layer).__name__ not in UNEXPORTED_LAYERS:
        return by_type(STEPS, layer)
    if type(layer).__name__ == "GetItem":  # For example x[..., ::-1]; it may select channels only.
        key = args[1]
        return pointwise if isinstance(key, tuple) and len(key) == 2 and key[0] is ... else None
    constants = [leaf for leaf in keras.tree.flatten(args) if hasattr(leaf, "dtype")]
    varies = any(size != 1 for constant in constants for size in constant.shape[-3:-1])
    known = type(layer).__name__ in UNEXPORTED_LAYERS | OPERATIONS
    return pointwise if known and not varies and _is_keras_class(layer) else None


def pointwise(layer: keras.Operation, *inputs: Seen) -> Sequence[Axis]:
    """Joins the fields of the inputs; each output cell depends on the same position only."""
    check_channelwise(layer, len(inputs[0].shape))
    return [_union(layer, axes) for axes in zip(*(seen.axes for seen in inputs), strict=True)]


def check_channelwise(layer: keras.Operation, rank: int) -> None:
    """Raises a ModelError if a layer mixes cells along an axis other than the channels.

    `rank` is that of the layer's input, without the batch.
    """
    axis = getattr(layer, "axis", None)
    axes = axis if isinstance(axis, list | tuple) else [-1 if axis is None else axis]
    if any(axis not in (-1, rank) for axis in axes):
        raise ModelError(
            f"{describe(layer)}: works along axis {axis}, which mixes cells. Only the last axis, "
            "the channels, is supported."
        )


def _union(layer: keras.Operation, axes: Sequence[Axis]) -> Axis:
    strides = {axis.stride for axis in axes}
    if len(strides) > 1:
        raise ModelError(
            f"{describe(layer)}: the branches it joins must have the same stride, found strides "
            f"{' and '.join(str(stride) for stride in sorted(strides))}."
        )
    first = min(axis.offset for axis in axes)
    return Axis(max(axis.offset + axis.size for axis in axes) - first, axes[0].stride, first)


def _window(layer: keras.Layer, x: Seen) -> Sequence[Axis]:
    return [
        axis.window(span, stride, padding(layer, size, span, stride)[0])
        for axis, size, (span, stride) in zip(x.axes, x.shape, windows(layer), strict=False)
    ]


def _dilated_pooling(layer: DilatedPooling2D, x: Seen) -> Sequence[Axis]:
    return [
        axis.window(span, stride, before)
        for axis, (before, _), (span, stride) in zip(
            x.axes, layer.padding, windows(layer), strict=True
        )
    ]


def _whole(layer: keras.Layer, x: Seen) -> Sequence[Axis]:
    if len(x.shape) < 3:
        return x.axes
    sizes = [size for size in x.shape if size is not None]
    if len(sizes) < len(x.shape):
        raise ModelError(
            f"{describe(layer)}: its receptive field is the whole image, whatever its size."
        )
    return [axis.window(size) for axis, size in zip(x.axes, sizes, strict=False)]


def _zero_padding(layer: layers.ZeroPadding2D, x: Seen) -> Sequence[Axis]:
    return [
        axis.window(1, before=before)
        for axis, (before, _) in zip(x.axes, layer.padding, strict=True)
    ]


def _cropping(layer: layers.Cropping2D, x: Seen) -> Sequence[Axis]:
    return [
        axis.window(1, before=-before)
        for axis, (before, _) in zip(x.axes, layer.cropping, strict=True)
    ]


def _pad_to_multiple(layer: PadToMultiple, x: Seen) -> Sequence[Axis]:
    return [
        axis.window(1, before=0 if size is None else -size % layer.multiple // 2)
        for axis, size in zip(x.axes, x.shape, strict=False)
    ]


def _crop_like(layer: CropLike, x: Seen, reference: Seen) -> Sequence[Axis]:
    if layer.offset is not None:
        return [axis.window(1, before=-layer.offset) for axis in x.axes]
    return [
        axis.window(1, before=0 if size is None or kept is None else -((size - kept) // 2))
        for axis, size, kept in zip(x.axes, x.shape, reference.shape, strict=False)
    ]


def _transposed(layer: layers.Conv2DTranspose, x: Seen) -> Sequence[Axis]:
    return [
        axis.upsampled(stride, span, padding(layer, None, span, stride)[0])
        for axis, (span, stride) in zip(x.axes, windows(layer), strict=True)
    ]


def _upsampling(layer: layers.UpSampling2D, x: Seen) -> Sequence[Axis]:
    if layer.interpolation not in ("nearest", "bilinear"):
        raise ModelError(
            f"{describe(layer)}: the interpolation must be nearest or bilinear, found "
            f"{layer.interpolation}."
        )
    kernels = [(f, f if layer.interpolation == "nearest" else 2 * f - f % 2) for f in layer.size]
    return [
        axis.upsampled(factor, kernel, (kernel - factor) // 2)
        for axis, (factor, kernel) in zip(x.axes, kernels, strict=True)
    ]


def _bilinear_upsampling(layer: BilinearUpsampling, x: Seen) -> Sequence[Axis]:
    crop = 0 if layer.fade else layer.factor // 2
    return [axis.upsampled(layer.factor, layer.kernel_size, crop) for axis in x.axes]


def _zoom(layer: Zoom, x: Seen) -> Sequence[Axis]:
    raise ModelError(
        f"{describe(layer)}: resizes the image by {layer.factor:g}, so fields do not begin and end "
        f"between pixels. Build the model with zoom=1, and divide its field by {layer.factor:g}."
    )


def _resize_like(layer: ResizeLike, x: Seen, reference: Seen) -> Sequence[Axis]:
    raise ModelError(
        f"{describe(layer)}: resizes a map by a factor that depends on the image's size, so its "
        "field has no fixed size. Take a layer before it."
    )


def _is_keras_class(layer: keras.Operation) -> bool:
    return type(layer).__module__.partition(".")[0] == "keras"


# Left out when a classifier is made convolutional: they are active in training only, where they
# would change an image but not its mask.
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

STEPS: dict[type, Step] = {
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
    ResizeLike: _resize_like,
    Zoom: _zoom,
}

# Pointwise layers of ConvNeXt and operations of `keras.ops`. They are listed by name because Keras
# does not export their types.
UNEXPORTED_LAYERS = frozenset({"LayerScale", "StochasticDepth"})
OPERATIONS = frozenset(
    "Absolute Add Cast Clip Concatenate Divide Elu Exp Gelu HardSigmoid HardSilu LeakyRelu Log "
    "LogSoftmax Maximum Minimum Multiply Negative Power Relu Relu6 Selu Sigmoid Silu Softmax "
    "Softplus Softsign Sqrt Square Stack Subtract Tanh TrueDivide".split()
)
