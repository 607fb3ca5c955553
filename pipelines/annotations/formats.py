"""The formats by name."""

from types import ModuleType

from pipelines.annotations import (
    binary_masks,
    cityscapes_json,
    coco,
    geojson,
    instance_masks,
    label_studio,
    labelmap,
    labelme,
    mapillary,
    numpy_masks,
    supervisely,
    yolo,
)

# Each has `is_found(listing)` and `read(listing, options)`; see the package's docstring.
FORMATS: dict[str, ModuleType] = {
    "coco": coco,
    "labelme": labelme,
    "supervisely": supervisely,
    "label-studio": label_studio,
    "cityscapes": cityscapes_json,
    "mapillary": mapillary,
    "yolo": yolo,
    "geojson": geojson,
    "labelmap": labelmap,
    "numpy": numpy_masks,
    "binary-masks": binary_masks,
    "instance-masks": instance_masks,
}
# These count only where no other is found, and the first of them: tools write pictures beside their
# annotations.
PICTURES = ("labelmap", "numpy", "binary-masks", "instance-masks")
