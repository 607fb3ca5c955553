"""Reads segmentation data sets and builds `tf.data.Dataset`s of (image, mask).

Images are RGB uint8 `[b, h, w, 3]`, masks uint8 `[b, h, w]` of class ids; 255 is ignored.

Names are imported on first use (PEP 562), so that reading files does not need TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.batches.augment import Augmentation
    from pipelines.batches.joint import joint_dataset
    from pipelines.batches.tf_datasets import batch_ids, eval_dataset, train_dataset
    from pipelines.catalogue import DATASETS, read
    from pipelines.checking.examine import check
    from pipelines.checking.fingerprint import fingerprint
    from pipelines.errors import DataError
    from pipelines.examples import read_example
    from pipelines.files.images import read_image, read_mask
    from pipelines.hha import NYUDV2_CAMERA, encode_hha
    from pipelines.split import Example, Split, distinct_palette

_HOMES = {
    "DATASETS": "catalogue",
    "NYUDV2_CAMERA": "hha",
    "Augmentation": "batches.augment",
    "DataError": "errors",
    "Example": "split",
    "Split": "split",
    "batch_ids": "batches.tf_datasets",
    "check": "checking.examine",
    "distinct_palette": "split",
    "encode_hha": "hha",
    "eval_dataset": "batches.tf_datasets",
    "fingerprint": "checking.fingerprint",
    "joint_dataset": "batches.joint",
    "read": "catalogue",
    "read_example": "examples",
    "read_image": "files.images",
    "read_mask": "files.images",
    "train_dataset": "batches.tf_datasets",
}

# Subpackages and modules, so that `pipelines.errors` works without importing it first.
_MODULES = frozenset(
    "annotations batches catalogue checking datasets discovery errors examples files hha "
    "palettes split split_names".split()
)

__all__ = [
    "DATASETS",
    "NYUDV2_CAMERA",
    "Augmentation",
    "DataError",
    "Example",
    "Split",
    "batch_ids",
    "check",
    "distinct_palette",
    "encode_hha",
    "eval_dataset",
    "fingerprint",
    "joint_dataset",
    "read",
    "read_example",
    "read_image",
    "read_mask",
    "train_dataset",
]


if not TYPE_CHECKING:  # Type checkers read the imports above, and so find misspelt names.

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})
