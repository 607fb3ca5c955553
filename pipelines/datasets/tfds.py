"""Any data set of TensorFlow Datasets with images and masks: `tfds:NAME/CONFIG:VERSION`.

The files that TFDS has prepared are read without TFDS's decoding, which turns the indices of
palette masks into grey levels: the records of a split are located by their length fields, and an
image is the encoded file in its record. Nothing is ever downloaded.

Splits are the data set's own; "val" also finds "validation". If there is neither, "train" is the
first nine tenths of the data set's train split and "val" the rest, which `Split.name` shows in
TFDS's notation. The order is TFDS's fixed shuffle.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets import cityscapes, voc
from pipelines.errors import DataError
from pipelines.files.images import read_mask
from pipelines.files.tfrecord import Record, index_records
from pipelines.split import Example, Split, distinct_palette, plain_values

PREFIX = "tfds:"
NAME = re.compile(r"(\w+)(/\w[\w.-]*)?(:\d+\.\d+\.\d+)?", re.ASCII)
VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
MASKS = ("segmentation_mask", "segmentation_label", "annotation", "mask", "label_map")
# Class names, palette and mask values.
KNOWN: dict[str, tuple[tuple[str, ...], np.ndarray, dict[int, int]]] = {
    "oxford_iiit_pet": (
        ("pet", "background", "border"),
        np.array([(128, 0, 0), (0, 0, 0), (192, 192, 192)], "uint8"),
        {1: 0, 2: 1, 3: 2},
    ),
    "cityscapes": (tuple(cityscapes.CLASSES), cityscapes.PALETTE, cityscapes.LABEL_IDS),
    "voc_segmentation": (
        voc.CLASSES,
        distinct_palette(len(voc.CLASSES)),
        plain_values(len(voc.CLASSES)),
    ),
}
SAMPLE, LISTED = 50, 32  # Masks read to list their values, and values listed.


def read(name: str, data_dir: str | Path | None, split: str) -> Split:
    """Reads one split of a data set whose classes are known or named in its features.

    Args:
        name: As for TFDS: NAME, NAME/CONFIG or NAME/CONFIG:VERSION.
        data_dir: TFDS's folder, or None for its default.
        split: "train", "val", "test", or another split of the data set.

    Raises:
        DataError: As in `read_with`, or the classes are unknown. Then the message has the values of
            the first masks and the YAML file to write.
    """
    builder = re.split("[/:]", name)[0]
    if builder in KNOWN:
        return read_with(name, data_dir, split, *KNOWN[builder])
    if builder == "scene_parse150":
        raise DataError(
            f"{PREFIX}{name}: its masks are instances of 100 things, not the 150 classes. Use "
            "`--data ade20k`, which reads the benchmark's own files."
        )
    title, examples, classes = _opened(name, data_dir, split)
    if not classes:
        raise DataError(_unknown_classes(name, examples))
    count = len(classes)
    return Split(title, examples, classes, distinct_palette(count), plain_values(count))


def read_with(
    name: str,
    data_dir: str | Path | None,
    split: str,
    class_names: tuple[str, ...],
    palette: np.ndarray,
    mask_values: Mapping[int, int],
    mask_colours: Mapping[tuple[int, int, int], int] | None = None,
    **reading: Any,
) -> Split:
    """Reads one split of a data set whose masks are described by the user.

    Args:
        name: As in `read`.
        data_dir: As in `read`.
        split: As in `read`.
        class_names: As in `Split`.
        palette: As in `Split`.
        mask_values: As in `Split`.
        mask_colours: As in `Split`.
        **reading: `read_mask` and `upright`, as in `Split`.

    Raises:
        DataError: TFDS is not installed, the data set is not prepared or has no such split, its
            files are damaged, or it is unclear which features are image and mask.
    """
    title, examples, _ = _opened(name, data_dir, split)
    colours = mask_colours or {}
    return Split(title, examples, class_names, palette, mask_values, colours, **reading)


def _opened(
    name: str, data_dir: str | Path | None, split: str
) -> tuple[str, tuple[Example, ...], tuple[str, ...]]:
    """Returns a split's name, its examples, and the mask feature's class names, if any."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(
            f"{PREFIX}{name}: TensorFlow Datasets cannot be imported ({error}). Install it: "
            "pip install tensorflow-datasets importlib_resources"
        ) from None
    folder = _folder(name, data_dir)
    try:  # Not tensorflow_datasets.builder(), which needs the code of each data set.
        info = tensorflow_datasets.builder_from_directory(folder).info
    except Exception as error:
        raise DataError(
            f"{folder}: TFDS cannot open it ({' '.join(str(error).split())}).", file=folder
        ) from None
    if info.file_format.value != "tfrecord":
        raise DataError(
            f"{folder}: prepared as {info.file_format.value}; only TFRecord files are supported. "
            "Prepare it again with builder_kwargs={'file_format': 'tfrecord'} in tfds.load.",
            file=folder,
        )
    image, mask = _chosen(name, info.features)
    own, span = _span(name, info.splits, split)
    paths = [Path(path) for path in info.splits[own].filepaths]
    places = [(path, *place) for path in paths for place in index_records(path)]
    if len(places) != info.splits[own].num_examples:
        raise DataError(
            f"{folder}: the split {own} must have {info.splits[own].num_examples} records, found "
            f"{len(places)}. Prepare the data set again.",
            kind="damaged file",
            file=folder,
        )
    examples = tuple(
        Example(f"{own}-{number:06d}", Record(*place, image), Record(*place, mask))
        for number, place in list(enumerate(places))[span]
    )
    part = "" if span == slice(None) else f"[{span.start or ''}:{span.stop or ''}]"
    classes = tuple(getattr(info.features[mask], "names", None) or ())  # LabeledImage only.
    return f"{PREFIX}{name} {own}{part}", examples, classes


