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
        Path, typer.Argument(metavar="FILE.caffemodel", help="Weights saved by Caffe.")
    ],
    model: Annotated[Net, typer.Option(help="The model that the weights belong to.")],
    out: NewModel,
    backbone: Annotated[str, typer.Option(help="The model's backbone.")] = "vgg16",
    suffix: Annotated[
        str,
        typer.Option(
            help="Suffix of the layer names of one head or modality: _sem or _geo (SIFT Flow), "
            "color or hha (NYUDv2, late fusion)."
        ),
    ] = "",
    geometry: Annotated[
        Geometry, typer.Option(help="reference: the authors' padding and crops.")
    ] = "reference",
    mean: Annotated[
        str,
        typer.Option(
            help="Mean of the training images: voc, nyudv2, nyudv2_hha, siftflow, imagenet."
        ),
    ] = "voc",
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave layers missing from the file untrained.")
    ] = False,
) -> None:
    """Converts Caffe weights, such as the authors', into a model for predict, evaluate and export.

    Prints which layers were loaded, which are missing and which were skipped.
    """
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
        table.add_row(source, "", f"skipped: {why}")
    console.print(table)
    if report.missing and not partial:
        raise ConfigError(
            f"{file}: has no weights for {', '.join(report.missing)} of {model}. Choose "
            "another --model or --suffix, or leave them untrained with --partial."
        )
    outputs.check_new_model(out)  # Again: the work has taken its time.
    outputs.make_folder(out.parent)
    outputs.remove_unfinished(out.parent)
    save_model(net, out)
    console.print(f"model: {out}", soft_wrap=True)
