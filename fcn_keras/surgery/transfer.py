"""Initialises a model from a trained one: FCN-16s from FCN-32s, FCN-8s from FCN-16s, new classes.

Weights are copied between layers of the same name. The skip scores that only the finer model has
start at zero, and its upsampling starts bilinear. So before the first step, its scores are the
upsampled scores of the coarser model (section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import keras
from keras import layers

from fcn_keras.arguments import flag
from fcn_keras.errors import ConfigError
from fcn_keras.layers.alignment import CropLike
from fcn_keras.layers.upsampling import Bilinear
from fcn_keras.models.saving import Loaded, load, segmentation_model


class Start(NamedTuple):
    """Layer names by the origin of their weights.

    Attributes:
        copied: Layers whose weights are copied from the source.
        zero: Layers that start at zero.
        bilinear: Layers that start bilinear.
        left: Layers of the source that the model does not have.
    """

    copied: tuple[str, ...]
    zero: tuple[str, ...]
    bilinear: tuple[str, ...]
    left: tuple[str, ...]


def start_from(
    model: keras.Model | Loaded,
    source: str | Path | keras.Model | Loaded,
    *,
    reset_scores: bool = False,
) -> Start:
    """Copies the weights of a trained coarser model to a finer model.

    Args:
        model: The finer model; its weights are replaced. With a model of the same stride, all
            layers are copied.
        source: The coarser model: its run or .keras file, the result of `load`, or a Keras model.
        reset_scores: Reset all class-dependent layers: scores start at zero, upsampling starts
            bilinear. The models may then differ in classes, skips and skip scales.

    Returns:
        A `Start` that lists every layer with weights of both models.

    Raises:
        ConfigError: An argument is not a model, or the models differ in more than their skips: in
            backbone, head width, classes, skip scales or geometry.
        ModelError: The source cannot be loaded.
    """
    model = segmentation_model(model)
    origin, net = "source", source
    if isinstance(source, str | Path):
        origin, net = str(source), load(source)
    coarse = segmentation_model(net, "source")
    if flag(reset_scores) is None:
        raise ConfigError(f"reset_scores={reset_scores!r}: must be True or False.")
    theirs, ours = _with_weights(coarse), _with_weights(model)
    if reset_scores:
        theirs = {
            name: layer
            for name, layer in theirs.items()
            if not _is_score(name) and not _is_upsampling(name)
        }
    classes = _differing_classes(theirs, ours)
    if classes:
        raise ConfigError(
            f"{origin}: {coarse.name} has {classes[0]} classes, but {model.name} has {classes[1]}. "
            "Use --reset-scores (reset_scores=True) to reset the score layers and keep all others."
        )
    fault = _difference(coarse, model, theirs, ours)
    if fault:
        raise ConfigError(
            f"{origin}: {model.name} cannot start from {coarse.name}: {fault}. Both must have the "
            "same backbone, head width, classes, skip scales and geometry; the options of the "
            "source's run are in its config.yaml."
        )
    new = [name for name in ours if name not in theirs]
    start = Start(
        copied=tuple(name for name in ours if name in theirs),
        zero=tuple(name for name in new if _is_score(name)),
        bilinear=tuple(name for name in new if _is_upsampling(name)),
        left=tuple(name for name in _with_weights(coarse) if name not in ours),
    )
    for name in start.copied:
        ours[name].set_weights(theirs[name].get_weights())
    for name in start.zero:
        ours[name].set_weights([0 * weight for weight in ours[name].get_weights()])
    for name in start.bilinear:
        ours[name].set_weights([Bilinear()(weight.shape) for weight in ours[name].weights])
    return start


def _difference(
    coarse: keras.Model,
    fine: keras.Model,
    theirs: dict[str, keras.Layer],
    ours: dict[str, keras.Layer],
) -> str | None:
    """Says why the finer model cannot take the coarser one's weights; None if it can."""
    left = [name for name in theirs if name not in ours and not _is_upsampling(name)]
    new = [name for name in ours if name not in theirs and not _is_upsampling(name)]
    unknown = [name for name in new if not _is_score(name)]
    if left and not new and all(map(_is_score, left)):
        return f"the source is the finer model, with {_listed(left)}"
    if _is_centred(coarse) != _is_centred(fine):
        return "only one of them has the reference geometry"
    if left:
        return f"{fine.name} has no {_listed(left)}"
    if unknown:
        return f"{coarse.name} has no {_listed(unknown)}"
    scales, needed = _scales_by_score(coarse), _scales_by_score(fine)
    for name in [name for name in ours if name in theirs]:
        there, here = ([tuple(w.shape) for w in net[name].weights] for net in (theirs, ours))
        if there != here:
            source_shape, shape = next(
                pair for pair in zip_longest(there, here) if pair[0] != pair[1]
            )
            return f"a weight of {name!r} has shape {source_shape} in the source and {shape} here"
        if scales.get(name, 1.0) != needed.get(name, 1.0):
            return (
                f"the input of {name!r} is scaled by {scales.get(name, 1.0)} in the source and by "
                f"{needed.get(name, 1.0)} here"
            )
    return None


def _differing_classes(
    theirs: dict[str, keras.Layer], ours: dict[str, keras.Layer]
) -> tuple[int, int] | None:
    """Returns both numbers of classes if the scores differ in nothing else, else None."""
    for name in filter(_is_score, theirs.keys() & ours.keys()):
        there, here = (net[name].weights[0].shape for net in (theirs, ours))
        if there != here and there[:-1] == here[:-1]:
            return there[-1], here[-1]
    return None


def _with_weights(model: keras.Model) -> dict[str, keras.Layer]:
    return {layer.name: layer for layer in model.layers if layer.weights}


def _scales_by_score(model: keras.Model) -> dict[str, float]:
    """Returns the skip scales by the name of the layer that scores the skip."""
    return {
        layer.name.replace("scale", "score"): layer.scale
        for layer in model.layers
        if isinstance(layer, layers.Rescaling) and layer.name.startswith("scale_")
    }


def _is_centred(model: keras.Model) -> bool:
    return all(layer.offset is None for layer in model.layers if isinstance(layer, CropLike))


def _is_score(name: str) -> bool:
    return name.startswith("score_")


def _is_upsampling(name: str) -> bool:
    return name.startswith("upscore")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more layers" if len(names) > 3 else "")
