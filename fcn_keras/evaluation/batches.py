"""Makes the batches for measuring a model; by name if it has several images or heads."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.prediction.net import Net
from fcn_keras.prediction.predict_image import as_pixels, range_fault
from pipelines.batches.joint import joint_dataset
from pipelines.batches.tf_datasets import eval_dataset
from pipelines.split import Split


def batches_of(
    net: Net, data: Split | Mapping[str, Split], batch_size: int = 1
) -> tuple[tf.data.Dataset, tuple[str, ...] | dict[str, tuple[str, ...]]]:
    """Makes batches from a split, or from several splits by the names of images and heads.

    A name may refer to an image, a head or both. A model with one image takes the image from the
    first split; a model with one head takes the masks from the first split.

    Args:
        net: A model.
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


def skips_absent(net: Net, data: Any) -> bool | dict[str, bool]:
    """Returns `Split.skip_absent` of the data; a dict for several heads. False for batches."""
    if isinstance(data, Split):
        return data.skip_absent
    if not isinstance(data, Mapping):
        return False
    heads = _names(net.output)
    if not heads:
        return next(iter(data.values())).skip_absent
    return {head: data[head].skip_absent for head in heads if head in data}


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


def check_images(net: Net) -> None:
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


def check_classes_known(net: Net) -> None:
    """Checks that the number of classes is known; a file may have lost it.

    Raises:
        ConfigError: It is unknown.
    """
    if any(logits.shape[-1] is None for logits in keras.tree.flatten(net.output)):
        raise ConfigError(
            f"model: {net.name} does not say how many classes it has. Keep the .labels.json that "
            "export wrote beside it, or export the model again."
        )


def checked_batches(
    net: Net, data: Iterable[Any]
) -> Iterator[tuple[tf.Tensor | dict[str, tf.Tensor], np.ndarray | dict[str, np.ndarray]]]:
    """Yields the batches of images and masks, checked; warns once if pixels are not 0 to 255.

    Args:
        net: A model.
        data: Batches of images `[b, h, w, c]` and masks `[b, h, w]` or `[b, h, w, 1]`, each a dict
            if the model has several.

    Yields:
        Images, uint8 or float32, in the model's structure; and masks, integers `[b, h, w]`.

    Raises:
        ConfigError: A batch has another structure, shape or type.
    """
    has_warned = False
    for batch in data:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ConfigError(
                "data: each batch must be a pair of images and masks, found "
                f"{type(batch).__name__}"
                + (f" of {len(batch)}." if isinstance(batch, tuple | list) else ".")
            )
        images = _by_structure("images", batch[0], net.input, _image)
        faults = [fault for image in keras.tree.flatten(images) if (fault := range_fault(image))]
        if faults and not has_warned:
            has_warned = True
            warnings.warn(faults[0], stacklevel=4)  # The caller of `evaluate` or `calibrate`.
        masks = _by_structure("masks", batch[1], net.output, _mask)
        yield keras.tree.map_structure(tf.constant, images), masks


def kinds_of(images: tf.Tensor | dict[str, tf.Tensor]) -> tuple[str, ...]:
    """Returns the dtypes of a batch from `checked_batches`, for `signature.traced`."""
    return tuple(image.dtype.name for image in keras.tree.flatten(images))


def part_names(net: Net) -> list[str]:
    """Returns the names of a model's images and heads; a single image or head has no name."""
    # A Sequential model has neither attribute before its first call.
    parts = (getattr(net, "input", None), getattr(net, "output", None))
    return list(dict.fromkeys(name for part in parts for name in _names(part)))


def check_splits(net: Net, data: Split | Mapping[str, Split]) -> None:
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


def _by_structure(
    what: str, given: Any, expected: Any, checked: Callable[[str, np.ndarray, Any], np.ndarray]
) -> Any:
    """Applies a check to arrays that have the structure of the model's images or heads."""
    if not isinstance(expected, dict):
        return checked(what, _as_array(what, given), expected)
    if not isinstance(given, Mapping) or given.keys() != expected.keys():
        found = ", ".join(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
        raise ConfigError(
            f"data: the {what} of a batch must be a dict of {', '.join(expected)}, found {found}."
        )
    return {
        name: checked(f"{what}: {name}", _as_array(f"{what}: {name}", given[name]), expected[name])
        for name in expected
    }


def _as_array(what: str, given: Any) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"data: {what}: must be an array of numbers, found {array.dtype}.")
    return array


def _image(what: str, image: np.ndarray, expected: keras.KerasTensor) -> np.ndarray:
    channels = expected.shape[-1]
    if image.ndim != 4 or image.shape[-1] != channels or 0 in image.shape:
        raise ConfigError(
            f"data: {what}: must be batches [b, height, width, {channels}], found the shape "
            f"{image.shape}."
        )
    return as_pixels(image)


def _mask(what: str, mask: np.ndarray, expected: keras.KerasTensor) -> np.ndarray:
    if mask.ndim == 4 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.ndim != 3:
        raise ConfigError(
            f"data: {what}: must be class ids [b, height, width], found the shape {mask.shape}."
        )
    if mask.dtype.kind == "f" and not (mask == np.floor(mask)).all():
        raise ConfigError(
            f"data: {what}: class ids must be whole numbers, found fractions. Do not scale masks."
        )
    return mask if mask.dtype.kind in "iu" else mask.astype("int64")


def _names(tensors: keras.KerasTensor | dict[str, keras.KerasTensor] | None) -> list[str]:
    return list(tensors) if isinstance(tensors, dict) else []


def _parts(net: Net) -> str:
    """Describes a model's images and heads for messages."""
    kinds = {"images": _names(net.input), "heads": _names(net.output)}
    parts = [f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names]
    return f"{net.name} has the {' and the '.join(parts)}"


def _check_classes(net: Net, split: Split, count: int, head: str | None = None) -> None:
    if split.num_classes != count:
        what = net.name if head is None else f"the head {head!r} of {net.name}"
        raise ConfigError(
            f"data: {what} has {count} classes, {split.name} has {split.num_classes}. Give the "
            "data set that it was trained on."
        )
