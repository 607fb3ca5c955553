"""Checks the options of FCN-32s, FCN-16s and FCN-8s, and returns them as plain Python values."""

from __future__ import annotations

import os
from typing import Any

import keras

from fcn_keras.arguments import flag, number, numbers_of, whole
from fcn_keras.errors import ModelError
from fcn_keras.models.backbones import BACKBONES
from fcn_keras.models.classifiers.conventions import checked_shape
from fcn_keras.models.modality import Modality, check_names, checked_inputs

GEOMETRIES = ("same", "reference")


def check_choices(backbone: Any, weights: Any, geometry: Any) -> None:
    """Checks the options that are names.

    Raises:
        ModelError: An option is unknown, or of another type.
    """
    is_known = isinstance(backbone, str) and backbone in BACKBONES
    if not is_known and not isinstance(backbone, keras.Model):
        raise ModelError(
            f"backbone={backbone!r}: unknown; choose one of {', '.join(BACKBONES)}, or pass a "
            "keras.Model."
        )
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise ModelError(f"weights={weights!r}: must be 'imagenet', the path of a file, or None.")
    if not isinstance(geometry, str) or geometry not in GEOMETRIES:
        raise ModelError(f"geometry={geometry!r}: must be one of {', '.join(GEOMETRIES)}.")


def check_name(name: Any) -> None:
    """Checks a model's name.

    Raises:
        ModelError: It is not a text, or contains a slash, which Keras rejects.
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise ModelError(f"name={name!r}: must be a text without '/'.")


def checked_width(head_width: Any) -> int | None:
    """Returns the channels of fc6 and fc7.

    Raises:
        ModelError: It is neither None nor an integer of at least 1.
    """
    width = whole(head_width)
    if head_width is not None and (width is None or width < 1):
        raise ModelError(f"head_width={head_width!r}: must be an integer of at least 1.")
    return width


def checked_dropout(dropout: Any) -> float:
    """Returns the dropout rate.

    Raises:
        ModelError: It is not a number of at least 0 and below 1.
    """
    rate = number(dropout)
    if rate is None or not 0 <= rate < 1:
        raise ModelError(f"dropout={dropout!r}: must be at least 0 and below 1; 0 for no dropout.")
    return rate


def checked_flag(name: str, value: Any) -> bool:
    """Returns an option that is on or off.

    Raises:
        ModelError: It is neither True nor False.
    """
    state = flag(value)
    if state is None:
        raise ModelError(f"{name}={value!r}: must be True or False.")
    return state


def checked_zoom(zoom: Any) -> float:
    """Returns the factor by which the model enlarges its image.

    Raises:
        ModelError: It is not a number from 0.1 to 10.
    """
    factor = number(zoom)
    if factor is None or not 0.1 <= factor <= 10:
        raise ModelError(f"zoom={zoom!r}: must be a number from 0.1 to 10; 1 changes nothing.")
    return factor


def checked_scales(skip_scales: Any, count: int) -> tuple[float, ...]:
    """Returns the factors on pool4 and pool3.

    Raises:
        ModelError: It is not a sequence of `count` finite numbers.
    """
    scales = numbers_of(skip_scales, count)
    if scales is None:
        raise ModelError(
            f"skip_scales={skip_scales!r}: must be {count} finite number{'s' * (count > 1)}, "
            "for pool4" + (" and pool3." if count == 2 else ", such as (1.0,).")
        )
    return scales


def checked_classes(num_classes: Any) -> int | dict[str, int]:
    """Returns the number of classes, or a dict of them by head.

    Raises:
        ModelError: A number is not an integer of at least 2, or a head's name is invalid.
    """
    if not isinstance(num_classes, dict):
        return _checked_count("num_classes", num_classes)
    if not num_classes:
        raise ModelError(
            "num_classes={}: must be a number, or a dict of head and number of classes, such as "
            '{"semantic": 33, "geometric": 3}.'
        )
    check_names("num_classes", num_classes)
    return {
        task: _checked_count(f"num_classes[{task!r}]", count) for task, count in num_classes.items()
    }


def size_and_inputs(
    input_shape: Any, inputs: Any
) -> tuple[tuple[int | None, ...], dict[str, Modality]]:
    """Returns height and width, None if unknown, and the inputs by name.

    Raises:
        ModelError: The shape or the inputs are invalid.
    """
    *size, channels = checked_shape(input_shape)
    if inputs is None:
        return tuple(size), {"image": Modality(channels=channels or 0)}
    if channels != 3:
        raise ModelError(
            f"input_shape={input_shape!r}: must have 3 channels if inputs is given. Set the number "
            "of channels in inputs."
        )
    return tuple(size), checked_inputs(inputs)


def _checked_count(name: str, num_classes: Any) -> int:
    count = whole(num_classes)
    if count is None or count < 2:
        raise ModelError(
            f"{name}={num_classes!r}: must be an integer of at least 2. Use 2 for background and "
            "object."
        )
    return count
