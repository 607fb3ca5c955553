"""Films and cameras: every frame predicted, and written as a film of its size and speed.

OpenCV reads and writes. A film has no palette and its codec has losses: class ids are to be had
from images only.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from fcn_keras.errors import ConfigError
from fcn_keras.outputs import make_folder, remove_unfinished, replacing
from fcn_keras.prediction.pictures import colour_mask, overlay
from fcn_keras.prediction.predict_image import predict

if TYPE_CHECKING:
    import cv2
    import keras

ENDINGS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # Those that every build of OpenCV writes.
CAMERA = re.compile(r"camera:(\d+)")
CAMERA_RATE = 25.0  # Frames a second where the source does not say.


def is_video(source: str | Path) -> bool:
    """Whether a source is a film, by its name's ending, or `camera:0`."""
    return bool(CAMERA.fullmatch(str(source))) or Path(source).suffix.lower() in ENDINGS


def predict_video(
    model: keras.Model,
    source: str | Path,
    out: str | Path,
    palette: np.ndarray,
    *,
    picture: Literal["overlay", "mask"] = "overlay",
    frames: int | None = None,
    tile_of: Callable[[np.ndarray], int | None] | None = None,
    advance: Callable[[], object] | None = None,
) -> tuple[int, int]:
    """Predicts the frames of a film or camera into a film.

    A camera is read until `frames`, or Ctrl-C; what was written until then is kept. A film that is
    broken off is not: there is no half of it.

    Args:
        model: a Keras model: images `[b, h, w, 3]` -> logits `[b, h, w, classes]`.
        source: a film, or `camera:0`, `camera:1` ...
        out: the .mp4 or .avi file to make. Codecs know even sizes only: of an odd one the last row
            or column is left out.
        palette: uint8 `[classes, 3]`.
        picture: "overlay", the frame under its coloured mask, or "mask", the colours alone.
        frames: how many at most.
        tile_of: a function frame -> `tile` of `predict`. By default None: whole frames.
        advance: called after each frame.

    Returns:
        (frames written, frames that the film says it has; 0 if it does not).

    Raises:
        ConfigError: `out` is there or cannot be written, or the source cannot be read.
    """
    source, out = str(source), Path(out)
    check_output(out)
    with (
        replacing(out, by_suffix=True) as temporary,
        _quiet(),
        _opened(source) as (film, first, rate, announced),
        _writer() as write,
    ):
        count = 0
        frame: np.ndarray | None = first
        try:
            while frame is not None and (frames is None or count < frames):
                if frame.shape != first.shape:
                    raise ConfigError(
                        f"{source}: frame {count} is {_size(frame)} pixels, those before are "
                        f"{_size(first)}. Convert it to one size."
                    )
                image = np.ascontiguousarray(frame[..., ::-1])  # BGR
                mask = predict(model, image, tile=tile_of(image) if tile_of else None)
                mask = cast(np.ndarray, mask)  # Of one head.
                seen = colour_mask(mask, palette)
                if picture == "overlay":
                    seen = overlay(image, mask, palette)
                write(temporary, rate, np.ascontiguousarray(seen[..., ::-1]), out)
                count += 1
                if advance is not None:
                    advance()
                frame = _next(film)
        except KeyboardInterrupt:
            if not CAMERA.fullmatch(source) or not count:
                raise
    return count, announced


def check_output(out: str | Path) -> None:
    """Checks that a film can be written.

    Raises:
        ConfigError: its ending is of no codec, it is there, or its folder is not to be written to.
    """
    out = Path(out)
    if out.suffix.lower() not in CODECS:
        raise ConfigError(f"--out {out}: of a film must be a file that ends in .mp4 or .avi.")
    if out.exists():
        raise ConfigError(f"--out {out}: is there already. Choose another name, or delete it.")
    make_folder(out.parent)
    remove_unfinished(out.parent)


@contextlib.contextmanager
def _opened(source: str) -> Iterator[tuple[cv2.VideoCapture, np.ndarray, float, int]]:
    """(OpenCV's reader, first frame, frames a second, number of frames or 0) of a source."""
    import cv2

    camera = CAMERA.fullmatch(source)
    if not camera and not Path(source).is_file():
        raise ConfigError(f"{source}: no such file.")
    if camera:
        film = cv2.VideoCapture(int(camera[1]))
    else:  # Other readers print lines of their own, and take "%d" in a name for many files.
        film = cv2.VideoCapture(source, cv2.CAP_FFMPEG)
    try:
        first = _next(film) if film.isOpened() else None
        if first is None:
            why = (
                "no such camera, or it is in use. Try another number"
                if camera
                else "not a film, truncated, or of a codec that OpenCV does not read. Convert it "
                "to .mp4 (H.264), or replace the file"
            )
            raise ConfigError(f"{source}: {why}.")
        rate, announced = film.get(cv2.CAP_PROP_FPS), film.get(cv2.CAP_PROP_FRAME_COUNT)
        rate = rate if 0 < rate <= 1000 else CAMERA_RATE
        yield film, first, rate, 0 if camera or not announced > 0 else int(announced)
    finally:
        film.release()


@contextlib.contextmanager
def _writer() -> Iterator[Callable[[Path, float, np.ndarray, Path], None]]:
    """A function that writes a frame; it opens the file at the first one."""
    import cv2

    film: cv2.VideoWriter | None = None

    def write(path: Path, rate: float, frame: np.ndarray, out: Path) -> None:
        nonlocal film
        if film is None:
            codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()])
            film = cv2.VideoWriter(str(path), codec, rate, frame.shape[1::-1])
            if not film.isOpened():
                raise ConfigError(
                    f"--out {out}: OpenCV cannot write it ({_size(frame)} pixels). Try the other "
                    "of .mp4 and .avi, or another folder."
                )
        film.write(frame)

    try:
        yield write
    finally:
        if film is not None:
            film.release()


def _next(film: cv2.VideoCapture) -> np.ndarray | None:
    """The next frame, BGR uint8 `[h, w, 3]`; None at the end."""
    there, frame = film.read()
    return frame if there else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV without the lines it and FFmpeg print about files that they cannot read."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    from cv2.utils import logging

    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]} x {frame.shape[0]}"
