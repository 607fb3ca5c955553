"""The formats by name."""

from types import ModuleType

from pipelines.annotations.options import Options
from pipelines.annotations.readers import (
    binary_masks,
    cityscapes_json,
    coco,
    cvat,
    datumaro,
    geojson,
    instance_masks,
    label_studio,
    labelmap,
    labelme,
    mapillary,
    numpy_masks,
    supervisely,
    via,
    yolo,
)
from pipelines.errors import DataError

# Each has `is_found(listing)` and `read(listing, options)`; see the package's docstring.
FORMATS: dict[str, ModuleType] = {
    "binary-masks": binary_masks,
    "cityscapes": cityscapes_json,
    "coco": coco,
    "cvat": cvat,
    "datumaro": datumaro,
    "geojson": geojson,
    "instance-masks": instance_masks,
    "label-studio": label_studio,
    "labelmap": labelmap,
    "labelme": labelme,
    "mapillary": mapillary,
    "numpy": numpy_masks,
    "supervisely": supervisely,
    "via": via,
    "yolo": yolo,
}
# These count only where no other is found, and the first of them: tools write pictures beside their
# annotations.
PICTURES = ("labelmap", "numpy", "binary-masks", "instance-masks")
# The formats for which these options have a meaning.
TAKES = {"attribute": ("geojson", "via"), "annotator": ("binary-masks", "label-studio")}


def check_options(format: str, options: Options) -> None:
    """Raises a `DataError` if an option was given that has no meaning for a format."""
    for name, formats in TAKES.items():
        if getattr(options, name) is not None and format not in formats:
            raise DataError(
                f"--{name} {getattr(options, name)}: only {' and '.join(formats)} have it, and "
                f"this is {format}. Leave it out."
            )
