"""Predicts videos and cameras, frame by frame, into a video of the same size and frame rate.

OpenCV reads and writes the frames. Videos have no palette and their codecs are lossy, so exact
class ids are available from images only.
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
from fcn_keras.prediction.pictures import Look, colour_mask, overlay
from fcn_keras.prediction.precision import Precision, fastest
from fcn_keras.prediction.predict_image import predict

if TYPE_CHECKING:
    import cv2
    import keras

    from fcn_keras.prediction.exported_model import ExportedModel

ENDINGS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # Every build of OpenCV can write these.
CAMERA = re.compile(r"camera:(\d+)")
NO_CAMERA = 2**31 - 1  # OpenCV's largest number.
CAMERA_FRAMES = 1000  # A guess, to choose the precision.
CAMERA_RATE = 25.0  # Frames per second if the source does not report them.


def is_video(source: str | Path) -> bool:
    """Whether a source is a video, judged by its extension, or a camera such as `camera:0`."""
    return bool(CAMERA.fullmatch(str(source))) or Path(source).suffix.lower() in ENDINGS


def predict_video(
    model: keras.Model | ExportedModel,
    source: str | Path,
    out: str | Path,
    look: Look,
    *,
    picture: Literal["overlay", "mask"] = "overlay",
    frames: int | None = None,
    precision: Precision = "auto",
    tile_of: Callable[[np.ndarray], int | tuple[int, int] | None] | None = None,
    advance: Callable[[], object] | None = None,
    tell: Callable[[str], object] = print,
) -> tuple[int, int]:
    """Predicts the frames of a video or camera and writes them as a video.

    A camera is read until `frames` or Ctrl-C, and the frames written so far are kept. An
    interrupted video leaves no output file.

    Args:
        model: A Keras model from images `[b, h, w, 3]` to logits `[b, h, w, classes]`, or an
            exported one.
        source: A video file, or `camera:0`, `camera:1` ...
        out: The .mp4 or .avi file to write. Codecs support only even sizes: if a size is odd, the
            last row or column is left out.
        look: How masks are shown.
        picture: "overlay" for the frame under its coloured mask, or "mask" for the colours alone.
        frames: The largest number of frames.
        precision: As in `fastest`.
        tile_of: A function from a frame to the argument `tile` of `predict`. By default None, which
            predicts whole frames.
        advance: Called after each frame.
        tell: Receives a line about the precision, if it is not the model's own.

    Returns:
        (frames written, frames that the video reports; 0 if it reports none).

    Raises:
        ConfigError: `out` exists or cannot be written, or the source cannot be read.
    """
    source, out = str(source), Path(out)
    check_output(out)
    with replacing(out, by_suffix=True) as temporary, _quiet():
        with _open_source(source) as (reader, first, rate, reported), _writer() as write:
            expected = frames or reported or CAMERA_FRAMES
            net, line = fastest(model, _rgb(first), expected, precision)
            if line:
                tell(line)
            count = 0
            frame: np.ndarray | None = first
            try:
                while frame is not None and (frames is None or count < frames):
                    if frame.shape != first.shape:
                        raise ConfigError(
                            f"{source}: all frames must have one size, found {_size(first)} and "
                            f"then {_size(frame)} pixels at frame {count}. Convert the video to "
                            "one size."
                        )
                    image = _rgb(frame)
                    mask = predict(net, image, tile=tile_of(image) if tile_of else None)
                    mask = cast(np.ndarray, mask)  # The model has one head.
                    seen = colour_mask(mask, look.palette)
                    if picture == "overlay":
                        seen = overlay(image, mask, look.palette, background=look.background)
                    write(temporary, rate, np.ascontiguousarray(seen[..., ::-1]), out)
                    count += 1
                    if advance is not None:
                        advance()
                    frame = _next(reader)
            except KeyboardInterrupt:
                if not CAMERA.fullmatch(source) or not count:
                    raise
        if _frame_count(temporary) < count:
            raise ConfigError(
                f"--out {out}: the video could not be written completely. Free some disk space, or "
                "choose another folder."
            )
    return count, reported


def check_output(out: str | Path) -> None:
    """Checks that a video can be written.

    Raises:
        ConfigError: The extension is unsupported, the file exists, or the folder is not writable.
    """
    out = Path(out)
    if out.suffix.lower() not in CODECS:
        raise ConfigError(f"--out {out}: must be a file that ends in .mp4 or .avi for a video.")
    if out.exists():
        raise ConfigError(f"--out {out}: exists already. Choose another name, or delete it.")
    make_folder(out.parent)
    remove_unfinished(out.parent)


@contextlib.contextmanager
def _open_source(source: str) -> Iterator[tuple[cv2.VideoCapture, np.ndarray, float, int]]:
    """Opens a source: (OpenCV's reader, first frame, frames per second, number of frames or 0)."""
    import cv2

    camera = CAMERA.fullmatch(source)
    if not camera and not Path(source).is_file():
        raise ConfigError(f"{source}: no such file.")
    if camera:
        reader = cv2.VideoCapture(int(camera[1]) if len(camera[1]) < 10 else NO_CAMERA)
    else:  # Other readers print messages, and read "%d" in a name as a pattern.
        reader = cv2.VideoCapture(source, cv2.CAP_FFMPEG)
    try:
        first = _next(reader) if reader.isOpened() else None
        if first is None:
            why = (
                "no such camera, or it is in use. Try another number"
                if camera
                else "not a video, truncated, or in a codec that OpenCV cannot read. Convert it "
                "to .mp4 (H.264), or replace the file"
            )
            raise ConfigError(f"{source}: {why}.")
        rate, reported = reader.get(cv2.CAP_PROP_FPS), reader.get(cv2.CAP_PROP_FRAME_COUNT)
        rate = rate if 0 < rate <= 1000 else CAMERA_RATE
        yield reader, first, rate, 0 if camera or not reported > 0 else int(reported)
    finally:
        reader.release()


@contextlib.contextmanager
def _writer() -> Iterator[Callable[[Path, float, np.ndarray, Path], None]]:
    """Yields a function that writes a frame; the first frame opens the file."""
    import cv2

    writer: cv2.VideoWriter | None = None

    def write(path: Path, rate: float, frame: np.ndarray, out: Path) -> None:
        nonlocal writer
        if writer is None:
            codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()])
            writer = cv2.VideoWriter(str(path), codec, rate, frame.shape[1::-1])
            if not writer.isOpened():
                raise ConfigError(
                    f"--out {out}: OpenCV cannot write it ({_size(frame)} pixels). Try the other "
                    "of .mp4 and .avi, free some disk space, or choose another folder."
                )
        writer.write(frame)

    try:
        yield write
    finally:
        if writer is not None:
            writer.release()


def _frame_count(path: Path) -> int:
    """Counts the frames of a written video: OpenCV does not report errors of writing."""
    import cv2

    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return sum(1 for _ in iter(reader.grab, False))
    finally:
        reader.release()


def _rgb(frame: np.ndarray) -> np.ndarray:
    """Turns a frame of OpenCV, BGR, into RGB."""
    return np.ascontiguousarray(frame[..., ::-1])


def _next(reader: cv2.VideoCapture) -> np.ndarray | None:
    """Reads the next frame, BGR uint8 `[h, w, 3]`; None at the end."""
    is_read, frame = reader.read()
    return frame if is_read else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what OpenCV and FFmpeg print about files that they cannot read."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    from cv2.utils import logging

    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]} x {frame.shape[0]}"
