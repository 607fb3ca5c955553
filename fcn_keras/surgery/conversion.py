"""Converts a classifier's layers, one by one, to layers of a fully convolutional network."""

import itertools
import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
from keras import layers

from fcn_keras.errors import ModelError
from fcn_keras.geometry import rules
from fcn_keras.geometry.graph import by_type, describe
from fcn_keras.geometry.windows import padding, pair, windows
from fcn_keras.layers.dilated_pooling import DilatedPooling2D
from fcn_keras.surgery.layer_copies import check_is_keras, copied, set_weights
from fcn_keras.surgery.maps import UNPADDED, Map, Pads, Pair, Shape, known_shape, times


class Conversion:
    """Builds the new network layer by layer, with one method per kind of layer."""

    def __init__(self, stride: int | None):
        """Starts an empty network.

        Args:
            stride: Stride of the new network in pixels; None for the classifier's own.
        """
        self.stride = stride
        # Changed options and copy by layer, since a layer may be used several times.
        self.copies: dict[keras.Operation, tuple[dict[str, Any], keras.Operation]] = {}
        self.names = {"image"}

    def convert(self, layer: keras.Operation, shape: Shape, *args: Any, **kwargs: Any) -> Map:
        """Returns the new network's map for a layer; `shape` is its output in the classifier."""
        maps = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, Map)]
        step = rules.step_of(layer, *args)
        special = by_type(SPECIAL, layer)
        if special is not None:
            result = special(self, layer, *maps, shape)
        elif step is rules.pointwise:
            result = self.pointwise(layer, maps, args, kwargs)
        else:
            raise ModelError(
                f"{describe(layer)} cannot be made convolutional: no layer on a larger image "
                "computes the same for every window. Replace it in the classifier."
            )
        return replace(result, shape=tuple(shape))

    def pointwise(
        self,
        layer: keras.Operation,
        maps: list[Map],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Map:
        """Copies a layer that processes each cell independently."""
        x = maps[0]
        if any((y.shape[:-1], y.stride) != (x.shape[:-1], x.stride) for y in maps):
            raise ModelError(
                f"{describe(layer)} joins maps of {' and '.join(str(y.shape) for y in maps)}: a "
                "value for a whole window differs between the windows of an image. Remove it."
            )
        if any(y.flattened for y in maps) and not _is_elementwise(layer, maps):
            raise ModelError(
                f"{describe(layer)} is between Flatten and Dense and is not elementwise, so it "
                "cannot be made convolutional. Move it before Flatten."
            )
        rules.check_channelwise(layer, len(x.shape))
        changes: dict[str, Any] = {}
        if getattr(layer, "axis", None) is not None:
            changes["axis"] = -1  # The channels are axis 1 of a vector, axis 3 of a map.
        if hasattr(layer, "shared_axes"):
            changes["shared_axes"] = [1, 2]
        args, kwargs = keras.tree.map_structure(
            lambda leaf: leaf.tensor if isinstance(leaf, Map) else leaf, (args, kwargs)
        )
        return replace(x, tensor=self.use(layer, changes, *args, **kwargs))

    def augmentation(self, layer: keras.Layer, x: Map, shape: Shape) -> Map:
        """Leaves out an augmentation layer."""
        check_is_keras(layer)
        return x

    def window(self, layer: keras.Layer, x: Map, shape: Shape) -> Map:
        """Converts a convolution or pooling, dilated if earlier subsampling was left out."""
        spans, strides = zip(*windows(layer), strict=True)
        result = replace(x, stride=times(x.stride, strides))
        rates = self.rates(x)
        steps = tuple(map(operator.floordiv, times(strides, rates), self.rates(result)))
        sizes = zip(x.shape, spans, strides, strict=False)
        each = [padding(layer, *size) for size in sizes]
        shifts = False
        if layer.padding == "same":
            # With strides, the padding before the map depends on the map's size, and would shift
            # the windows on another image. Keep that of the classifier.
            shifts = any(
                max(span - stride, 0) // 2 != (span - 1) // 2
                for span, stride in zip(spans, strides, strict=True)
            )
            each = [(first, span - 1 - first) for (first, _), span in zip(each, spans, strict=True)]
        pads = tuple(map(times, each, [(rate, rate) for rate in rates]))
        if rates == (1, 1) and steps == strides and not shifts:
            tensor = self.use(layer, {}, x.tensor)
        elif hasattr(layer, "pool_size"):
            tensor = self.pooling(layer, x.tensor, layer.pool_size, steps, pads, rates)
        else:
            tensor = self.convolution(layer, x.tensor, steps, pads, rates)
        return replace(result, tensor=tensor)

    def padding(self, layer: keras.Layer, x: Map, shape: Shape) -> Map:
        """Converts zero padding or cropping, by the same number of image pixels."""
        option = "cropping" if isinstance(layer, layers.Cropping2D) else "padding"
        pads = [
            (rate * first, rate * last)
            for rate, (first, last) in zip(self.rates(x), getattr(layer, option), strict=True)
        ]
        return replace(x, tensor=self.use(layer, {option: pads}, x.tensor))

    def global_pooling(self, layer: keras.Layer, x: Map, shape: Shape) -> Map:
        """Replaces global pooling by pooling over windows of the classifier's map size."""
        rows, columns, _ = known_shape(layer, x)
        tensor = self.pooling(layer, x.tensor, (rows, columns), (1, 1), UNPADDED, self.rates(x))
        return replace(x, tensor=tensor)

    def flatten(self, layer: keras.Layer, x: Map, shape: Shape) -> Map:
        """Records the flattened shape; the next Dense layers become convolutions over the map."""
        check_is_keras(layer)
        flattened = known_shape(layer, x)
        return replace(x, flattened=flattened) if x.has_cells else x

    def dense(self, layer: layers.Dense, x: Map, shape: Shape) -> Map:
        """Converts Dense to a convolution over the flattened map, or over single cells."""
        check_is_keras(layer)
        if len(x.tensor.shape) != 4:
            raise ModelError(
                f"{describe(layer)} has the input {tuple(x.tensor.shape)}, not an image or feature "
                "map [b, h, w, c]. Use a classifier of images."
            )
        changes = {
            "kernel_size": x.flattened[:2] if x.flattened else (1, 1),
            "dilation_rate": self.rates(x) if x.flattened else (1, 1),
        }
        return replace(x, tensor=self.use(layer, changes, x.tensor), flattened=None)

    def reshape(self, layer: keras.Layer, x: Map, shape: Shape) -> Map:
        """Leaves out a reshape that only adds or removes axes of size 1 around the channels."""
        check_is_keras(layer)
        if x.has_cells or x.flattened or any(size != 1 for size in shape[:-1]):
            raise ModelError(
                f"{describe(layer)} reshapes {x.shape} to {tuple(shape)}. That moves cells "
                "between axes and cannot be made convolutional. Remove it."
            )
        return x

    def convolution(
        self,
        layer: keras.Layer,
        tensor: keras.KerasTensor,
        steps: Pair,
        pads: Pads,
        rates: Pair,
    ) -> keras.KerasTensor:
        """Applies the layer's copy with explicit padding, dilated by `rates`."""
        if pads != UNPADDED:
            name = self.name(f"{layer.name}_pad")
            tensor = layers.ZeroPadding2D(pads, dtype=layer.dtype_policy, name=name)(tensor)
        if rates == (1, 1):
            return self.use(layer, {"padding": "valid", "strides": steps}, tensor)
        rates = times(rates, pair(layer.dilation_rate))
        changes = {"padding": "valid", "strides": 1, "dilation_rate": rates}
        tensor = self.use(layer, changes, tensor)
        if steps != (1, 1):  # Keras has no strided dilated convolution.
            name = self.name(f"{layer.name}_subsampling")
            tensor = layers.MaxPooling2D(1, steps, dtype=layer.dtype_policy, name=name)(tensor)
        return tensor

    def pooling(
        self,
        layer: keras.Layer,
        tensor: keras.KerasTensor,
        size: Pair,
        steps: Pair,
        pads: Pads,
        rates: Pair,
    ) -> keras.KerasTensor:
        """Applies max or average pooling over `size` cells, dilated by `rates`."""
        check_is_keras(layer)
        average = isinstance(layer, layers.AveragePooling2D | layers.GlobalAveragePooling2D)
        options = {"dtype": layer.dtype_policy, "name": self.name(layer.name)}
        if rates == (1, 1) and pads == UNPADDED:
            kind = layers.AveragePooling2D if average else layers.MaxPooling2D
            return kind(size, steps, **options)(tensor)
        return DilatedPooling2D(
            size, strides=steps, padding=pads, dilation_rate=rates, average=average, **options
        )(tensor)

    def rates(self, x: Map) -> Pair:
        """Returns the distance of neighbouring cells of the classifier, in cells of the new map."""
        if self.stride is None:
            return (1, 1)
        rows, columns = (native // math.gcd(native, self.stride) for native in x.stride)
        return rows, columns

    def use(
        self, layer: keras.Operation, changes: dict[str, Any], *args: Any, **kwargs: Any
    ) -> keras.KerasTensor:
        """Calls the layer's copy, which has its weights, and its options except for `changes`."""
        first = layer not in self.copies
        if first:
            self.copies[layer] = changes, copied(layer, self.name(layer.name), changes)
        made_with, copy = self.copies[layer]
        if made_with != changes:
            raise ModelError(
                f"{describe(layer)} is used in several places that need different options: "
                f"{made_with} and {changes}. Use a separate layer in each place."
            )
        tensor = copy(*args, **kwargs)
        if first and isinstance(layer, layers.Layer):
            set_weights(copy, layer)
        return tensor

    def name(self, wanted: str) -> str:
        """Returns the name, with a number if a layer of another nested model has the same name."""
        names = itertools.chain([wanted], (f"{wanted}_{i}" for i in itertools.count(1)))
        name = next(name for name in names if name not in self.names)
        self.names.add(name)
        return name


# Layers that are not pointwise: `method(conversion, layer, input, output shape)`.
SPECIAL: dict[type, Callable[..., Map]] = {
    **dict.fromkeys(rules.AUGMENTATION, Conversion.augmentation),
    layers.Conv2D: Conversion.window,
    layers.DepthwiseConv2D: Conversion.window,
    layers.SeparableConv2D: Conversion.window,
    layers.MaxPooling2D: Conversion.window,
    layers.AveragePooling2D: Conversion.window,
    layers.ZeroPadding2D: Conversion.padding,
    layers.Cropping2D: Conversion.padding,
    layers.GlobalAveragePooling2D: Conversion.global_pooling,
    layers.GlobalMaxPooling2D: Conversion.global_pooling,
    layers.Flatten: Conversion.flatten,
    layers.Dense: Conversion.dense,
    layers.Reshape: Conversion.reshape,
}


def _is_elementwise(layer: keras.Operation, maps: list[Map]) -> bool:
    """Returns whether a layer after Flatten would compute the same before it."""
    softmax = (keras.activations.softmax, keras.activations.log_softmax)
    return (
        isinstance(layer, layers.Layer)
        and len(maps) == 1
        and not layer.weights
        and getattr(layer, "axis", None) is None
        and getattr(layer, "activation", None) not in softmax
    )
