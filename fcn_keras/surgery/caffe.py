"""Loads Caffe weights into these models: the authors' FCNs and Caffe's classifiers.

Arrays have Caffe's axis order, as `read_caffemodel` returns them: [out, in, height, width] for a
convolution, [in, out, height, width] for a transposed one, [out, in] for a fully connected layer.
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
from fcn_keras.models.fcn import MODELS
from fcn_keras.models.modality import Modality
from fcn_keras.models.saving import keras_model
from fcn_keras.surgery.caffemodel import read_caffemodel

Blobs = dict[str, list[np.ndarray]]  # Arrays by layer of the file, as from `read_caffemodel`.


class LoadReport(NamedTuple):
    """Outcome for every layer with weights, in the file and in the model.

    Attributes:
        loaded: Layer of the file -> layer of the model.
        missing: Layers of the model without weights in the file.
        left_over: Layer of the file -> reason why it is not used.
    """

    loaded: dict[str, str]
    missing: tuple[str, ...]
    left_over: dict[str, str]


def load_weights(
    model: keras.Model, blobs_or_path: Blobs | str | Path, *, suffix: str = ""
) -> LoadReport:
    """Loads Caffe weights into a model; if anything does not fit, the model is unchanged.

    Layers are matched by the names of the reference implementation: `conv1_1` is `block1_conv1` in
    keras.applications, all other names are the same, with `_` instead of `/`. Kernels are
    transposed; those of fully connected layers also fit the equivalent convolutions. Channels stay
    BGR, the output order of `CaffePreprocessing`. A fixed `upscore...` or `scale_...` layer without
    weights in the model counts as loaded if it computes the same as the file's layer.

    Args:
        model: A Keras model, for example `fcn_keras.FCN8s(21, weights=None)`.
        blobs_or_path: The result of `read_caffemodel`, or the path of a .caffemodel file.
        suffix: Match a layer `NAME` + suffix of the file to the model's `NAME`, with priority over
            the file's `NAME`: "_sem" or "_geo" for a head of the SIFT Flow models, "color" or
            "hha" for an input of NYUDv2's late fusion.

    Returns:
        A `LoadReport`.

    Raises:
        ConfigError: An argument is not a model or a path.
        WeightsError: The file cannot be read, a shape does not fit the model, or the file and the
            model have no layer in common.
    """
    model = keras_model(model)
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
    """Builds the model that matches a .caffemodel file and loads its weights.

    The number of classes, the width of fc6 and fc7 and the skip scales are read from the file. The
    upsampling layers get weights if the file's are not bilinear.

    Args:
        path: A .caffemodel file.
        model: A key of `fcn_keras.MODELS`.
        backbone: A key of `fcn_keras.BACKBONES`.
        suffix: As in `load_weights`.
        geometry: As in `models.FCN32s`; the authors trained with "reference".
        mean: A key of `fcn_keras.MEANS`, the mean that was subtracted from the training images.

    Returns:
        The `keras.Model` and its `LoadReport`.

    Raises:
        WeightsError: As in `load_weights`, or the file has no score layer.
        ModelError: The model, backbone, geometry or mean is unknown.
    """
    if not isinstance(model, str) or model not in MODELS:
        raise ModelError(f"model={model!r}: unknown; choose one of {', '.join(MODELS)}.")
    inputs = {"image": Modality.with_mean_of(mean)}
    blobs = read_caffemodel(path)
    options = _options(blobs, suffix)
    if "num_classes" not in options:
        raise WeightsError(
            f"{path}: must contain a whole FCN, but has no layer 'score_fr{suffix}'. It has "
            f"{_listed(blobs)}. If the score layers have a different suffix, pass it as suffix "
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


# Match layers.


def _load(model: keras.Model, blobs: Blobs, suffix: str, where: str | Path) -> LoadReport:
    named = _by_model_name(blobs, suffix)
    options = " and ".join(f"{name}={value}" for name, value in _options(blobs, suffix).items())
    fix = f"Build the model with {options} to match the file" if options else "Build another model"
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
            f"{where}: has no layer of {model.name}. It has {_listed(blobs)}; the model has "
            f"{_listed(absent)}. Choose another file or model."
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
    """Returns the reference's layer name: block1_conv2 of keras.applications is conv1_2."""
    return re.sub(r"^block(\d)_conv(\d)$", r"conv\1_\2", name)


def _by_model_name(blobs: Blobs, suffix: str) -> dict[str, str]:
    """Maps reference names to the file's layers; Keras layer names cannot contain `/`."""
    if not isinstance(suffix, str):
        raise ModelError(f"suffix={suffix!r}: must be a text, such as '_sem'; '' for none.")
    named = {name.replace("/", "_"): name for name in blobs}
    if suffix:
        ending = {name: source for name, source in named.items() if name.endswith(suffix)}
        named |= {name.removesuffix(suffix): source for name, source in ending.items()}
    return named


