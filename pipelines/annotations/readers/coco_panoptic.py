"""The PNGs of COCO's panoptic segmentation: each colour is the id of a segment."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotations.annotated import Bitmap, Broken, Shape
from pipelines.annotations.listing import Listing
from pipelines.annotations.readers.coco_entries import id_of
from pipelines.errors import DataError
from pipelines.files.images import read_mask

NOTHING = 0  # The id of pixels without a segment.


def shapes(
    path: Path, entry: Mapping[str, Any], class_ids: Mapping[Any, int], listing: Listing
) -> Callable[[], Sequence[Shape]]:
    """Returns a function that reads the segments of one image.

    Args:
        path: The annotation file.
        entry: An entry of its `annotations`, with `segments_info` and `file_name`.
        class_ids: The class id of each category id.
        listing: The files of the source.
    """
    return partial(_read, path, entry, class_ids, listing)


def _read(
    path: Path, entry: Mapping[str, Any], class_ids: Mapping[Any, int], listing: Listing
) -> Sequence[Shape]:
    png = _find(path, str(entry.get("file_name")), listing)
    if isinstance(png, DataError):
        raise png
    colours = read_mask(png).astype("int64")
    if colours.ndim != 3:
        raise DataError(f"{png}: must be an RGB PNG, whose colours are segment ids.", file=png)
    numbers = colours @ (1, 256, 256**2)
    found = set(np.unique(numbers).tolist()) - {NOTHING}
    made = []
    for segment in entry["segments_info"]:
        entry = segment if isinstance(segment, dict) else {}
        number = id_of(entry.get("id"))
        label = f"segment {number!r}"
        class_id = class_ids.get(id_of(entry.get("category_id"))) if number else None
        if class_id is None:
            made.append(Shape(0, Broken("it has no id, or an unknown `category_id`"), label=label))
        elif number not in found:
            made.append(Shape(class_id, Broken(f"{png} has no pixel of it"), label=label))
        else:
            made.append(Shape(class_id, Bitmap(partial(np.equal, numbers, number)), label=label))
            found.remove(number)
    if found:
        raise DataError(
            f"{png}: has the segment {min(found)}, which {path} does not list. Export it again.",
            kind="wrong COCO file",
            file=png,
        )
    return made


def _find(path: Path, name: str, listing: Listing) -> Path | DataError:
    """Finds the PNG: in the folder called as the annotation file, or anywhere in the source."""
    found = [file for file in listing.files if f"/{file}".endswith(f"/{name}")]
    beside = [file for file in found if path.stem in file.split("/")[:-1]]
    for files in (beside, found):
        if len(files) == 1:
            return listing.root / files[0]
    return DataError(
        f"{path}: names the mask {name!r}; there are {len(found)} such files. Put the folder of "
        f"panoptic PNGs beside the file and call it {path.stem}.",
        kind="missing file",
        file=path,
        value=name,
    )
