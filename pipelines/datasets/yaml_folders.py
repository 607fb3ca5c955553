"""Reads your own folders of images and masks, which a YAML file describes (`yaml_schema`).

A split is one pair of folders or several (`folder_pairs`), or a share of another split.
"""

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.datasets.folder_pairs import pair_of_folders
from pipelines.datasets.yaml_schema import Folders, load
from pipelines.errors import DataError
from pipelines.split import SPLITS, Example, Split


def read(path: str | Path, split: str) -> Split:
    """Reads one split; images and masks without a partner are among its `faults`.

    Args:
        path: The YAML file.
        split: "train", "val" or "test"; a TFDS data set may have others.

    Raises:
        DataError: The YAML file is wrong, or a folder or list is missing.
    """
    path = Path(path)
    description = load(path)
    meaning: dict[str, Any] = {
        "class_names": description.class_names,
        "palette": description.palette,
        "mask_values": description.mask_values,
        "mask_colours": description.mask_colours,
        "read_mask": description.read_mask,
        "upright": description.exif == "apply",
    }
    if description.tfds:
        from pipelines.datasets import tfds  # An extra, which takes seconds to import.

        data_dir = path.parent / description.data_dir if description.data_dir else None
        return tfds.read_with(description.tfds, data_dir, split, **meaning)
    if split not in SPLITS:
        raise DataError(f"split={split!r}: must be one of {', '.join(SPLITS)}.")
    share = description.val_share
    pairs = description.pairs("train" if split == "val" and share else split)
    if not pairs:
        given = [name for name in SPLITS if description.pairs(name)]
        raise DataError(
            f"{path}: no split {split!r}; it has {', '.join(given) or 'none'}. Add "
            f"`{split}: {{images: FOLDER, masks: FOLDER}}`."
        )
    found = list(_of_all(path, pairs, description.follow_links))
    if share and split != "test":
        in_val = val_names((name for name, _ in found), share)
        found = [(name, item) for name, item in found if (name in in_val) == (split == "val")]
        if not found:
            raise DataError(
                f"{path}: `val_share: {share:g}` of these images leaves none for {split}. Choose "
                f"a {'larger' if split == 'val' else 'smaller'} share, or give `val` its own "
                "folders.",
                kind="empty split",
                file=path,
            )
    examples = tuple(item for _, item in found if isinstance(item, Example))
    faults = tuple(item for _, item in found if isinstance(item, DataError))
    return Split(name=f"{path.name} {split}", examples=examples, faults=faults, **meaning)


def val_names(names: Iterable[str], share: float) -> set[str]:
    """Chooses the images that `val_share` puts into val: those whose names' checksums are smallest.

    All checksums in the lowest `share` of their range are chosen, however many images there are:
    such an image stays in val for good. If these are too few, the next ones are chosen too. Only
    those may return to train when images are added.

    Args:
        names: Names of the images, as in `Example.id`.
        share: Share of images in val, 0..1.

    Returns:
        At least `share` of the names, rounded.
    """
    sums = sorted((zlib.crc32(os.fsencode(name)), name) for name in set(names))
    low = sum(checksum < share * 2**32 for checksum, _ in sums)
    least = int(len(sums) * share + 0.5 + 1e-9)  # 0.29 x 50 is 14.499999999999998.
    return {name for _, name in sums[: max(low, least)]}


def example_name(images: str, name: str, several: bool) -> str:
    """Returns the name of an image in its split, with its folder if the split has several pairs.

    Args:
        images: The folder of the images, as the YAML file gives it.
        name: What the image's and the mask's file names share.
        several: Whether the split has several pairs of folders.
    """
    return f"{PurePosixPath(images)}/{name}" if several else name


def _of_all(
    path: Path, pairs: Sequence[Folders], follow_links: bool
) -> Iterator[tuple[str, Example | DataError]]:
    """Yields (name, `Example` or `DataError`) for each image of a split; names do not repeat."""
    seen = set()
    for folders in pairs:
        for stem, item in pair_of_folders(path, folders, follow_links):
            name = example_name(folders.images, stem, len(pairs) > 1)
            if isinstance(item, Example):
                if name in seen:
                    item = DataError(
                        f"{path}: two pairs of folders have {item.image}. Give it in one of them.",
                        kind="listed twice",
                        file=item.image,
                    )
                else:
                    item = replace(item, id=name)
                seen.add(name)
            yield name, item
