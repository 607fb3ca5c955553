"""The command `fcn-keras data convert`, and what `data init` says of annotations."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from fcn_keras.cli.terminal import console, print_warnings, progress_bar, say

if TYPE_CHECKING:
    from pipelines.annotations.work import Conversion


def convert(
    source: Annotated[
        Path, typer.Argument(help="Folder that a labelling tool exported, or an annotation file.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="The new folder. May exist if it is an earlier conversion of the same source.",
        ),
    ],
    format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT", help="Format of the annotations, such as coco; auto recognises it."
        ),
    ] = "auto",
    images: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the images are, if not in SOURCE."),
    ] = None,
    attribute: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="VIA: the attribute that holds the class."),
    ] = None,
    annotator: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Label Studio: whose annotations count."),
    ] = None,
    boxes: Annotated[
        Literal["mask", "skip", "error"],
        typer.Option(
            help="Boxes of objects without an outline: fill them, leave them out, or leave them "
            "out unless there is nothing else."
        ),
    ] = "error",
    lines: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="WIDTH",
            help="Width of lines and points in pixels; 0 leaves them out. [default: the tool's]",
        ),
    ] = None,
    unlabelled: Annotated[
        Literal["background", "void", "skip"] | None,
        typer.Option(
            help="Pixels without a shape; skip leaves out images without shapes. [default: as the "
            "format says]"
        ),
    ] = None,
    overlap: Annotated[
        Literal["large-first", "file"] | None,
        typer.Option(
            help="Paint large shapes first, or in the order of the file. [default: large-first for "
            "COCO, file for others]"
        ),
    ] = None,
    keep: Annotated[str, typer.Option(metavar="CLASS,...", help="Keep only these classes.")] = "",
    merge: Annotated[
        str,
        typer.Option(
            metavar="OLD,...=NEW",
            help='Rename or merge classes, such as "crack,spall=damage"; several separated by ;',
        ),
    ] = "",
    on_bad_file: Annotated[
        Literal["stop", "skip"],
        typer.Option(help="Missing or broken images and entries: stop, or leave them out."),
    ] = "stop",
) -> None:
    """Converts what a labelling tool exported into masks and a YAML file for training.

    Writes FOLDER/data.yaml, FOLDER/masks and FOLDER/conversion.json. Images stay where they are.
    """
    from pipelines.annotations.conversion import convert as convert_annotations

    made = convert_annotations(
        source,
        out,
        format=format,
        images=images,
        attribute=attribute,
        annotator=annotator,
        boxes=boxes,
        lines=lines,
        unlabelled=unlabelled,
        overlap=overlap,
        keep=[name.strip() for name in keep.split(",") if name.strip()],
        merge=merge,
        on_bad_file=on_bad_file,
        watch=progress_bar,
    )
    _show(made)


def describe_annotations(folder: Path) -> bool:
    """Prints which annotations a folder holds, and the command that converts them.

    Returns:
        Whether there are any.
    """
    from pipelines.annotations.listing import listed
    from pipelines.annotations.recognise import evidence
    from pipelines.errors import DataError, quoted

    try:
        found = evidence(listed(folder))
    except DataError:  # `data init` reads what it can.
        return False
    for name, why in found.items():
        say(f"annotations in the format {name}: {why}. To make masks of them, run:")
        out = f"{folder.resolve().name or 'data'}_masks"
        option = f" --format {name}" if len(found) > 1 else ""
        say(f"  fcn-keras data convert {quoted(folder)}{option} --out {quoted(out)}")
    return bool(found)


def _show(made: "Conversion") -> None:
    """Prints what was converted, what was not, and the next commands."""
    from pipelines.errors import quoted
    from pipelines.split import SPLITS

    say(f"format: {made.format} ({made.evidence})")
    for split, count in sorted(made.images.items(), key=lambda one: SPLITS.index(one[0])):
        say(f"{split}: {count:,} image{'s' * (count != 1)}")
    table = Table("class", "pixels")
    for name in (*made.class_names, *(["void"] * ("void" in made.pixels))):
        table.add_row(name, f"{made.pixels[name] / made.pixels.total():.2%}")
    table.columns[1].justify = "right"
    console.print(table)
    for note in made.notes:
        say(f"note: {note}")
    for counts, what in ((made.left_out, "left out"), (made.noted, "drawn, but doubtful")):
        for reason, count in counts.items():
            say(f"{what}: {count:,} x {reason}")
    if made.painted_over:
        say(f"pixels that a later shape of another class covers: {made.painted_over:,}")
    print_warnings(made.skipped)
    yaml = quoted(made.out / "data.yaml")
    say(f"YAML file: {made.out / 'data.yaml'}. Then run:")
    say(f"  fcn-keras data check {yaml}")
    say(f"  fcn-keras train --data {yaml} --recipe camvid --out runs/{quoted(made.out.name)}")