def _folder(name: str, data_dir: str | Path | None) -> Path:
    """Finds where TFDS has prepared a data set, .../NAME/CONFIG/VERSION: the newest version."""
    match = NAME.fullmatch(name)
    if not match:
        raise DataError(
            f"{PREFIX}{name}: not the name of a data set; write {PREFIX}NAME, {PREFIX}NAME/CONFIG "
            f"or {PREFIX}NAME/CONFIG:1.0.0."
        )
    builder, config, version = match[1], match[2] or "", (match[3] or ":*")[1:]
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = Path(data_dir or default).expanduser()
    place = root / f"{builder}{config}"
    prepared = [
        file.parent
        for pattern in (version, f"*/{version}")
        for file in place.glob(f"{pattern}/features.json")
        if VERSION.fullmatch(file.parent.name)
    ]
    if not prepared:
        raise DataError(
            f"{PREFIX}{name}: not prepared in {root}. Prepare it, which may download a lot: "
            f"{_preparation(builder, config[1:], name, data_dir)}",
            kind="missing file",
        )
    configs = sorted({folder.parent for folder in prepared})
    if len(configs) > 1:
        raise DataError(
            f"{PREFIX}{name}: {place} has more than one configuration; choose "
            f"{' or '.join(f'{PREFIX}{builder}/{folder.name}' for folder in configs)}."
        )
    return max(prepared, key=lambda folder: tuple(map(int, folder.name.split("."))))


def _preparation(builder: str, config: str, name: str, data_dir: str | Path | None) -> str:
    where = f", data_dir={str(data_dir)!r}" if data_dir else ""
    if builder == "voc_segmentation":
        year = f", {config!r}" if config else ""
        code = f"from pipelines.datasets.voc_tfds import prepare; prepare('VOC_DIR'{year}{where})"
    else:
        code = f"import tensorflow_datasets as tfds; tfds.load({name!r}{where})"
    return f'python -c "{code}"'


def _chosen(name: str, features: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the names of the image feature and the mask feature."""
    import tensorflow_datasets as tfds

    images = {
        key: feature
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image) and feature.np_dtype != np.float32
    }
    mask = next((key for key in MASKS if key in images), None)
    pictures = [key for key in images if key != mask and images[key].shape[-1] == 3]
    if "image" in pictures:
        pictures = ["image"]
    if mask is None and len(pictures) == 1 and len(images) == 2:
        (mask,) = images.keys() - pictures
    if mask is not None and len(pictures) == 1:
        return pictures[0], mask
    listed = ", ".join(
        f"{key} (image, {images[key].shape[-1]} channel{'s' * (images[key].shape[-1] != 1)})"
        if key in images
        else f"{key} ({type(feature).__name__})"
        for key, feature in sorted(features.items())
    )
    raise DataError(
        f"{PREFIX}{name}: must have one image with 3 channels and one mask, which is called "
        f"{', '.join(MASKS)}, or is the only other image; found {listed}. Numbers (Tensor) are not "
        "read as images: store them as tfds.features.Image(shape=(None, None, 1)) in the builder, "
        "or export images and masks as files and describe their folders in a YAML file."
    )


def _span(name: str, splits: Mapping[str, Any], split: str) -> tuple[str, slice]:
    """Returns the data set's own split, and the slice of it to use."""
    validation = next((own for own in ("validation", "val") if own in splits), None)
    held_out = validation is None and "train" in splits
    if held_out and split in ("train", "val"):
        count = splits["train"].num_examples
        cut = count - math.ceil(count / 10)
        return "train", slice(cut) if split == "train" else slice(cut, None)
    own = validation if split == "val" else split
    if own is None or own not in splits:
        known = [*(["val"] if held_out else []), *splits]
        raise DataError(f"{PREFIX}{name}: no split {split!r}; choose one of {', '.join(known)}.")
    return own, slice(None)


def _unknown_classes(name: str, examples: Sequence[Example]) -> str:
    """Builds the message for unknown classes: the masks' values, and the YAML file to write."""
    held: set[int | tuple[int, ...]] = set()
    for example in examples[:SAMPLE]:
        values = read_mask(example.mask)
        if values.ndim == 3:
            held.update(map(tuple, np.unique(values.reshape(-1, 3), axis=0).tolist()))
        else:
            held.update(np.unique(values * 255 if values.dtype == bool else values).tolist())
    found = sorted(held, key=lambda value: (isinstance(value, tuple), value))
    listed = ", ".join(map(str, found[:LISTED])) + (", ..." if len(found) > LISTED else "")
    classes = "".join(
        f"  - {{name: CLASS_{number}, colour: {list(value)}}}\n"
        if isinstance(value, tuple)
        else f"  - {{name: CLASS_{number}, value: {value}}}\n"
        for number, value in enumerate(v for v in found[:LISTED] if v != 255)
    )
    return (
        f"{PREFIX}{name}: its classes are unknown. The first {min(SAMPLE, len(examples))} masks "
        f"hold {listed}. Name the classes in a file, such as data.yaml, and give its path as "
        f"--data:\n\ntfds: {name}\nclasses:\n{classes}ignore: [255]\n"
    )
