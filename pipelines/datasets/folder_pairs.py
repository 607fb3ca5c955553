"""Pairs the images of a folder with the masks of another, for `yaml_folders`.

An image and its mask have the same name, apart from the extension and optional suffixes. Names are
compared in Unicode's composed form, because systems store accents differently. Hidden files are
ignored. Lists may not lead out of the folders that the YAML file names; links only if it permits
them.
"""

import os
import reprlib
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import NoReturn

from pipelines.datasets.listed_pairs import listed_pairs, read_pairs
from pipelines.datasets.lists import is_inside, read_lines
from pipelines.datasets.yaml_schema import Folders
from pipelines.errors import DataError
from pipelines.split import Example

# TIFF and HEIC are unsupported, but included so that a message can say so.
EXTENSIONS = {".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

_SHORT = reprlib.Repr()  # Of lines: a file that is no list may have long ones.
_SHORT.maxstring = 300


def pair_of_folders(
    path: Path, folders: Folders, follow_links: bool
) -> Iterator[tuple[str, Example | DataError]]:
    """Pairs the images and masks of two folders.

    Args:
        path: The YAML file, to which the folders are relative.
        folders: The folders, and how their names are to be read.
        follow_links: Whether links may lead out of the folders.

    Yields:
        (name, `Example`) for each image with a mask, (name, `DataError`) for each fault.

    Raises:
        DataError: A folder is missing or holds no image files, or the list cannot be read.
    """
    image_folder, mask_folder = (_joined(path, given) for given in (folders.images, folders.masks))
    if folders.list and (lines := read_pairs(listing := _joined(path, folders.list))):
        yield from listed_pairs(listing, lines, image_folder, mask_folder, follow_links)
        return
    images, masks = _files(path, folders, image_folder, mask_folder, follow_links)
    named: Iterable[tuple[str, DataError | None]]
    if folders.list:
        listing = _joined(path, folders.list)
        named = _listed(listing, image_folder, images, folders.image_suffix, follow_links)
    else:
        named = ((stem, None) for stem in sorted(images.keys() | masks.keys()))
    for stem, fault in named:
        faults = [fault] if fault else []
        if not faults:
            of_image, of_mask = images.get(stem, []), masks.get(stem, [])
            faults += _faults_of_files(of_image, image_folder, follow_links)
            faults += _faults_of_files(of_mask, mask_folder, follow_links)
            if not of_mask:
                name = f"{stem}{folders.mask_suffix}"
                faults.append(_unpaired(of_image[0], "mask", mask_folder, name))
            if not of_image:
                name = f"{stem}{folders.image_suffix}"
                faults.append(_unpaired(of_mask[0], "image", image_folder, name))
        for fault in faults:
            yield stem, fault
        if not faults:
            yield stem, Example(stem, of_image[0], of_mask[0])


def files_of(folder: Path, deep: bool = False, follow_links: bool = False) -> dict[str, list[Path]]:
    """Finds the image files of a folder.

    Args:
        folder: A `Path`.
        deep: Search subfolders too.
        follow_links: Search subfolders that are links, too; each once.

    Returns:
        A dict: relative path without extension, in composed form -> list of `Path`s.

    Raises:
        DataError: The folder cannot be read.
    """

    def refuse(error: OSError) -> NoReturn:
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}). Check its permissions."
        )

    files: dict[str, list[Path]] = {}
    seen = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=follow_links):
        if (real := os.path.realpath(place)) in seen:  # Links may be circular.
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if deep and not name.startswith("."))
        for name in sorted(names):
            file = Path(place, name)
            if file.suffix.lower() in EXTENSIONS and not name.startswith("."):
                stem = _composed(file.relative_to(folder).with_suffix(""))
                files.setdefault(stem, []).append(file)
    return files


def masks_among(stems: Collection[str], image_suffix: str, mask_suffix: str) -> list[str]:
    """Tells masks from images with names in one folder.

    A name that ends with the suffix of masks may still be an image: with `_1`, `a_1` is one if it
    has a mask, `a_1_1`, but is not the mask of an image `a`.

    Args:
        stems: The names of all files in the folder, without extensions.
        image_suffix: What images add to the name that an image and its mask share.
        mask_suffix: What masks add to it.

    Returns:
        The names of the masks.
    """
    found: dict[str, None] = {}
    for stem in sorted(stems, key=len):  # An image's name is shorter than its mask's.
        if stem.endswith(mask_suffix):
            image = f"{stem.removesuffix(mask_suffix)}{image_suffix}"
            own_mask = f"{stem.removesuffix(image_suffix)}{mask_suffix}"
            is_image = stem.endswith(image_suffix) and own_mask in stems
            if not is_image or (image in stems and image not in found):
                found[stem] = None
    return list(found)


