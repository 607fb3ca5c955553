"""The command `fcn-keras predict`: images, folders of them, films and cameras."""

import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

import typer

from fcn_keras.cli.options import RunOrModel, Tta
from fcn_keras.cli.terminal import console, import_tensorflow, print_warnings, progress_bar
from fcn_keras.errors import ConfigError

MAX_PIXELS = 500_000_000  # Tiles bound what the net takes; the image itself is 3 bytes a pixel.
AHEAD = 2  # Images that are read, and written, while another one is predicted.
BIG_FILE = 32_000_000  # Bytes; of such files one at a time is in memory.


def predict(
    model: RunOrModel,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...", help="Image files, or folders of them; or one film, or camera:0."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for NAME.png and NAME_overlay.png, or of a model with several heads "
            "NAME_HEAD.png and so on; of a film the .mp4 or .avi."
        ),
    ],
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|none|N",
            help="Edge in pixels of what goes through the net at once. auto: images above 8 "
            "megapixels in tiles of 1536. The result is the whole image's, but memory is bounded.",
        ),
    ] = "auto",
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Pixels that tiles share. Fewer are faster, and nearly right. [default: as many "
            "as the net sees around a pixel]",
        ),
    ] = None,
    tta: Tta = False,
    video: Annotated[
        Literal["overlay", "mask"],
        typer.Option(help="What the frames of a film show: the overlay, or colours alone."),
    ] = "overlay",
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of a film or camera, at most. [default: all; of a camera until Ctrl-C]"
        ),
    ] = None,
):
    """Writes the mask of each image, as a palette PNG of the image's size, and an overlay.

    Of a film, or a camera, it writes a film.
    """
    tile = _tile(tile)
    if tile is None and overlap is not None:
        raise ConfigError(f"--overlap {overlap}: is of tiles, and there are none with --tile none.")
    import_tensorflow()
    from fcn_keras.models import saving
    from fcn_keras.prediction import image_files
    from fcn_keras.prediction import predict_image as prediction
    from fcn_keras.prediction.video import is_video
    from pipelines import distinct_palette

    films = [source for source in images if is_video(source)]
    if films and (len(images) > 1 or tta or overlap is not None):
        raise ConfigError(
            f"{films[0]}: a film or camera is predicted alone, without other files, --tta and "
            "--overlap."
        )
    opened = saving.load_single(model, allow_heads=not films)
    count, heads = opened.num_classes, ()
    if isinstance(count, dict):
        heads, palette = tuple(count), {head: distinct_palette(n) for head, n in count.items()}
    else:
        palette = opened.palette if opened.palette is not None else distinct_palette(count)
    if films:
        _predict_film(opened.model, films[0], out, palette, tile, video, frames)
        return
    jobs = image_files.plan(images, out, heads)

    def mask_of(image):
        edge = _edge(tile, opened.model, image)
        shared = None if edge is None else overlap
        return prediction.predict(opened.model, image, tile=edge, overlap=shared, tta=tta)

    failed, notes = 0, []
    with progress_bar(f"predicting {len(jobs)} images", len(jobs)) as advance:
        for error in _predict_images(jobs, mask_of, palette, notes):
            advance()
            if error is not None:
                print(f"error: {error}", file=sys.stderr)
                failed += 1
    print_warnings(notes)
    where = f"; masks are in {out}" if failed < len(jobs) else ""
    console.print(f"{len(jobs) - failed} of {len(jobs)} images predicted{where}", soft_wrap=True)
    if failed:
        raise typer.Exit(2)


def _predict_images(jobs, mask_of, palette, notes):
    """Gives for each job, in order, None or the error of an image that has no mask.

    Other images are read and written meanwhile. However it ends, what is being written is written
    to its end.
    """
    from fcn_keras.prediction import image_files
    from pipelines import DataError, read_image

    def read(path):
        found = []  # Of this image, so that all are told in the order of the images.
        return read_image(path, found, max_pixels=MAX_PIXELS), found

    reader, writer = ThreadPoolExecutor(AHEAD), ThreadPoolExecutor(AHEAD)
    try:
        reading, writing = deque(), deque()
        ahead = iter(jobs)
        for source, *results in jobs:
            while len(reading) <= AHEAD and (job := next(ahead, None)) is not None:
                reading.append(None if _is_big(job[0]) else reader.submit(read, job[0]))
            future = reading.popleft()
            big = future is None
            try:
                image, found = read(source) if big else future.result()
                mask = mask_of(image)
            except DataError as error:
                yield error
                continue
            except ConfigError as error:  # The tiles are too small for an image of this size.
                yield ConfigError(f"{source}: {error}")
                continue
            del future
            notes += found
            writing.append(writer.submit(image_files.write, image, mask, palette, *results))
            del image, mask
            while len(writing) > (0 if big else AHEAD):
                writing.popleft().result()
            yield None
        for written in writing:
            written.result()
    finally:
        reader.shutdown(cancel_futures=True)
        writer.shutdown(cancel_futures=True)


def _predict_film(model, source, out, palette, tile, picture, frames):
    from fcn_keras.prediction.video import predict_video

    with progress_bar(f"predicting {source}", frames) as advance:
        count, announced = predict_video(
            model,
            source,
            out,
            palette,
            picture=picture,
            frames=frames,
            tile_of=lambda image: _edge(tile, model, image),
            advance=advance,
        )
    if count < min(announced, frames or announced) - 1:  # Some formats only estimate it.
        print(
            f"warning: {source}: ended after {count} of {announced} frames; its end is missing or "
            "damaged.",
            file=sys.stderr,
        )
    console.print(f"{count} frames predicted: {out}", soft_wrap=True)


def _tile(text):
    """The option --tile: "auto", None or a number."""
    if text in ("auto", "none"):
        return None if text == "none" else text
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--tile {text}: must be auto, none or a whole number of pixels.")
    return int(text)


def _edge(tile, model, image):
    """The edge of the tiles of an image, or None to predict it whole."""
    from fcn_keras.prediction import tiles

    if tile != "auto":
        return tile
    height, width = image.shape[:2]
    large = height * width > tiles.AUTO_PIXELS
    return tiles.AUTO_TILE if large and tiles.is_possible(model) else None


def _is_big(path):
    try:
        return path.stat().st_size > BIG_FILE
    except OSError:
        return False  # Reading it says what is wrong.
