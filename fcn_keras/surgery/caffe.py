"""The original Caffe weights in these models: the authors' nets, and Caffe's classifiers.

Arrays come in Caffe's order of axes, as `read_caffemodel` gives them: [out, in, height, width] for
a convolution, [in, out, height, width] for a transposed one, [out, in] for a fully connected layer.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import keras
import numpy as np

from fcn_keras.errors import ModelError, WeightsError
from fcn_keras.layers.upsampling import bilinear_filter
from fcn_keras.models.decoder import Modality
from fcn_keras.models.fcn import MODELS
from fcn_keras.surgery.caffemodel import read_caffemodel

Blobs = dict[str, list[np.ndarray]]  # Layer of the file: its arrays, as `read_caffemodel` gives.


class LoadReport(NamedTuple):
    """What became of every layer with weights, in the file and in the model."""

    loaded: dict[str, str]  # Layer of the file: layer of the model.
    missing: tuple[str, ...]  # Layers of the model that the file has nothing for.
    left_over: dict[str, str]  # Layer of the file: why it was not used.


def load_weights(
    model: keras.Model, blobs_or_path: Blobs | str | Path, *, suffix: str = ""
) -> LoadReport:
    """Loads Caffe weights into a model; nothing is changed if something does not fit.

    Layers are matched by the reference implementation's names: `conv1_1` is keras.applications'
    `block1_conv1`, all others are called alike, with `_` for `/`. Kernels are transposed; those of
    fully connected layers also fit the convolutions made of them. Channels stay BGR, the order that
    `CaffePreprocessing` gives. A fixed `upscore...` or `scale_...` without weights in the model
    counts as loaded if it computes what the file's does.

    Args:
        model: a Keras model, such as `fcn_keras.FCN8s(21, weights=None)`.
        blobs_or_path: what `read_caffemodel` returns, or the path of its file.
        suffix: a layer `NAME` + suffix of the file is taken for the model's `NAME`, before one
            called `NAME`: "_sem" or "_geo" for a head of the SIFT Flow nets, "color" or "hha" for
            a stream of NYUDv2's late fusion.

    Returns:
        A `LoadReport`: loaded, missing, left_over.

    Raises:
        WeightsError: the file cannot be read, a shape differs from the model's, or no layer of the
            file is one of the model's.
    """
    if isinstance(blobs_or_path, dict):
        return _load(model, blobs_or_path, suffix, "the weights")
    return _load(model, read_caffemodel(blobs_or_path), suffix, blobs_or_path)


def convert(
    path: str | Path,
    model: str,
    *,
    backbone: str = "vgg16",
    suffix: str = "",
    geometry: Literal["same", "reference"] = "reference",
    mean: str = "voc",
) -> tuple[keras.Model, LoadReport]:
    """Builds the net that a .caffemodel file is of, and loads it.

    The number of classes, the width of fc6 and fc7 and the skip scales are the file's; upsampling
    has weights if the file's is not bilinear.

    Args:
        path: a .caffemodel file.
        model: a key of `fcn_keras.MODELS`.
        backbone: a key of `fcn_keras.BACKBONES`.
        suffix: as in `load_weights`.
        geometry: as in `models.FCN32s`; the authors' nets were trained with "reference".
        mean: a key of `fcn_keras.MEANS`: what the net's training subtracted from its images.

    Returns:
        The `keras.Model` and its `LoadReport`.

    Raises:
        WeightsError: as in `load_weights`, or the file has no score layer.
        ModelError: the model, the backbone, the geometry or the mean is unknown.
    """
    if model not in MODELS:
        raise ModelError(f"model={model!r}: unknown; choose one of {', '.join(MODELS)}.")
    inputs = {"image": Modality.with_mean_of(mean)}
    blobs = read_caffemodel(path)
    options = _options(blobs, suffix)
    if "num_classes" not in options:
        raise WeightsError(
            f"{path}: it has no layer 'score_fr{suffix}', so it is not a whole FCN. It has "
            f"{_listed(blobs)}. If its score layers end otherwise, give the ending as suffix "
            "(command line: --suffix)."
        )
    if model != "fcn32s":
        options["skip_scales"] = _scales_in_file(blobs, suffix)[: 1 if model == "fcn16s" else 2]
    up = [arrays[0] for name, arrays in blobs.items() if name.startswith("upscore")]
    options["learn_upsampling"] = not all(_is_bilinear(kernel) for kernel in up)
    net = MODELS[model](
        **options, backbone=backbone, weights=None, geometry=geometry, inputs=inputs
    )
    return net, _load(net, blobs, suffix, path)


# Matching layers


def _load(model: keras.Model, blobs: Blobs, suffix: str, where: str | Path) -> LoadReport:
    named = _by_model_name(blobs, suffix)
    options = " and ".join(f"{name}={value}" for name, value in _options(blobs, suffix).items())
    fix = f"Build the model with {options}, as the file's" if options else "Build the file's model"
    weights: list[tuple[keras.Layer, list[np.ndarray]]] = []
    loaded: dict[str, str] = {}
    missing: list[str] = []
    left_over: dict[str, str] = {}
    for layer in model.layers:
        name = _caffe_name(layer.name)
        source = named.get(name)
        if source is None:
            if layer.weights or name.startswith("scale_"):
                missing.append(layer.name)
            continue
        if layer.weights:
            weights.append((layer, _converted(blobs[source], layer, f"{where}: {source!r}", fix)))
        elif reason := _differs(blobs[source], layer):
            left_over[source] = reason
            continue
        loaded[source] = layer.name
    absent = [_caffe_name(name) for name in missing]
    if not weights:
        raise WeightsError(
            f"{where}: no layer of it is one of {model.name}'s. It has {_listed(blobs)}; the model "
            f"has {_listed(absent)}."
        )
    for layer, arrays in weights:
        layer.set_weights(arrays)
    left_over = {
        name: left_over.get(name) or _unmatched(name, blobs[name], absent)
        for name in blobs
        if name not in loaded
    }
    return LoadReport(loaded, tuple(missing), left_over)


def _caffe_name(name: str) -> str:
    """The reference's name of a layer: block1_conv2 of keras.applications is its conv1_2."""
    return re.sub(r"^block(\d)_conv(\d)$", r"conv\1_\2", name)


