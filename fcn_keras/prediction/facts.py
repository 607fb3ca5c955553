"""What an exported model says of itself: its classes, and its geometry for tiles.

ONNX files hold it as metadata, OpenVINO files as `rt_info`, LiteRT files have a `.labels.json`, and
SavedModels an `assets/labels.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.geometry.tiling import Tiling, tiling


@dataclass(frozen=True, eq=False)
class Facts:
    """The facts of an exported model; None where unknown.

    Attributes:
        num_classes: The number of classes of a model of one head.
        class_names: A name for each class.
        palette: Colours, uint8 `[classes, 3]`.
        values: The value of each class in the masks of the training data, uint8 `[classes]`.
        tiling: The geometry for tiles.
        images: For a model of several images, their names in its order.
    """

    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    palette: np.ndarray | None = None
    values: np.ndarray | None = None
    tiling: Tiling | None = None
    images: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns what is known as JSON values."""
        found = {
            "num_classes": self.num_classes,
            "class_names": None if self.class_names is None else list(self.class_names),
            "palette": None if self.palette is None else self.palette.tolist(),
            "values": None if self.values is None else self.values.tolist(),
            "tiling": None if self.tiling is None else self.tiling._asdict(),
            "images": None if self.images is None else list(self.images),
        }
        return {key: value for key, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Facts:
        """Returns the facts in the result of `to_json`; what does not fit is unknown."""
        names: Any = _list_or_none(content, "class_names", lambda name: isinstance(name, str))
        palette: Any = _list_or_none(content, "palette", _is_colour)
        values: Any = _list_or_none(content, "values", lambda value: _is_whole(value, 0, 255))
        images: Any = _list_or_none(content, "images", lambda name: isinstance(name, str))
        count = content.get("num_classes")
        if not _is_whole(count, 1, 65536):  # Earlier versions stored the names alone.
            count = len(names) if names else None
        if values is not None and len(set(values)) < len(values):
            values = None
        names, palette, values = (
            None if found is None or len(found) != count else found
            for found in (names, palette, values)
        )
        return cls(
            count,
            None if names is None else tuple(names),
            None if palette is None else np.array(palette, "uint8"),
            None if values is None else np.array(values, "uint8"),
            Tiling.from_json(content.get("tiling")),
            None if images is None else tuple(images),
        )


def facts_of(
    model: keras.Model,
    class_names: Sequence[str] | None = None,
    palette: np.ndarray | None = None,
    values: np.ndarray | None = None,
) -> Facts:
    """Collects the facts of a Keras model for its export; classes only of a model of one head.

    Raises:
        ConfigError: There is not one name, colour or value for each class.
    """
    images = tuple(model.input) if isinstance(model.input, dict) else None
    if isinstance(model.output, dict | list):
        return Facts(images=images)
    count = model.output.shape[-1]
    given = {"class_names": class_names, "palette": palette, "values": values}
    for what, entries in given.items():
        if entries is not None and len(entries) != count:
            raise ConfigError(
                f"{what}: must have one entry per class ({count}), found {len(entries)}."
            )
    try:
        geometry = tiling(model)
    except (ConfigError, ModelError):
        geometry = None
    return Facts(
        count,
        None if class_names is None else tuple(map(str, class_names)),
        None if palette is None else np.asarray(palette, "uint8"),
        None if values is None else np.asarray(values, "uint8"),
        geometry,
        images,
    )


def _list_or_none(
    content: Mapping[str, Any], key: str, fits: Callable[[Any], bool]
) -> list[Any] | None:
    found = content.get(key)
    return found if isinstance(found, list) and all(map(fits, found)) else None


def _is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_whole(x, 0, 255) for x in value)


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
