"""The formats by name."""

from types import ModuleType

from pipelines.annotations import (
    cityscapes_json,
    coco,
    label_studio,
    labelme,
    mapillary,
    supervisely,
)

# Each has `is_found(listing)` and `read(listing, options)`; see the package's docstring.
FORMATS: dict[str, ModuleType] = {
    "coco": coco,
    "labelme": labelme,
    "supervisely": supervisely,
    "label-studio": label_studio,
    "cityscapes": cityscapes_json,
    "mapillary": mapillary,
}
