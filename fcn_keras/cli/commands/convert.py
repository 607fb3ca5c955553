"""The command `fcn-keras convert`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fcn_keras import outputs
from fcn_keras.cli.options import NewModel
from fcn_keras.cli.terminal import console, import_tensorflow
from fcn_keras.errors import ConfigError
from fcn_keras.runs.config import Geometry, Net


def convert(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.caffemodel", help="Weights that Caffe has saved.")
    ],
    model: Annotated[Net, typer.Option(help="The net that the weights are of.")],
    out: NewModel,
    backbone: Annotated[str, typer.Option(help="The classifier it was made of.")] = "vgg16",
    suffix: Annotated[
        str,
        typer.Option(
            help="Ending of the names of one head's or stream's layers: _sem or _geo (SIFT Flow), "
            "color or hha (NYUDv2, late fusion)."
        ),
    ] = "",
    geometry: Annotated[
        Geometry, typer.Option(help="reference: the authors' padding and crops.")
    ] = "reference",
    mean: Annotated[
        str,
        typer.Option(help="Of its training images: voc, nyudv2, nyudv2_hha, siftflow, imagenet."),
    ] = "voc",
    partial: Annotated[
        bool, typer.Option("--partial", help="Layers that the file lacks stay untrained.")
    ] = False,
) -> None:
    """Turns Caffe weights, such as the authors', into a model for predict, evaluate and export."""
    outputs.check_new_model(out)
    import_tensorflow()
    from fcn_keras.models.saving import save_model
    from fcn_keras.surgery import caffe

    net, report = caffe.convert(
        file, model, backbone=backbone, suffix=suffix, geometry=geometry, mean=mean
    )
    table = Table("in the file", "in the model", "")
    for source, target in report.loaded.items():
        table.add_row(source, target, "loaded")
    for target in report.missing:
        table.add_row("", target, "missing from the file")
    for source, why in report.left_over.items():
        table.add_row(source, "", f"left over: {why}")
    console.print(table)
    if report.missing and not partial:
        raise ConfigError(
            f"{file}: nothing in it for {', '.join(report.missing)} of {model}. Choose "
            "another --model or --suffix, or let them stay untrained with --partial."
        )
    outputs.make_folder(out.parent)
    save_model(net, out)
    console.print(f"model: {out}", soft_wrap=True)
