"""The commands `fcn-keras data ...`: look at a data set before training, serve it to trainings."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fcn_keras import outputs
from fcn_keras.cli.options import STYLE
from fcn_keras.cli.terminal import console, import_tensorflow, print_warnings, progress_bar
from fcn_keras.runs.recipes import camvid_epochs

if TYPE_CHECKING:
    from pipelines.checking.diagnosis import Diagnosis
    from pipelines.checking.examine import Findings
    from pipelines.discovery.folders import Layout
    from pipelines.discovery.write_yaml import YamlFile

app = typer.Typer(
    help="Look at a data set before training on it; serve it to trainings.",
    no_args_is_help=True,
    **STYLE,
)
SHOWN = 20  # Faults of one kind.
VGG16 = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"  # As Keras calls the file.


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Holds images and masks, in folders below it.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Must not be there yet. [default: FOLDER's name]"),
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
) -> None:
    """Finds images and masks in a folder, reads the masks, and writes the YAML file for train.

    Nothing is written into the folder. If several folders or suffixes fit, lists them and ends;
    choose with the options.
    """
    from pipelines.discovery import folders, write_yaml

    out = write_yaml.destination(folder, out)
    found = folders.find(
        folder, images=images, masks=masks, image_suffix=image_suffix, mask_suffix=mask_suffix
    )
    with progress_bar(f"reading the masks of {folder}", len(found.masks)) as advance:
        made = write_yaml.describe(found, out, advance)
    content = made.text.encode("utf-8")  # Before there is a file.
    with out.open("xb") as file:
        file.write(content)
    _show_description(found, made, out)


@app.command()
def check(
    data: Annotated[
        str, typer.Argument(help="A data set's name, as for train --data, or a YAML file.")
    ],
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder that holds the data set's files.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="May be repeated. [default: train, val and, if there is one, test]"),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything to this file.")] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page with pictures and their masks."),
    ] = None,
) -> None:
    """Reads every image and mask, and lists all faults; the exit status is 2 if there are any.

    Nothing of the data set is changed.
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
    _show_diagnosis(found)
    if json is not None:
        outputs.write_json(json, diagnosis.to_json(found))
    if report is not None:
        from pipelines.checking.report import render

        with progress_bar("drawing the report", None):
            outputs.write_text(report, render(found))
        console.print(f"report: {report}", soft_wrap=True)
    if found.faults:
        raise typer.Exit(2)


@app.command()
def serve(
    data: Annotated[str, typer.Argument(help="As for train --data; the files must be here too.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder that holds the data set's files.")
    ] = None,
    split: Annotated[str, typer.Option(help="What trainings train on.")] = "train",
    port: Annotated[
        int, typer.Option(min=1, max=65533, help="The first of three ports in a row.")
    ] = 5050,
    host: Annotated[
        str | None,
        typer.Option(help="By which trainings reach this machine. [default: its own name]"),
    ] = None,
) -> None:
    """Makes training batches for `train --data-service`: reads, crops, changes colours.

    Serves any number of trainings until Ctrl-C. Whoever reaches the ports can read the images.
    """
    import_tensorflow()
    import pipelines
    from pipelines.batches import service

    examples = pipelines.read(data, split, data_dir, keep_faults=True)
    server = service.Server(examples, port, host)
    console.print(
        f"{examples.name}, {len(examples)} examples, at ports {port} to {port + 2}. Train with "
        f"--data-service grpc://{server.host}:{port}",
        soft_wrap=True,
    )
    server.wait()


def _show_diagnosis(found: "Diagnosis") -> None:
    """Splits, classes, warnings and faults, the last being what is to be seen last."""
    from pipelines.errors import grouped

    table = Table("split", "examples", "with faults", "sizes: height x width", "void")
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
            print(f"  and {len(errors) - SHOWN} more (--json FILE has all)", file=sys.stderr)
    if found.faults:
        count = len(found.faults)
        print(f"\n{count} fault{'s' * (count > 1)}.", file=sys.stderr)
    else:
        console.print("no faults")


def _show_classes(findings: "Sequence[Findings]") -> None:
    """The share of each class in the labelled pixels of each split, and how many images have it."""
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
    """Of "camvid train" the split's own name, which leaves more room in a table."""
    return name.split()[-1]


def _sizes(sizes: "Iterable[tuple[int, int] | None]") -> str:
    """In words: how many sizes, from which to which, height by width."""
    found = {size for size in sizes if size}
    if not found:
        return "-"
    heights, widths = zip(*found, strict=True)
    if len(found) == 1:
        return f"{heights[0]} x {widths[0]}"
    return f"{len(found)}, {min(heights)} x {min(widths)} to {max(heights)} x {max(widths)}"


def _show_description(layout: "Layout", made: "YamlFile", out: Path) -> None:
    """What `data init` has found, and what to do next."""
    from pipelines.errors import quoted

    for split, parts in layout.parts.items():
        for part in parts:
            listed = f", those in {part.listing}" if part.listing else ""
            names = f" (NAME{part.suffixes.mask})" if part.suffixes.mask else ""
            console.print(
                f"{split}: {len(part.pairs)} images in {part.images}, masks in {part.masks}"
                f"{names}{listed}",
                soft_wrap=True,
            )
    total = sum(entry.pixels for entry in (*made.classes, *made.ignored))
    table = Table("class", "in the masks", "pixels", "masks")
    for entry in (*made.classes, *made.ignored):
        name = entry.name if entry in made.classes else "(ignored)"
        table.add_row(name, str(entry.key), f"{entry.pixels / total:.2%}", str(entry.masks))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    for note in made.notes:
        console.print(f"note: {note}", soft_wrap=True)
    for fault in made.faults:
        print(f"warning: {fault}", file=sys.stderr)
    console.print(f"written: {out}. Look at its classes, then:", soft_wrap=True)
    console.print(f"  fcn-keras data check {quoted(out)}", soft_wrap=True)
    epochs = camvid_epochs(made.train_images)
    console.print(
        f"  fcn-keras train --data {quoted(out)} --recipe camvid --epochs {epochs} "
        f"--out {quoted(Path('runs') / out.stem)}",
        soft_wrap=True,
    )
    if not _has_vgg16():
        console.print(
            "  It downloads the ImageNet weights of VGG16 (59 MB). Without a network add "
            "--weights FILE, or --weights none to train from scratch.",
            soft_wrap=True,
        )


def _has_vgg16() -> bool:
    """Whether Keras has the weights that the recipe starts from in its cache."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home, "models", VGG16).exists()
