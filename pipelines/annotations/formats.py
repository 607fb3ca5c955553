"""The formats by name."""

from types import ModuleType

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
