"""The commands `fcn-keras data ...`: convert annotations, describe, check and serve a data set."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fcn_keras import outputs
from fcn_keras.cli import annotations, description
from fcn_keras.cli.options import STYLE, DataDir
from fcn_keras.cli.terminal import console, import_tensorflow, print_warnings, progress_bar

if TYPE_CHECKING:
    from pipelines.checking.diagnosis import Diagnosis
    from pipelines.checking.examine import Findings

app = typer.Typer(
    help="Converts annotations, describes a data set in YAML, checks it, and serves its batches.",
    no_args_is_help=True,
    **STYLE,
)
SHOWN = 20  # Faults printed per kind.


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder with images and masks in subfolders.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="The new YAML file; must not exist. [default: named after FOLDER]",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="If several folders of images fit: the one to use, or a part of its path.",
        ),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="If the same images have several kinds of masks: the folder to use, or a part of "
            "its path.",
        ),
    ] = None,
    image_suffix: Annotated[
        str | None,
        typer.Option(
            metavar="SUFFIX",
            help="If several suffixes fit: what image names add to the common name.",
        ),
    ] = None,
    mask_suffix: Annotated[
        str | None,
        typer.Option(
            metavar="SUFFIX",
            help="If several suffixes fit: what mask names add to the common name.",
        ),
    ] = None,
    mask_threshold: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=254,
            help="For black-and-white masks in JPEG files: the highest value that is black, such "
            "as 127.",
        ),
    ] = None,
) -> None:
    """Finds the images and masks in a folder and writes the YAML file for training.

    Reads all masks to find the classes. Does not write into the folder. If several folders or
    suffixes fit, lists them and stops; choose with the options. Names the command for annotations
    such as polygons.
    """
    from pipelines.discovery import folders, write_yaml
    from pipelines.errors import DataError

    has_annotations = os.path.isdir(folder) and annotations.describe_annotations(folder)
    out = write_yaml.destination(folder, out)
    try:
        found = folders.find(
            folder, images=images, masks=masks, image_suffix=image_suffix, mask_suffix=mask_suffix
        )
    except DataError:
        if has_annotations:  # The command for them is printed.
            raise typer.Exit(2) from None
        raise
    with progress_bar(f"reading the masks of {folder}", len(found.masks)) as advance:
        made = write_yaml.describe(found, out, advance, mask_threshold)
    description.show(found, made)  # First: if this fails, no file bars the next try.
    try:
        with outputs.replacing(out) as temporary:
            temporary.write_bytes(made.text.encode("utf-8"))
            write_yaml.destination(folder, out)  # Another process may have written it.
    except OSError as error:
        error.filename = str(out)  # Not the temporary file.
        raise
    description.show_next(made, out)


app.command()(annotations.convert)


@app.command()
def check(
    data: Annotated[
        str, typer.Argument(help="A data set's name, as for train --data, or a YAML file.")
    ],
    data_dir: DataDir = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="May be repeated. [default: train, val and, if it exists, test]"),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all results to this file.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write an HTML page with example images and masks."),
    ] = None,
) -> None:
    """Reads every image and mask and lists all faults; exits with status 2 if there are any.

    Does not change the data set.
    """
    import pipelines
    from pipelines.checking import diagnosis

    if json is not None:
        outputs.check_file("--json", json, ".json")
    if report is not None:
        outputs.check_file("--report", report, ".html")
    found = diagnosis.diagnose(
        lambda name: pipelines.read(data, name, data_dir, keep_faults=True),
        data,
        splits=split,
        watch=progress_bar,
    )
    if json is not None:  # Before the terminal, which may be closed.
        outputs.write_json(json, diagnosis.to_json(found))
    _show_diagnosis(found)
    if report is not None:
        from pipelines.checking.report import render

        with progress_bar("drawing the report", None):
            outputs.write_text(report, render(found))
        console.print(f"report: {report}", soft_wrap=True)
    if found.faults:
        raise typer.Exit(2)


@app.command()
def serve(
    data: Annotated[
        str, typer.Argument(help="As for train --data; the files must be on this machine.")
    ],
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="The training split.")] = "train",
    port: Annotated[
        int, typer.Option(min=1, max=65533, help="The first of three consecutive ports.")
    ] = 5050,
    host: Annotated[
        str | None,
        typer.Option(help="Name or address of this machine. [default: its host name]"),
    ] = None,
) -> None:
    """Makes training batches for `train --data-service`: reads, crops and augments images.

    Serves any number of training runs until Ctrl-C. Anyone who can reach the ports can read the
    images.
    """
    import_tensorflow()
    import pipelines
    from pipelines.batches import service

    examples = pipelines.read(data, split, data_dir, keep_faults=True)
    server = service.Server(examples, port, host)
    console.print(
        f"serving {examples.name}, {len(examples)} examples, on ports {port} to {port + 2}. Train "
        f"with --data-service grpc://{server.host}:{port}",
        soft_wrap=True,
    )
    server.wait()


def _show_diagnosis(found: "Diagnosis") -> None:
    """Prints splits, classes, warnings and, last, the faults."""
    from pipelines.errors import grouped

    table = Table("split", "examples", "with faults", "sizes (height x width)", "void")
    for one in found.findings:
        table.add_row(
            _last_word(one.split.name),
            f"{len(one.split):,}",
            f"{len(one.bad):,}",
            _sizes(one.sizes),
            f"{one.void_share:.1%}",
        )
    console.print(found.data, soft_wrap=True)
    console.print(table)
    _show_classes(found.findings)
    print_warnings(found.warnings)
    for kind, errors in grouped(found.faults).items():
        print(f"\n{kind}: {len(errors)}", file=sys.stderr)
        for error in errors[:SHOWN]:
            print(f"  {error}", file=sys.stderr)
        if len(errors) > SHOWN:
            print(f"  and {len(errors) - SHOWN} more (--json FILE lists all)", file=sys.stderr)
    if found.faults:
        count = len(found.faults)
        print(f"\n{count} fault{'s' * (count > 1)}.", file=sys.stderr)
    else:
        console.print("no faults")


def _show_classes(findings: "Sequence[Findings]") -> None:
    """Prints each class's share of the labelled pixels and number of images, per split."""
    table = Table("class")
    for one in findings:
        table.add_column(f"{_last_word(one.split.name)}: pixels", justify="right")
        table.add_column("images", justify="right")
    for class_id, name in enumerate(findings[0].split.class_names):
        cells = []
        for one in findings:
            share = one.class_pixels[class_id] / max(one.class_pixels.sum(), 1)
            cells += [f"{share:.2%}", f"{one.images[class_id]:,}"]
        table.add_row(name, *cells)
    console.print(table)


def _last_word(name: str) -> str:
    """Shortens a split's name for tables: "camvid train" becomes "train"."""
    return name.split()[-1]


def _sizes(sizes: "Iterable[tuple[int, int] | None]") -> str:
    """Formats image sizes, height x width: one size, or their number and range."""
    found = {size for size in sizes if size}
    if not found:
        return "-"
    heights, widths = zip(*found, strict=True)
    if len(found) == 1:
        return f"{heights[0]} x {widths[0]}"
    return f"{len(found)}, {min(heights)} x {min(widths)} to {max(heights)} x {max(widths)}"
