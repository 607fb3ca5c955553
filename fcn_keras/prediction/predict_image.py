"""From an image to its mask.

Images are RGB uint8 [h, w, 3], masks uint8 (uint16 above 255 classes) [h, w] of the image's size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.models.saving import Loaded, keras_model
from fcn_keras.prediction import tiles
from fcn_keras.prediction.signature import class_ids, input_signature
from fcn_keras.prediction.test_time_augmentation import mean_probabilities


def predict(
    model: keras.Model | Loaded,
    image: np.ndarray | dict[str, np.ndarray],
    *,
    tile: int | tuple[int, int] | None = None,
    overlap: int | tuple[int, int] | None = None,
    tta: bool = False,
) -> np.ndarray | dict[str, np.ndarray]:
    """The class of every pixel.

    Args:
        model: a Keras model: images `[b, h, w, 3]` -> logits `[b, h, w, classes]`.
        image: RGB, 0..255, `[h, w, 3]`, uint8 or float, also a `np.memmap`; for a model of several
            streams a dict of them.
        tile: the edge in pixels, or (rows, columns), of what goes through the net at once; memory
            is bounded by it, whatever the image's size. None for the whole image.
        overlap: pixels that neighbouring tiles share, at least. None for what the receptive field
            asks for: the logits are then the whole image's, but for rounding. Fewer are faster,
            and near the seams only nearly right.
        tta: test-time augmentation: the class of the highest mean probability over scales and the
            mirror image (`test_time_augmentation`). It takes about ten times as long, and
            memory as for an image of 1.5 times the height and width. In tiles it is only nearly
            that of the whole image, since resized tiles have grids of their own.

    Returns:
        Class ids `[h, w]`, uint8; uint16 above 255 classes. A dict of them by head, if the model
        has several.

    Raises:
        ConfigError: the image is no array of that shape, the names are not the model's, or the
            tiles are too small for the model.
        ModelError: the model's geometry is not known, so that it cannot be tiled.
    """
    model = keras_model(model)
    if not hasattr(model, "input"):
        raise ConfigError(
            f"model: must be a functional Keras model, found {type(model).__name__}. Give "
            "keras.Model(image, logits)."
        )
    expected = model.input
    if tile is None and overlap is not None:
        raise ConfigError(f"overlap={overlap!r}: is of tiles only. Give tile too.")
    if tile is not None and isinstance(expected, dict):
        raise ConfigError(f"tile: {model.name} has several images. Leave tile out.")
    if tile is not None:
        whole = _checked(image, expected, "image")
        cuts = tiles.cut(model, whole.shape[:2], tile, overlap)  # Refuses several heads.
        return tiles.stitch(
            lambda part: cast(np.ndarray, predict(model, part, tta=tta)), whole, cuts
        )
    if isinstance(expected, dict):
        if not isinstance(image, dict) or image.keys() != expected.keys():
            raise ConfigError(
                f"image: {model.name} takes a dict of the images {', '.join(expected)}."
            )
        image = {name: _as_pixels(image[name], expected[name], name) for name in expected}
    else:
        image = _as_pixels(image, expected, "image")
    kinds = tuple(pixels.dtype.name for pixels in keras.tree.flatten(image))
    images = keras.tree.map_structure(lambda pixels: tf.constant(pixels[None]), image)
    if tta:
        scores = mean_probabilities(_traced(model, kinds, tf.identity), images)
        masks = keras.tree.map_structure(class_ids, scores)
    else:
        masks = _traced(model, kinds, class_ids)(images)
    return keras.tree.map_structure(lambda mask: mask[0].numpy(), masks)


def _as_pixels(image: Any, expected: keras.KerasTensor, name: str) -> np.ndarray:
    image = np.asarray(_checked(image, expected, name))
    return image if image.dtype == np.uint8 else image.astype("float32")


def _checked(image: Any, expected: keras.KerasTensor, name: str) -> np.ndarray:
    channels = expected.shape[-1]
    shape = getattr(image, "shape", None)
    if shape is None or len(shape) != 3 or shape[-1] != channels:
        what = type(image).__name__ if shape is None else f"the shape {tuple(shape)}"
        raise ConfigError(
            f"{name}: must be an array [height, width, {channels}], found {what}. "
            "`pipelines.read_image` reads a file."
        )
    return image


def _traced(
    model: keras.Model, kinds: tuple[str, ...], finish: Callable[[tf.Tensor], tf.Tensor]
) -> tf.types.experimental.PolymorphicFunction:
    """`finish` of the logits of any image batch: one trace serves all sizes.

    `model.predict` is slower. It is kept with the model, past Keras's own tracking of attributes,
    and so goes with it.
    """
    functions = vars(model).setdefault("_fcn_keras_traced", {})
    if (kinds, finish) not in functions:

        @tf.function(input_signature=[input_signature(model, kinds)])
        def traced(images: tf.Tensor | dict[str, tf.Tensor]) -> tf.Tensor | dict[str, tf.Tensor]:
            return keras.tree.map_structure(finish, model(images, training=False))

        functions[kinds, finish] = traced
    return functions[kinds, finish]