def _options(blobs: Blobs, suffix: str) -> dict[str, Any]:
    """Returns num_classes and head_width of the file's model, from its bias sizes."""
    named = _by_model_name(blobs, suffix)
    names = {"num_classes": "score_fr", "head_width": "fc6"}
    return {key: blobs[named[name]][-1].size for key, name in names.items() if name in named}


def _scales_in_file(blobs: Blobs, suffix: str) -> tuple[float, ...]:
    """Returns the factors on pool4 and pool3: layers of the at-once FCN-8s, else 1."""
    named = _by_model_name(blobs, suffix)
    sources = [named.get(name) for name in ("scale_pool4", "scale_pool3")]
    # Via a string: the float32 0.01 should become 0.01, not 0.00999999977648258.
    return tuple(float(str(blobs[name][0].flat[0])) if name else 1.0 for name in sources)


def _unmatched(name: str, arrays: list[np.ndarray], absent: list[str]) -> str:
    if name.startswith("scale_"):
        return f"scales by {arrays[0].flat[0]:g}, the model does not scale: see skip_scales"
    for ours in sorted(absent, key=len, reverse=True):
        if name.startswith(ours):
            return f"the model has {ours!r}: did you mean suffix {name.removeprefix(ours)!r}?"
    return "the model has no such layer"


def _differs(arrays: list[np.ndarray], layer: keras.Layer) -> str | None:
    """Says why a layer without weights differs from the file's; None if they are the same."""
    kernel = arrays[0]
    if isinstance(layer, keras.layers.Rescaling):
        if all(np.allclose(array, layer.scale, rtol=1e-6, atol=0) for array in arrays):
            return None
        return f"scales by {kernel.flat[0]:g}, the model by {layer.scale:g}: see skip_scales"
    if not layer.name.startswith("upscore"):
        return "the model's layer of this name has no weights"
    if len(arrays) > 1 or not _is_bilinear(kernel):
        return "the filters are not bilinear: use a model with learn_upsampling=True"
    if kernel.shape[-1] != layer.kernel_size:
        return (
            f"the bilinear filters have size {kernel.shape[-1]}, the model's have size "
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


# Convert arrays.


def _converted(
    arrays: list[np.ndarray], layer: keras.Layer, where: str, fix: str
) -> list[np.ndarray]:
    """Converts the file's arrays to the axis order and shapes of the layer's weights."""
    shapes = [_caffe_shape(weight.shape) for weight in layer.weights]
    if len(arrays) != len(shapes):
        raise WeightsError(
            f"{where} has {len(arrays)} arrays, the model's {layer.name!r} takes {len(shapes)}. "
            f"{fix}, or choose another file."
        )
    for array, shape in zip(arrays, shapes, strict=True):
        connected = (shape[0], math.prod(shape[1:]))  # As a fully connected layer.
        if array.shape not in {(1,) * n + s for n in range(4) for s in (shape, connected)}:
            raise WeightsError(
                f"{where} has shape {list(array.shape)}, the model's {layer.name!r} takes "
                f"{list(shape)}. {fix}, or choose another file."
            )
        if not np.isfinite(array).all():
            raise WeightsError(
                f"{where} contains infinite or NaN values: the file is corrupt, or its training "
                "diverged. Download it again."
            )
    return [_to_keras(a.reshape(s), layer) for a, s in zip(arrays, shapes, strict=True)]


def _caffe_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """[h, w, in, out] -> [out, in, h, w]; transposed: [h, w, out, in] -> [in, out, h, w]."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
    return tuple(shape[axis] for axis in order)


def _to_keras(array: np.ndarray, layer: keras.Layer) -> np.ndarray:
    if array.ndim == 4:
        # The same order for both kinds: deconvolution in Caffe and transposed convolution in Keras
        # are the gradient of a correlation. So kernels are not flipped, and in and out swap.
        return array.transpose(2, 3, 1, 0)
    if array.ndim == 2:
        if flattened := _flattened_shape(layer):
            # Caffe flattens channels, rows, columns; Keras rows, columns, channels.
            rows, columns, channels = flattened
            array = array.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1)
        return array.reshape(len(array), -1).T
    return array


def _flattened_shape(layer: keras.Layer) -> tuple[int, int, int] | None:
    """Returns (rows, columns, channels) of the map flattened before this layer, or None."""
    source = layer.input._keras_history.operation
    while isinstance(source, keras.layers.Dropout):
        source = source.input._keras_history.operation
    is_map = isinstance(source, keras.layers.Flatten) and len(source.input.shape) == 4
    return source.input.shape[1:] if is_map else None
