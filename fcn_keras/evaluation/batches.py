"""Makes the batches for measuring a model; by name if it has several images or heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from fcn_keras.errors import ConfigError
from pipelines.batches.joint import joint_dataset
from pipelines.batches.tf_datasets import eval_dataset
from pipelines.split import Split


def batches_of(
    net: keras.Model, data: Split | Mapping[str, Split], batch_size: int = 1
) -> tuple[tf.data.Dataset, tuple[str, ...] | dict[str, tuple[str, ...]]]:
    """Makes batches from a split, or from several splits by the names of images and heads.

    A name may refer to an image, a head or both. A model with one image takes the image from the
    first split; a model with one head takes the masks from the first split.

    Args:
        net: A Keras model.
        data: A split, or splits of the same examples by name.
        batch_size: Images per batch; only images of equal size share a batch. Must be 1 if the
            model has several images or heads.

    Returns:
        Batches of images and masks, each a tensor or a dict; and the class names, by head if the
        model has several.

    Raises:
        ConfigError: Names are missing or unknown, a split has other classes than its head, or the
            batch size is not 1 for several images or heads.
    """
    check_splits(net, data)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size={batch_size!r}: must be a whole number, at least 1.")
    if isinstance(data, Split):
        return eval_dataset(data, batch_size=batch_size), data.class_names
    if batch_size != 1:
        raise ConfigError(
            f"batch_size={batch_size}: must be 1 if the model has several images or heads."
        )
    images, heads = _names(net.input), _names(net.output)
    first = next(iter(data.values()))
    batches = joint_dataset(
        {name: data[name] for name in images} if images else first,
        {head: data[head] for head in heads} if heads else first,
    )
    return batches, {head: data[head].class_names for head in heads} if heads else first.class_names


def check_data(data: Any) -> None:
    """Checks that data is a split, splits by name, or batches.

    Raises:
        ConfigError: It is something else, such as a data set's name.
    """
    if isinstance(data, str | Path):
        raise ConfigError(
            f"data={str(data)!r}: must be a split or batches, not a name. Give "
            f"pipelines.read({str(data)!r}, 'val')."
        )
    if isinstance(data, Mapping):
        fits = all(isinstance(one, Split) for one in data.values())
    else:  # Batches may be any iterable, but not a list of splits.
        several = isinstance(data, list | tuple) and any(isinstance(one, Split) for one in data)
        fits = isinstance(data, Split) or isinstance(data, Iterable) and not several
    if not fits:
        raise ConfigError(
            f"data: must be a split from pipelines.read, a dict of splits, or a tf.data.Dataset, "
            f"found {type(data).__name__}."
        )


def check_images(net: keras.Model) -> None:
    """Checks that a model takes images of any size.

    Raises:
        ConfigError: Its input has a fixed size.
    """
    for image in keras.tree.flatten(net.input):
        if tuple(image.shape[1:3]) != (None, None):
            raise ConfigError(
                f"model: {net.name} takes images of {image.shape[1]} x {image.shape[2]} pixels "
                "only. Build it with input_shape=(None, None, channels), and load these weights."
            )


def part_names(net: keras.Model) -> list[str]:
    """Returns the names of a model's images and heads; a single image or head has no name."""
    # A Sequential model has neither attribute before its first call.
    parts = (getattr(net, "input", None), getattr(net, "output", None))
    return list(dict.fromkeys(name for part in parts for name in _names(part)))


def check_splits(net: keras.Model, data: Split | Mapping[str, Split]) -> None:
    """Checks that a split, or splits by name, fit the model.

    Raises:
        ConfigError: Names are missing or unknown, or a split has other classes than its head.
    """
    names, heads = part_names(net), _names(net.output)
    if not names and net.input.shape[-1] != 3:
        raise ConfigError(
            f"data: {net.name} takes images of {net.input.shape[-1]} channels; a split has RGB "
            "images. Give batches of images and masks."
        )
    if isinstance(data, Split):
        if names:
            raise ConfigError(f"data: {_parts(net)}. Give a dict with a split for each.")
        _check_classes(net, data, net.output.shape[-1])
        return
    if not names:
        raise ConfigError(f"data: {net.name} has one image and one head. Give one split.")
    if unknown := [name for name in data if name not in names]:
        raise ConfigError(f"data: {', '.join(unknown)}: unknown; {_parts(net)}. Use these names.")
    if missing := [name for name in names if name not in data]:
        raise ConfigError(
            f"data: {', '.join(missing)}: missing; {_parts(net)}. Give a split for each."
        )
    for head in heads:
        _check_classes(net, data[head], net.output[head].shape[-1], head)
    if not heads:
        _check_classes(net, next(iter(data.values())), net.output.shape[-1])


def _names(tensors: keras.KerasTensor | dict[str, keras.KerasTensor] | None) -> list[str]:
    return list(tensors) if isinstance(tensors, dict) else []


def _parts(net: keras.Model) -> str:
    """Describes a model's images and heads for messages."""
    kinds = {"images": _names(net.input), "heads": _names(net.output)}
    parts = [f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names]
    return f"{net.name} has the {' and the '.join(parts)}"


def _check_classes(net: keras.Model, split: Split, count: int, head: str | None = None) -> None:
    if split.num_classes != count:
        what = net.name if head is None else f"the head {head!r} of {net.name}"
        raise ConfigError(
            f"data: {what} has {count} classes, {split.name} has {split.num_classes}. Give the "
            "data set that it was trained on."
        )
