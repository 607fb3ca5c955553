"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated, Any

import typer

# Rich's own markup drops "[default: 4]".
STYLE: dict[str, Any] = {"rich_markup_mode": "markdown", "add_completion": False}

RunOrModel = Annotated[
    Path, typer.Argument(metavar="RUN_OR_MODEL", help="A folder made by train, or a .keras file.")
]
DATA_HELP = (
    "camvid, voc2011, voc2012, nyudv2, siftflow, pascal_context, cityscapes, ade20k, synthetic, "
    "tfds:NAME, or the YAML file of your folders (see data init)."
)
Data = Annotated[str, typer.Option(help=DATA_HELP)]
DataDir = Annotated[Path | None, typer.Option(help="The folder that holds the data set's files.")]
NewModel = Annotated[
    Path, typer.Option("--out", metavar="FILE.keras", help="Must not be there yet.")
]
Tta = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Test-time augmentation: the mean over four scales and the mirror image; about "
        "ten times slower.",
    ),
]