def _by_model_name(blobs: Blobs, suffix: str) -> dict[str, str]:
    """The file's layer for each reference name; a `/` cannot stand in the name of a Keras layer."""
    named = {name.replace("/", "_"): name for name in blobs}
    if suffix:
        ending = {name: source for name, source in named.items() if name.endswith(suffix)}
        named |= {name.removesuffix(suffix): source for name, source in ending.items()}
    return named


def _options(blobs: Blobs, suffix: str) -> dict[str, Any]:
    """Options of the file's net: as many classes, and as wide a head, as there are biases."""
    named = _by_model_name(blobs, suffix)
    names = {"num_classes": "score_fr", "head_width": "fc6"}
    return {key: blobs[named[name]][-1].size for key, name in names.items() if name in named}


def _scales_in_file(blobs: Blobs, suffix: str) -> tuple[float, ...]:
    """Factors on pool4 and pool3: layers of the at-once FCN-8s, absent where they are 1."""
    named = _by_model_name(blobs, suffix)
    sources = [named.get(name) for name in ("scale_pool4", "scale_pool3")]
    # By way of text: the float32 0.01 is meant to be 0.01, not 0.00999999977648258.
    return tuple(float(str(blobs[name][0].flat[0])) if name else 1.0 for name in sources)


def _unmatched(name: str, arrays: list[np.ndarray], absent: list[str]) -> str:
    if name.startswith("scale_"):
        return f"it scales by {arrays[0].flat[0]:g}, the model does not: see skip_scales"
    for ours in sorted(absent, key=len, reverse=True):
        if name.startswith(ours):
            return f"the model has {ours!r}: is it that, with suffix {name.removeprefix(ours)!r}?"
    return "the model has no such layer"


