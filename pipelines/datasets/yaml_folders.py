"""Reads your own folders of images and masks, which a YAML file describes (`yaml_schema`).

An image and its mask have the same name, apart from the extension and an optional mask suffix.
Names are compared in Unicode's composed form, because systems store accents differently. Hidden
files are ignored, and neither lists nor links may lead out of the folders that the YAML file names.
"""

import os
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NoReturn

from pipelines.datasets.lists import is_inside, read_lines
from pipelines.datasets.yaml_schema import Folders, load
from pipelines.errors import DataError
from pipelines.split import SPLITS, Example, Split

# TIFF and HEIC are unsupported, but included so that a message can say so.
EXTENSIONS = {".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


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
    }
    if description.tfds:
        from pipelines.datasets import tfds  # An extra, which takes seconds to import.

        data_dir = path.parent / description.data_dir if description.data_dir else None
        return tfds.read_with(description.tfds, data_dir, split, **meaning)
    if split not in SPLITS:
        raise DataError(f"split={split!r}: must be one of {', '.join(SPLITS)}.")
    share = description.val_share
    folders = getattr(description, "train" if split == "val" and share else split)
    if folders is None:
        given = [name for name in SPLITS if getattr(description, name)]
        raise DataError(
            f"{path}: no split {split!r}; it has {', '.join(given) or 'none'}. Add "
            f"`{split}: {{images: FOLDER, masks: FOLDER}}`."
        )
    found = list(_found(path, folders))
    if share and split != "test":
        found = [(name, item) for name, item in found if in_val(name, share) == (split == "val")]
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


def in_val(name: str, share: float) -> bool:
    """Whether `val_share` puts an image into val; this depends only on its name.

    Args:
        name: Name of the image, without extension.
        share: Approximate share of images in val.
    """
    return zlib.crc32(os.fsencode(name)) < share * 2**32


def files_of(folder: Path, deep: bool = False) -> dict[str, list[Path]]:
    """Finds the image files of a folder.

    Args:
        folder: A `Path`.
        deep: Search subfolders too.

    Returns:
        A dict: relative path without extension, in composed form -> list of `Path`s.

    Raises:
        DataError: The folder cannot be read.
    """

    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}).")

    files: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if deep and not name.startswith("."))
        for name in sorted(names):
            file = Path(place, name)
            if file.suffix.lower() in EXTENSIONS and not name.startswith("."):
                stem = _composed(file.relative_to(folder).with_suffix(""))
                files.setdefault(stem, []).append(file)
    return files


def _composed(path: str | PurePath) -> str:
    return unicodedata.normalize("NFC", Path(path).as_posix())


def _found(path: Path, folders: Folders) -> Iterator[tuple[str, Example | DataError]]:
    """Yields (name, `Example`) for each image with a mask, (name, `DataError`) otherwise."""
    image_folder, mask_folder = path.parent / folders.images, path.parent / folders.masks
    suffix = _composed(folders.mask_suffix) if folders.mask_suffix else ""
    for folder in (image_folder, mask_folder):
        if not folder.is_dir():
            raise DataError(f"{path}: no such folder: {folder}")
    together = image_folder.samefile(mask_folder)
    if together and not suffix:
        raise DataError(
            f"{path}: images and masks are in one folder, {image_folder}. Give the suffix of the "
            "mask names, such as `mask_suffix: _mask`."
        )
    images, masks = (files_of(f, bool(folders.list)) for f in (image_folder, mask_folder))
    masks = {stem.removesuffix(suffix): m for stem, m in masks.items() if stem.endswith(suffix)}
    if together:
        images = {stem: files for stem, files in images.items() if not stem.endswith(suffix)}
    for files, folder, which in (
        (images, image_folder, ""),
        (masks, mask_folder, f" whose names end in {suffix!r}" if suffix else ""),
    ):
        if not files:
            raise DataError(
                f"{folder}: holds no images{which}. Its subfolders are searched only if there is a "
                "`list`.",
                kind="empty split",
                file=folder,
            )
    named: Iterable[tuple[str, DataError | None]]
    if folders.list:
        named = _listed(path.parent / folders.list, image_folder, images)
    else:
        named = ((stem, None) for stem in sorted(images.keys() | masks.keys()))
    for stem, fault in named:
        faults = [fault] if fault else []
        if not faults:
            of_image, of_mask = images.get(stem, []), masks.get(stem, [])
            faults += _faults_of_files(of_image, image_folder)
            faults += _faults_of_files(of_mask, mask_folder)
            if not of_mask:
                faults.append(_unpaired(of_image[0], "mask", mask_folder, f"{stem}{suffix}"))
            if not of_image:
                faults.append(_unpaired(of_mask[0], "image", image_folder, stem))
        for fault in faults:
            yield stem, fault
        if not faults:
            yield stem, Example(stem, of_image[0], of_mask[0])


def _listed(
    listing: Path, folder: Path, images: Mapping[str, list[Path]]
) -> Iterator[tuple[str, DataError | None]]:
    """Yields (name, None) for each image that a list names, (name, `DataError`) for bad lines."""
    stems = {_composed(file.relative_to(folder)): s for s in images for file in images[s]}
    seen = set()
    for line in read_lines(listing):
        name = _composed(PurePosixPath(line))
        stem = stems.get(name, name)
        if stem in seen:
            kind, rule = "listed twice", "which is already listed. Remove one line."
        elif ".." in PurePosixPath(line).parts or not is_inside(folder / line, folder):
            kind = "outside the folder"
            rule = f"but neither `..` nor a link may lead out of {folder}. Copy the file there."
        elif stem not in images:
            kind = "missing file"
            rule = (
                f"but {folder} has no such image. A line is the name of one image, with or without "
                "extension, or its path in that folder; the mask is found by that name."
            )
        else:
            kind = rule = ""
        seen.add(stem)
        text = f"{listing}: lists {line!r}, {rule}"
        yield stem, DataError(text, kind=kind, file=listing, value=line) if kind else None


def _faults_of_files(files: Sequence[Path], folder: Path) -> Iterator[DataError]:
    """Yields the faults of the files with one name in a folder."""
    if len(files) > 1:
        yield DataError(
            f"{files[0]} and {files[1].name}: two files with the same name. Remove one.",
            kind="same name",
            file=files[1],
        )
    for file in files:
        if file.is_symlink() and not is_inside(file, folder):
            yield DataError(
                f"{file}: a link that leads out of {folder}, to {os.path.realpath(file)}. Copy the "
                "file into the folder, or give the file's own folder in the YAML file.",
                kind="outside the folder",
                file=file,
            )


def _unpaired(file: Path, missing: str, folder: Path, name: str) -> DataError:
    return DataError(
        f"{file} has no {missing}: {folder} has no image file called {name!r} (with any "
        "extension). Add it, or remove the file.",
        kind="unpaired",
        file=file,
    )