def _files(
    path: Path, folders: Folders, image_folder: Path, mask_folder: Path, follow_links: bool
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Returns the files of images and of masks by the names that they share."""
    for folder in (image_folder, mask_folder):
        if not os.path.isdir(folder):
            raise DataError(f"{path}: no such folder: {folder}")
    image_suffix, mask_suffix = (
        unicodedata.normalize("NFC", suffix)
        for suffix in (folders.image_suffix, folders.mask_suffix)
    )
    together = image_folder.samefile(mask_folder)
    if together and not mask_suffix:
        raise DataError(
            f"{path}: images and masks are in one folder, {image_folder}. Give the suffix of the "
            "mask names, such as `mask_suffix: _mask`."
        )
    images, masks = (
        files_of(folder, bool(folders.list), follow_links) for folder in (image_folder, mask_folder)
    )
    if together:
        stems = masks_among(masks, image_suffix, mask_suffix)
        images = {stem: files for stem, files in images.items() if stem not in stems}
        masks = {stem: masks[stem] for stem in stems}
    images, masks = _without(images, image_suffix), _without(masks, mask_suffix)
    for files, folder, suffix in (
        (images, image_folder, image_suffix),
        (masks, mask_folder, mask_suffix),
    ):
        if not files:
            which = f" whose names end in {suffix!r}" if suffix else ""
            raise DataError(
                f"{folder}: holds no images{which}. Its subfolders are searched only if there is a "
                "`list`.",
                kind="empty split",
                file=folder,
            )
    return images, masks


def _joined(path: Path, given: str) -> Path:
    """Returns a path that a YAML file gives, as `/b` instead of `/a/../b` if both are the same."""
    if "\0" in given:
        raise DataError(f"{path}: {given!r} has a zero byte. Correct this path.", file=path)
    joined = path.parent / given
    short, real = os.path.normpath(joined), os.path.realpath(joined)
    return Path(short if os.path.realpath(short) == real else real)


def _without(files: Mapping[str, list[Path]], suffix: str) -> dict[str, list[Path]]:
    """Returns the files whose names end with a suffix, by their names without it."""
    return {stem.removesuffix(suffix): f for stem, f in files.items() if stem.endswith(suffix)}


def _listed(
    listing: Path,
    folder: Path,
    images: Mapping[str, list[Path]],
    suffix: str,
    follow_links: bool,
) -> Iterator[tuple[str, DataError | None]]:
    """Yields (name, None) for each image that a list names, (name, `DataError`) for bad lines."""
    stems = {f"{stem}{suffix}": stem for stem in images}
    stems |= {_composed(file.relative_to(folder)): s for s in images for file in images[s]}
    seen = set()
    for line in read_lines(listing):
        name = _composed(PurePosixPath(line))
        stem = stems.get(name, name)
        if stem in seen:
            kind, rule = "listed twice", "which is already listed. Remove one line."
        elif os.path.isabs(line) or ".." in PurePosixPath(line).parts:
            kind = "outside the folder"
            rule = (
                f"but a line is a name or path in {folder}, without `..` or a leading slash. Write "
                "it so. If the image is elsewhere, give its folder as another pair."
            )
        elif not follow_links and not is_inside(folder / line, folder):
            kind = "outside the folder"
            rule = (
                f"but a link leads out of {folder} there. Copy the file there, or permit links "
                "with `follow_links: true`."
            )
        elif stem not in images:
            kind = "missing file"
            rule = (
                f"but {folder} has no such image. A line is the name of one image, with or without "
                "extension, or its path in that folder; the mask is found by that name."
            )
        else:
            kind = rule = ""
        seen.add(stem)
        text = f"{listing}: lists {_SHORT.repr(line)}, {rule}"
        yield stem, DataError(text, kind=kind, file=listing, value=line) if kind else None


def _faults_of_files(
    files: Sequence[Path], folder: Path, follow_links: bool
) -> Iterator[DataError]:
    """Yields the faults of the files with one name in a folder."""
    if len(files) > 1:
        yield DataError(
            f"{files[0]} and {files[1].name}: two files with the same name. Remove one.",
            kind="same name",
            file=files[1],
        )
    for file in files:
        if not follow_links and file.is_symlink() and not is_inside(file, folder):
            yield DataError(
                f"{file}: a link that leads out of {folder}, to {os.path.realpath(file)}. Copy the "
                "file into the folder, give the file's own folder in the YAML file, or permit "
                "links there with `follow_links: true`.",
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


def _composed(path: str | PurePath) -> str:
    """Returns a path with forward slashes and composed accents."""
    return unicodedata.normalize("NFC", Path(path).as_posix())
