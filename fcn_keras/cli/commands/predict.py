"""The command `fcn-keras predict`: images, folders of images, videos and cameras."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fcn_keras.cli.options import AnyModel, Tile, Tta, tile_edge
from fcn_keras.cli.terminal import console, import_tensorflow, print_warnings, progress_bar, say
from fcn_keras.errors import ConfigError

if TYPE_CHECKING:
    import keras

    from fcn_keras.prediction.exported_model import ExportedModel
    from fcn_keras.prediction.pictures import Look
    from fcn_keras.prediction.precision import Precision


def predict(
    model: AnyModel,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...",
            help="Image files or folders; or one video, or camera:0. If the model has several "
            "images, NAME=IMAGES for each.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for NAME.png and NAME_overlay.png (NAME_HEAD.png and so on if the model "
            "has several heads); for a video, the .mp4 or .avi file."
        ),
    ],
    overlay: Annotated[
        Literal["png", "jpg", "none"],
        typer.Option(help="Format of the overlays; none: write masks alone."),
    ] = "png",
    tile: Tile = "auto",
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Overlap of the tiles in pixels. Less is faster, but only nearly exact. "
            "[default: the receptive field]",
        ),
    ] = None,
    tta: Tta = False,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(
            help="Precision to compute in. auto: on a CPU, bfloat16 if it has instructions for it; "
            "on a GPU, the model's own. Of exported files, only .xml (OpenVINO) can choose."
        ),
    ] = "auto",
    values: Annotated[
        bool,
        typer.Option(
            "--values",
            help="Write the mask values of the training data (`value` and `offset` in its YAML "
            "file) in place of class ids.",
        ),
    ] = False,
    video: Annotated[
        Literal["overlay", "mask"],
        typer.Option(help="Frames of an output video: the overlay, or only the colours."),
    ] = "overlay",
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, help="Maximum number of frames. [default: all; for a camera, until Ctrl-C]"
        ),
    ] = None,
) -> None:
    """Writes a mask and an overlay per image; masks are palette PNGs of the image's size.

    For a video or a camera, writes a video.
    """
    edge = tile_edge(tile)
    if edge is None and overlap is not None:
        raise ConfigError(f"--overlap {overlap}: needs tiles. Leave out --tile none, or --overlap.")
    import_tensorflow()
    from fcn_keras.cli.opening import quietly
    from fcn_keras.prediction import image_files
    from fcn_keras.prediction.net import net_of
    from fcn_keras.prediction.pictures import Look
    from fcn_keras.prediction.predict_files import predict_files
    from fcn_keras.prediction.segmenter import load, load_single
    from fcn_keras.prediction.video import is_video
    from pipelines.errors import DataError

    videos = [source for source in images if is_video(source)]
    if videos and (len(images) > 1 or tta or values or overlap is not None):
        raise ConfigError(
            f"{videos[0]}: a video or camera cannot be combined with other files, --tta, --values "
            "or --overlap. Leave those out."
        )
    opened = quietly(load_single if videos else load, model)
    net = net_of(opened)
    if precision != "auto":
        net.check_precision(precision)
    if tta:
        net.check_logits()
    if isinstance(edge, int):
        net.tiling()  # Refuses models that cannot be tiled.
    if values and opened.values is None:
        raise ConfigError(
            f"--values: {model} does not say which mask value each class has: there is no "
            "config.yaml beside the model, an older version trained or exported it, or classes do "
            "not have one value each, 0..255. Leave out --values: masks then hold class ids."
        )
    look = opened.looks(values=values)
    if videos and isinstance(look, Look):
        _predict_video(opened.model, videos[0], out, look, edge, video, frames, precision)
        return
    heads = list(look) if isinstance(look, dict) else ()
    jobs = image_files.plan(images, out, heads, opened.image_names(), overlay)
    failed = 0
    notes: list[DataError] = []
    with progress_bar(f"predicting {len(jobs)} images", len(jobs)) as advance:
        for error in predict_files(
            opened.model,
            jobs,
            look,
            tile=edge,
            overlap=overlap,
            tta=tta,
            precision=precision,
            notes=notes,
            tell=say,
        ):
            advance()
            if error is not None:
                print(f"error: {error}", file=sys.stderr)
                failed += 1
    print_warnings(notes)
    where = f"; masks are in {out}" if failed < len(jobs) else ""
    console.print(f"{len(jobs) - failed} of {len(jobs)} images predicted{where}", soft_wrap=True)
    if failed:
        raise typer.Exit(2)


def _predict_video(
    model: "keras.Model | ExportedModel",
    source: Path,
    out: Path,
    look: "Look",
    tile: int | Literal["auto"] | None,
    picture: Literal["overlay", "mask"],
    frames: int | None,
    precision: "Precision",
) -> None:
    from fcn_keras.prediction import tiles
    from fcn_keras.prediction.video import predict_video

    with progress_bar(f"predicting {source}", frames) as advance:
        count, announced = predict_video(
            model,
            source,
            out,
            look,
            picture=picture,
            frames=frames,
            precision=precision,
            tile_of=lambda image: tiles.edge_for(model, image.shape[:2], tile),
            advance=advance,
            tell=say,
        )
    if count < min(announced, frames or announced) - 1:  # Some formats only estimate it.
        print(
            f"warning: {source}: ended after {count} of {announced} frames; the rest is missing or "
            "damaged.",
            file=sys.stderr,
        )
    console.print(f"{count} frames predicted: {out}", soft_wrap=True)
