"""Prints what `fcn-keras data init` found, and the next commands."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from fcn_keras.cli.terminal import console
from fcn_keras.runs.recipes import camvid_epochs

if TYPE_CHECKING:
    from pipelines.discovery.folders import Layout
    from pipelines.discovery.write_yaml import YamlFile

VGG16 = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"  # Keras' name of the file.


def show(layout: "Layout", made: "YamlFile") -> None:
    """Prints what `data init` found."""
    for split, parts in layout.parts.items():
        for part in parts:
            listed = f", listed in {part.listing}" if part.listing else ""
            names = f" (NAME{part.suffixes.mask})" if part.suffixes.mask else ""
            console.print(
                f"{split}: {len(part.pairs)} images in {part.images}, masks in {part.masks}"
                f"{names}{listed}",
                soft_wrap=True,
            )
    total = sum(entry.pixels for entry in (*made.classes, *made.ignored))
    table = Table("class", "mask value", "pixels", "masks")
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


def show_next(made: "YamlFile", out: Path) -> None:
    """Prints the name of the new YAML file, and the next commands."""
    from pipelines.errors import quoted

    console.print(f"YAML file: {out}. Check its classes, then run:", soft_wrap=True)
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
    """Returns whether the weights that the recipe starts from are in Keras' cache."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home, "models", VGG16).exists()