def _differs(arrays: list[np.ndarray], layer: keras.Layer) -> str | None:
    """Why a layer without weights does not compute what the file's does; None if it does."""
    kernel = arrays[0]
    if isinstance(layer, keras.layers.Rescaling):
        if all(np.allclose(array, layer.scale, rtol=1e-6, atol=0) for array in arrays):
            return None
        return f"it scales by {kernel.flat[0]:g}, the model by {layer.scale:g}: see skip_scales"
    if not layer.name.startswith("upscore"):
        return "the model's layer of this name has no weights"
    if len(arrays) > 1 or not _is_bilinear(kernel):
        return "its filters are not bilinear: they take a model with learn_upsampling=True"
    if kernel.shape[-1] != layer.kernel_size:
        return (
            f"its bilinear filters have size {kernel.shape[-1]}, the model's have "
            f"{layer.kernel_size}"
        )
    return None


def _is_bilinear(kernel: np.ndarray) -> bool:
    if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1] or kernel.shape[2] != kernel.shape[3]:
        return False
    channels, size = kernel.shape[1:3]
    expected, diagonal = np.zeros_like(kernel), np.arange(channels)
    expected[diagonal, diagonal] = bilinear_filter(size)
    return np.allclose(kernel, expected, rtol=0, atol=1e-6)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


# Converting arrays


def _converted(
    arrays: list[np.ndarray], layer: keras.Layer, where: str, fix: str
) -> list[np.ndarray]:
    """The file's arrays in the order of axes and the shapes of the layer's weights."""
    shapes = [_caffe_shape(weight.shape) for weight in layer.weights]
    if len(arrays) != len(shapes):
        raise WeightsError(
            f"{where} has {len(arrays)} arrays, the model's {layer.name!r} takes {len(shapes)}. "
            f"{fix}, or give the file of this one."
        )
    for array, shape in zip(arrays, shapes, strict=True):
        connected = (shape[0], math.prod(shape[1:]))  # The fully connected layer of that kernel.
        if array.shape not in {(1,) * n + s for n in range(4) for s in (shape, connected)}:
            raise WeightsError(
                f"{where} is {list(array.shape)}, the model's {layer.name!r} takes {list(shape)}. "
                f"{fix}, or give the file of this one."
            )
        if not np.isfinite(array).all():
            raise WeightsError(
                f"{where} holds values that are not finite: the file is damaged, or its training "
                "had failed. Download it again."
            )
    return [_to_keras(a.reshape(s), layer) for a, s in zip(arrays, shapes, strict=True)]


def _caffe_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """[h, w, in, out] -> [out, in, h, w]; a transposed [h, w, out, in] -> [in, out, h, w]."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
    return tuple(shape[axis] for axis in order)


def _to_keras(array: np.ndarray, layer: keras.Layer) -> np.ndarray:
    if array.ndim == 4:
        # One order serves both: Caffe's deconvolution is, as Keras' transposed convolution, the
        # gradient of a correlation, so that no kernel is flipped, and in and out change places.
        return array.transpose(2, 3, 1, 0)
    if array.ndim == 2:
        if flattened := _flattened_shape(layer):
            # Caffe flattens by channels, rows, columns, Keras by rows, columns, channels.
            rows, columns, channels = flattened
            array = array.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1)
        return array.reshape(len(array), -1).T
    return array


def _flattened_shape(layer: keras.Layer) -> tuple[int, int, int] | None:
    """Rows, columns and channels of the map that is flattened before this layer, if one is."""
    source = layer.input._keras_history.operation
    while isinstance(source, keras.layers.Dropout):
        source = source.input._keras_history.operation
    is_map = isinstance(source, keras.layers.Flatten) and len(source.input.shape) == 4
    return source.input.shape[1:] if is_map else None
