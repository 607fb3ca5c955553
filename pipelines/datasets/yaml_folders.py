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
        in_val = val_images(((images, stem) for images, stem, _ in found), share)
        found = [one for one in found if (one[:2] in in_val) == (split == "val")]
        if not found:
            raise DataError(
                f"{path}: `val_share: {share:g}` of these images leaves none for {split}. Choose "
                f"a {'larger' if split == 'val' else 'smaller'} share, or give `val` its own "
                "folders.",
                kind="empty split",
                file=path,
            )
    examples = tuple(item for *_, item in found if isinstance(item, Example))
    faults = tuple(item for *_, item in found if isinstance(item, DataError))
    return Split(name=f"{path.name} {split}", examples=examples, faults=faults, **meaning)


def val_images(images: Iterable[tuple[str, str]], share: float) -> set[tuple[str, str]]:
    """Chooses the images that `val_share` puts into val: those whose names' checksums are smallest.

    All checksums in the lowest `share` of their range are chosen, however many images there are:
    such an image stays in val for good. If these are too few, the next ones are chosen too. Only
    those may return to train when images are added.

    If several folders have an image of the same name, that of the first folder counts by its name,
    the others by their folder and name. So a choice stays when folders are added at the end.

    Args:
        images: The folder of each image, as the YAML file gives it, and what the image's and the
            mask's file names share.
        share: Share of images in val, 0..1.

    Returns:
        At least `share` of the images, rounded.
    """
    seen: set[str] = set()
    sums = []
    for folder, name in dict.fromkeys(images):
        counted = f"{_without_detours(folder)}/{name}" if name in seen else name
        seen.add(name)
        sums.append((zlib.crc32(os.fsencode(counted)), counted, (folder, name)))
    sums.sort()
    low = sum(checksum < share * 2**32 for checksum, *_ in sums)
    least = int(len(sums) * share + 0.5 + 1e-9)  # 0.29 x 50 is 14.499999999999998.
    return {image for *_, image in sums[: max(low, least)]}


def _without_detours(folder: str) -> str:
    """Returns a folder's path without `.` and `..`, which depend on where the YAML file is."""
    return "/".join(part for part in PurePosixPath(folder).parts if part != "..")


def _of_all(
    path: Path, pairs: Sequence[Folders], follow_links: bool
) -> Iterator[tuple[str, str, Example | DataError]]:
    """Yields (folder, name, `Example` or `DataError`) for each image of a split.

    `Example.id` is the name, with its folder if there are several pairs. No example repeats.
    """
    seen = set()
    for folders in pairs:
        for stem, item in pair_of_folders(path, folders, follow_links):
            name = f"{PurePosixPath(folders.images)}/{stem}" if len(pairs) > 1 else stem
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
            yield folders.images, stem, item
