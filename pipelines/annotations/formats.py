"""The formats by name."""

from types import ModuleType

from pipelines.annotations import coco, cvat, datumaro, labelme, via

# Each has `is_found(listing)` and `read(listing, options)`; see the package's docstring.
FORMATS: dict[str, ModuleType] = {
    "coco": coco,
    "cvat": cvat,
    "datumaro": datumaro,
    "labelme": labelme,
    "via": via,
}
