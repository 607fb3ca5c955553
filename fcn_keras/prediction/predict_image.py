"""Predicts the mask of an image.

Images are RGB, uint8 `[h, w, 3]`; masks are `[h, w]`, uint8, or uint16 above 255 classes.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, cast

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.models.saving import Loaded
from fcn_keras.prediction import tiles
from fcn_keras.prediction.exported_model import ExportedModel
from fcn_keras.prediction.net import Images, Net, net_of
from fcn_keras.prediction.signature import class_ids
from fcn_keras.prediction.test_time_augmentation import mean_probabilities


def predict(
    model: keras.Model | Loaded | ExportedModel,
    image: np.ndarray | dict[str, np.ndarray],
    *,
    tile: int | tuple[int, int] | Literal["auto"] | None = None,
    overlap: int | tuple[int, int] | None = None,
    tta: bool = False,
) -> np.ndarray | Any:  # A dict only of models with several heads.
    """Predicts the class of every pixel.

    Warns if pixels are not 0 to 255, for example because an image was divided by 255.

    Args:
        model: A Keras model from images `[b, h, w, 3]` to logits `[b, h, w, classes]`, or the
            result of `load`, also of an exported file.
        image: An RGB image `[h, w, 3]`, 0..255, uint8 or float (exported files take uint8 only); a
            `np.memmap` works too. For a model of several images, a dict of them.
        tile: The largest edge of a tile in pixels, or (rows, columns). The model sees one tile at a
            time, which bounds the memory for any image size. None predicts the whole image at once,
            "auto" images above 8 megapixels in tiles of 1536 if the model's geometry is known.
        overlap: The least number of pixels that neighbouring tiles share. None derives it from the
            receptive field: the logits then equal the whole image's, except for rounding. A smaller
            overlap is faster, but only approximate near the seams.
        tta: Test-time augmentation: the class with the highest mean probability over several scales
            and the mirrored image (`test_time_augmentation`). It takes about ten times as long, and
            as much memory as an image of 1.5 times the height and width. In tiles it only
            approximates the whole image's result, because resized tiles have their own grids.

    Returns:
        Class ids `[h, w]`, uint8; uint16 above 255 classes. A dict of them by head if the model has
        several heads.

    Raises:
        ConfigError: The model is not functional, the image is not an array of that shape, the names
            are not the model's, the tiles are too small for the model, or `tta` needs logits that
            an exported file does not return.
        ModelError: The model cannot be tiled because its geometry is unknown.
    """
    net = net_of(model)
    expected = net.input
    if tile is None and overlap is not None:
        raise ConfigError(f"overlap={overlap!r}: is only used with tiles. Pass tile too.")
    if tile not in (None, "auto") and isinstance(expected, dict):
        raise ConfigError(
            f"tile: {net.name} has several images; only one can be tiled. Leave tile out."
        )
    whole: np.ndarray | dict[str, np.ndarray]
    if isinstance(expected, dict):
        if not isinstance(image, dict) or image.keys() != expected.keys():
            raise ConfigError(
                f"image: must be a dict with the images {', '.join(expected)} for {net.name}."
            )
        whole = {name: _checked(image[name], expected[name], name) for name in expected}
        if net.needs_one_size:
            _check_sizes(whole)
    else:
        whole = _checked(image, expected, "image")
    for fault in filter(None, map(range_fault, keras.tree.flatten(whole))):
        warnings.warn(fault, stacklevel=2)
    if isinstance(whole, dict):
        return _predict(net, whole, tta)
    return predict_checked(net, whole, tile, overlap, tta)


def predict_checked(
    net: Net,
    image: np.ndarray,
    tile: int | tuple[int, int] | Literal["auto"] | None,
    overlap: int | tuple[int, int] | None,
    tta: bool,
) -> np.ndarray | Any:
    """Predicts one image like `predict`, without its checks and warnings."""
    edge = tiles.edge_for(net, image.shape[:2], tile)
    if edge is None:
        return _predict(net, image, tta)
    cuts = tiles.cut(net, image.shape[:2], edge, overlap)  # Refuses several heads.
    return tiles.stitch(lambda part: cast(np.ndarray, _predict(net, part, tta)), image, cuts)


def masks_of(net: Net, images: Images, tta: bool = False) -> np.ndarray | dict[str, np.ndarray]:
    """Computes the class ids of a batch of images.

    Args:
        net: A model.
        images: A tensor `[b, h, w, c]`, uint8 or float32; a dict of them if the model has several.
        tta: As in `predict`.

    Returns:
        Class ids `[b, h, w]`; a dict of them by head if the model has several heads.

    Raises:
        ConfigError: `tta` needs logits, which the model does not return.
    """
    if not tta:
        return net.masks(images)
    net.check_logits()
    scores = mean_probabilities(net.logits, images)
    return keras.tree.map_structure(lambda score: class_ids(score).numpy(), scores)


def range_fault(image: np.ndarray) -> str | None:
    """Describes the range of images whose pixels cannot be 0..255 colours; None if they can.

    Args:
        image: One image `[h, w, c]` or several `[b, h, w, c]`.
    """
    if image.dtype == np.uint8 or image.shape[-1] != 3:  # Other channels, such as depth.
        return None
    low, high = float(np.min(image)), float(np.max(image))
    if low >= -0.5 and high <= 255.5 and not 0 < high <= 1:
        return None
    return (
        f"image: its pixels must be 0 to 255, found {low:.3g} to {high:.5g}. The prediction will "
        "be poor. Undo the normalisation: an image of 0 to 1, for example, must be multiplied by "
        "255."
    )


def as_pixels(image: np.ndarray) -> np.ndarray:
    """Returns an image, or several, as uint8 or float32."""
    pixels = np.asarray(image)
    return pixels if pixels.dtype == np.uint8 else pixels.astype("float32")


def _predict(
    net: Net, image: np.ndarray | dict[str, np.ndarray], tta: bool
) -> np.ndarray | dict[str, np.ndarray]:
    batch = keras.tree.map_structure(lambda pixels: tf.constant(as_pixels(pixels)[None]), image)
    return keras.tree.map_structure(lambda mask: mask[0], masks_of(net, batch, tta))


def _checked(image: Any, expected: keras.KerasTensor, name: str) -> np.ndarray:
    channels = expected.shape[-1]
    shape = getattr(image, "shape", None)
    if shape is None or len(shape) != 3 or shape[-1] != channels or 0 in shape:
        what = type(image).__name__ if shape is None else f"the shape {tuple(shape)}"
        raise ConfigError(
            f"{name}: must be an array [height, width, {channels}], found {what}. "
            "To read a file, use `pipelines.read_image`."
        )
    return image


def _check_sizes(images: dict[str, np.ndarray]) -> None:
    sizes = {name: "{} x {}".format(*image.shape[:2]) for name, image in images.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ConfigError(
            f"image: the images must have the same height and width, found {found}. Resize them to "
            "one size."
        )
