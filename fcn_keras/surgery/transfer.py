"""A net starts from a trained one: FCN-16s from FCN-32s, FCN-8s from FCN-16s, or for new classes.

Weights go from layer to layer of the same name. What only the finer net has are its skip scores,
which start at zero, and its upsampling, which starts bilinear: before the first step its scores
are those of the coarser net, upsampled (section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import keras
from keras import layers

from fcn_keras.errors import ConfigError
from fcn_keras.layers.alignment import CropLike
from fcn_keras.models.saving import Loaded, keras_model, load


class Start(NamedTuple):
    """Names of layers by where their weights come from; `left` are the coarser net's own."""

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
    """Gives a net the weights of a trained coarser one.

    Args:
        model: the finer net; its weights are replaced. A net of the same stride goes too: all of
            its layers are copied.
        source: the coarser net: its run or .keras file, what `load` gave, or a Keras model.
        reset_scores: what knows of the classes starts anew, scores at zero and upsampling bilinear;
            the two may then differ in classes, skips and skip scales.

    Returns:
        A `Start`: every layer with weights, of either net, is in it.

    Raises:
        ConfigError: the two differ in more than their skips: in backbone, head width, classes,
            skip scales, geometry.
        ModelError: the source cannot be loaded.
    """
    model = keras_model(model)
    coarse = keras_model(load(source) if isinstance(source, str | Path) else source)
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
            f"{source}: {coarse.name} has {classes[0]} classes, and {model.name} has {classes[1]}. "
            "--reset-scores (reset_scores=True) starts the layers of the scores anew and keeps "
            "all others."
        )
    fault = _difference(coarse, model, theirs, ours)
    if fault:
        raise ConfigError(
            f"{source}: {model.name} cannot start from {coarse.name}: {fault}. Both must have the "
            "same backbone, head width, classes, skip scales and geometry; the options of the run "
            "that made it are in its config.yaml."
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
    return start


def _difference(
    coarse: keras.Model,
    fine: keras.Model,
    theirs: dict[str, keras.Layer],
    ours: dict[str, keras.Layer],
) -> str | None:
    """What keeps the finer net from taking the coarser one's weights, in words; None if nothing."""
    left = [name for name in theirs if name not in ours and not _is_upsampling(name)]
    new = [name for name in ours if name not in theirs and not _is_upsampling(name)]
    strange = [name for name in new if not _is_score(name)]
    if left and not new and all(map(_is_score, left)):
        return f"it is the finer of the two, with {_listed(left)}"
    if _is_centred(coarse) != _is_centred(fine):
        return "one has the reference's geometry, the other has not"
    if left:
        return f"it has {_listed(left)}, {fine.name} has not"
    if strange:
        return f"it has no {_listed(strange)}"
    scales, needed = _scales_by_score(coarse), _scales_by_score(fine)
    for name in [name for name in ours if name in theirs]:
        there, here = ([tuple(w.shape) for w in net[name].weights] for net in (theirs, ours))
        if there != here:
            pair = next(pair for pair in zip_longest(there, here) if pair[0] != pair[1])
            return "a weight of {!r} has the shape {} there and {} here".format(name, *pair)
        if scales.get(name, 1.0) != needed.get(name, 1.0):
            return (
                f"what {name!r} scores is scaled by {scales.get(name, 1.0)} there and by "
                f"{needed.get(name, 1.0)} here"
            )
    return None


def _differing_classes(
    theirs: dict[str, keras.Layer], ours: dict[str, keras.Layer]
) -> tuple[int, int] | None:
    """The numbers of classes of two nets whose scores differ in nothing else; None if not so."""
    for name in filter(_is_score, theirs.keys() & ours.keys()):
        there, here = (net[name].weights[0].shape for net in (theirs, ours))
        if there != here and there[:-1] == here[:-1]:
            return there[-1], here[-1]
    return None


def _with_weights(model: keras.Model) -> dict[str, keras.Layer]:
    return {layer.name: layer for layer in model.layers if layer.weights}


def _scales_by_score(model: keras.Model) -> dict[str, float]:
    """The factors on the skips, by the name of the layer that scores them."""
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
