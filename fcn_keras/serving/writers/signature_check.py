"""Comparison of a SavedModel's signatures with the Keras model: noise images, and photos.

The photos are JPEGs of all EXIF orientations, so that `encoded` is compared with what training
reads from such files.
"""

import gc
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from fcn_keras.prediction.readers import savedmodel
from fcn_keras.prediction.signature import as_input, input_signature
from fcn_keras.serving.agreement import compare
from fcn_keras.serving.messages import ENCODED, IMAGE_BYTES, MASK_BYTES
from fcn_keras.serving.signatures import endings
from pipelines.files.exif import ORIENTATION
from pipelines.files.images import read_image

CHECKED_SIZES = ((1, 1, 1), (2, 31, 31), (1, 45, 67))
PHOTO_SIZE = (20, 33, 3)  # Of the JPEGs that are compared.


def compare_signatures(
    model: keras.Model,
    path: Path,
    served: Mapping[str, savedmodel.SignatureSpecs],
    max_pixels: int,
    bound: float,
) -> tuple[float, float]:
    """Measures the error of the logits and the agreement of the masks; see `agreement.compare`.

    Args:
        model: The Keras model.
        path: The SavedModel.
        served: Its signatures, from `savedmodel.describe`.
        max_pixels: Upper limit on the pixels of a request; larger images are not compared.
        bound: As in `agreement.compare`.

    Returns:
        As `agreement.compare`.

    Raises:
        ModelError: As in `agreement.compare`.
    """
    rng = np.random.default_rng(0)
    specs = keras.tree.flatten(input_signature(model))
    batches = [
        {
            spec.name: rng.integers(0, 256, (*size, spec.shape[-1])).astype(spec.dtype.name)
            for spec in specs
        }
        for size in CHECKED_SIZES
        if math.prod(size) <= max_pixels
    ]
    fits = math.prod(PHOTO_SIZE[:2]) <= max_pixels
    photos = _turned_photos() if ENCODED in served and fits else []
    batches += [{specs[0].name: images} for images, _ in photos]
    expected: list[np.ndarray] = []
    for images in batches:
        logits = model(as_input(model, images.values()), training=False)
        expected += map(np.asarray, keras.tree.flatten(logits))
    heads = endings(model)
    logits = _run(path, "logits", batches, [f"logits{head}" for head in heads])
    masks = _run(path, "serving_default", batches, [f"mask{head}" for head in heads])
    result = compare(expected, list(zip(masks, logits, strict=True)), bound)
    if ENCODED in served:
        files = [
            [tf.io.encode_png(image).numpy() for image in images[specs[0].name]]
            for images in batches[: len(batches) - len(photos)]
        ]
        files += [of_photos for _, of_photos in photos]
        sent = [{IMAGE_BYTES: of_batch} for of_batch in files]
        masks = [_decoded(masks) for masks in _run(path, ENCODED, sent, [MASK_BYTES])]
        compare(expected, list(zip(masks, logits, strict=True)), bound)
    return result


def _turned_photos() -> list[tuple[np.ndarray, list[bytes]]]:
    """Makes a JPEG of each EXIF orientation: batches of one, as training reads the file."""
    rng = np.random.default_rng(0)
    photos = []
    for orientation in range(1, 9):
        exif, file = Image.Exif(), io.BytesIO()
        exif[ORIENTATION] = orientation
        exif.endian = "<>"[orientation % 2]
        Image.fromarray(rng.integers(0, 256, PHOTO_SIZE, "uint8")).save(file, "JPEG", exif=exif)
        content = file.getvalue()
        photos.append((read_image(_File(content))[None], [content]))
    return photos


class _File(NamedTuple):
    """A file in memory, as `read_image` takes it."""

    content: bytes

    def read_bytes(self) -> bytes:
        return self.content


def _run(
    path: Path,
    signature: str,
    batches: Iterable[Mapping[str, np.ndarray | list[bytes]]],
    names: Sequence[str],
) -> list[np.ndarray]:
    """Runs a signature on each batch and returns the named outputs in one flat list."""
    with savedmodel.open_signature(path, signature) as run:
        found = [
            outputs[name] for outputs in (run(**inputs) for inputs in batches) for name in names
        ]
    del run
    gc.collect()  # Graphs are reference cycles that hold gigabytes.
    return found


def _decoded(masks: Iterable[bytes]) -> np.ndarray:
    """Decodes PNG files of one size to masks `[n, h, w]`."""
    return np.stack([np.asarray(Image.open(io.BytesIO(mask))) for mask in masks])
