"""The formats by name."""

from types import ModuleType

from pipelines.annotations import binary_masks, coco, labelmap, labelme, numpy_masks, yolo

# Each has `is_found(listing)` and `read(listing, options)`; see the package's docstring.
FORMATS: dict[str, ModuleType] = {
    "coco": coco,
    "labelme": labelme,
    "yolo": yolo,
    "labelmap": labelmap,
    "numpy": numpy_masks,
    "binary-masks": binary_masks,
}
