"""Predicts image files; reading the next images and writing the last masks run in parallel.

Files that cannot be read, and images that cannot be tiled, are skipped; the others are predicted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from fcn_keras.errors import ConfigError
from fcn_keras.prediction import image_files, tiles
from fcn_keras.prediction.exported_model import ExportedModel
from fcn_keras.prediction.pictures import Look
from fcn_keras.prediction.precision import Precision, fastest
from fcn_keras.prediction.predict_image import predict
from pipelines.errors import DataError
from pipelines.files.images import read_image

MAX_PIXELS = 500_000_000  # Tiles limit the model's memory; the image takes 3 bytes per pixel.
AHEAD = 2  # Images that are read or written while another one is predicted.
BIG_FILE = 32_000_000  # Bytes; only one of such files is in memory at a time.


def predict_files(
    model: keras.Model | ExportedModel,
    jobs: Sequence[image_files.Job],
    look: Look | Mapping[str, Look],
    *,
    tile: int | Literal["auto"] | None = "auto",
    overlap: int | None = None,
    tta: bool = False,
    precision: Precision = "auto",
    notes: list[DataError] | None = None,
    tell: Callable[[str], object] = print,
) -> Iterator[DataError | ConfigError | None]:
    """Predicts images from files and writes their masks and overlays.

    Files that are being written are finished, even after an error or Ctrl-C.

    Args:
        model: A Keras model or an exported one.
        jobs: The result of `image_files.plan`.
        look: As in `image_files.write`.
        tile: As in `predict`; "auto" tiles images above 8 megapixels.
        overlap: As in `predict`; ignored for images that are not tiled.
        tta: As in `predict`.
        precision: As in `fastest`.
        notes: A list to which warnings about images that could still be read are appended, in
            order.
        tell: Receives a line about the precision, if it is not the model's own, and one if images
            are predicted whole although they are large.

    Yields:
        For each job, in order, None or the error because of which it has no mask.
    """
    notes = [] if notes is None else notes
    net: keras.Model | ExportedModel | None = None
    has_told = False
    writing: deque[Future] = deque()
    with ThreadPoolExecutor(AHEAD) as writer:
        for job, future in _read_ahead(jobs):
            image, found = _read(job) if future is None else future.result()
            del future  # It refers to the image.
            if isinstance(image, DataError):
                yield image
                continue
            notes += found
            if net is None:
                net, line = fastest(model, image, len(jobs), precision)
                if line:
                    tell(line)
            shown = next(iter(image.values())) if isinstance(image, dict) else image
            edge = tiles.edge_for(net, shown.shape[:2], tile)
            shared = None if edge is None else overlap
            if tile == "auto" and edge is None and tiles.is_large(shown.shape[:2]) and not has_told:
                has_told = True
                tell(f"{job.first}: predicted whole, because {net.name} cannot be tiled")
            try:
                mask = predict(net, image, tile=edge, overlap=shared, tta=tta)
            except ConfigError as error:  # The tiles are too small for this image.
                yield ConfigError(f"{job.first}: {error}")
                continue
            writing.append(writer.submit(image_files.write, shown, mask, look, job.results))
            del image, shown, mask
            while len(writing) > (0 if _is_big(job.first) else AHEAD):
                writing.popleft().result()
            yield None
        for written in writing:
            written.result()


def _read_ahead(
    jobs: Sequence[image_files.Job],
) -> Iterator[tuple[image_files.Job, Future | None]]:
    """Yields each job with the future of its image; None for a big file, which is read alone."""
    with ThreadPoolExecutor(AHEAD) as reader:
        reading: deque[Future | None] = deque()
        ahead = iter(jobs)
        try:
            for job in jobs:
                while len(reading) <= AHEAD and (following := next(ahead, None)) is not None:
                    is_big = _is_big(following.first)
                    reading.append(None if is_big else reader.submit(_read, following))
                yield job, reading.popleft()
        finally:
            reader.shutdown(cancel_futures=True)


def _read(
    job: image_files.Job,
) -> tuple[np.ndarray | dict[str, np.ndarray] | DataError, list[DataError]]:
    """Reads an image, or several by name, and returns it or the error, and warnings about it."""
    found: list[DataError] = []
    try:
        if isinstance(job.images, dict):
            images = {
                name: read_image(path, found, max_pixels=MAX_PIXELS)
                for name, path in job.images.items()
            }
            return images, found
        return read_image(job.images, found, max_pixels=MAX_PIXELS), found
    except DataError as error:
        return error, found


def _is_big(path: Path) -> bool:
    try:
        return path.stat().st_size > BIG_FILE
    except OSError:
        return False  # Reading it reports the error.
