"""Arguments and options shared by several commands."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fcn_keras.errors import ConfigError

# Rich's own markup would drop "[default: 4]".
STYLE: dict[str, Any] = {"rich_markup_mode": "markdown", "add_completion": False}

RunOrModel = Annotated[
    Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run's folder, or a .keras file.")
]
AnyModel = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_MODEL",
        help="A run's folder, a .keras file, or what `fcn-keras export` wrote: a SavedModel's "
        "folder, or a .onnx, .xml or .tflite file.",
    ),
]
DATA_HELP = (
    "camvid, voc2011, voc2012, nyudv2, nyudv2-hha, siftflow, siftflow-geometric, pascal_context, "
    "cityscapes, ade20k, synthetic, "
    "tfds:NAME, or a YAML file for your own folders (see `fcn-keras data init`)."
)
Data = Annotated[str, typer.Option(help=DATA_HELP)]
DataDir = Annotated[Path | None, typer.Option(help="The folder with the data set's files.")]
NewModel = Annotated[
    Path, typer.Option("--out", metavar="FILE.keras", help="The new model file; must not exist.")
]
Tile = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="auto|none|N",
        help="Edge of the tiles in pixels. auto: images above 8 megapixels in tiles of 1536. "
        "Tiles bound the memory; the result is the same as for the whole image.",
    ),
]
Tta = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Test-time augmentation: average over four scales and the mirrored image; about "
        "ten times slower.",
    ),
]


def tile_edge(text: str) -> int | Literal["auto"] | None:
    """Parses the option --tile: "auto", None or a number."""
    if text in ("auto", "none"):
        return None if text == "none" else "auto"
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--tile {text}: must be auto, none or a whole number of pixels.")
    return int(text)
