"""The files of a source: annotation files by their beginning, images by their name."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from pipelines.annotations.json_files import beginning_and_end
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.datasets.lists import is_inside
from pipelines.errors import DataError
from pipelines.files.opening import read_content
from pipelines.split_names import split_of

PEEK = 500_000  # Bytes at the beginning and the end of a file that tell its format.
PEEKED = 20  # Annotation files of one folder that are looked at.


@dataclass(frozen=True)
class Listing:
    """The files below a folder, without hidden ones.

    Attributes:
        root: The folder.
        files: Relative paths with forward slashes, sorted.
        images: The folder of the images, if it is another one.
    """

    root: Path
    files: tuple[str, ...]
    images: Path | None = None

    @property
    def image_root(self) -> Path:
        """The folder of the images."""
        return self.images or self.root

    @cached_property
    def image_names(self) -> tuple[str, ...]:
        """The images in their folder, like `files`."""
        files = listed(self.images).files if self.images else self.files
        return tuple(name for name in files if PurePosixPath(name).suffix.lower() in EXTENSIONS)

    def ending(self, *suffixes: str) -> list[str]:
        """The files with one of these suffixes, such as ".json", in any case."""
        return [name for name in self.files if name.lower().endswith(suffixes)]

    def beginnings(self, *suffixes: str, most: int | None = PEEKED) -> Iterator[tuple[str, str]]:
        """Yields (file, the text of its beginning and end) for `most` files of each folder."""
        seen: dict[str, int] = defaultdict(int)
        for name in self.ending(*suffixes):
            folder = name.rpartition("/")[0]
            seen[folder] += 1
            if most is None or seen[folder] <= most:
                yield name, beginning_and_end(self.root / name, PEEK)

    def splits(self, names: Sequence[str], *, by_name: bool = True) -> dict[str, str | None]:
        """Returns the split of each annotation file, which its path below all of them names.

        Args:
            names: The files.
            by_name: Whether the files' own names count, not only those of their folders. (They do
                not if each file is about one image, which may be called test.)
        """
        folders = {name: PurePosixPath(name).parent for name in names}
        above = os.path.commonpath([*map(str, folders.values())]) if names else ""
        places = {
            name: (PurePosixPath(name) if by_name else folder).relative_to(above or ".")
            for name, folder in folders.items()
        }
        return {name: split_of(str(place)) for name, place in places.items()}

    def find_image(self, name: str, near: str, split: str | None = None) -> Path | DataError:
        """Finds the file of an image that annotations name.

        Of several, the one in the named place counts, then the one whose path ends as `name` does,
        then the one of the same split. A wrong folder does no harm if only one file fits.

        Args:
            name: What the annotations say: a name or path, with slashes of any system.
            near: The annotation file.
            split: The split of the image, if it is known.

        Returns:
            The `Path`, or a `DataError` that says why there is none.
        """
        where = f"{self.root / near}: names the image {name!r}"
        wanted = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        fits = self._by_name.get(wanted[-1], []) if wanted else []
        folder = self.image_root
        if not fits:
            close = self._by_stem.get(PurePosixPath(wanted[-1]).stem.casefold()) if wanted else None
            hint = f" (but {close!r})" if close else ""
            return DataError(
                f"{where}, but {folder} has no such file{hint}. Add it, or give the folder of the "
                "images with --images FOLDER.",
                kind="missing image",
                file=self.root / near,
                value=name,
            )
        path = _chosen(fits, wanted, "" if self.images else near, split)
        if path is None:
            return DataError(
                f"{where}, but several files fit: {', '.join(fits[:3])}. Give the folder of the "
                "right ones with --images FOLDER, or convert each folder by itself.",
                kind="ambiguous image",
                file=self.root / near,
                value=name,
            )
        if (folder / path).is_symlink() and not is_inside(folder / path, folder):
            return DataError(
                f"{folder / path}: a link that leads out of {folder}. Give the folder that it "
                "leads to with --images FOLDER.",
                kind="outside the folder",
                file=folder / path,
            )
        return folder / path

    def beside(self, name: str) -> list[str]:
        """Returns the names of images in a file's folder that are called like it."""
        stem = PurePosixPath(name).with_suffix("")
        names = [f"{stem}{suffix}" for end in EXTENSIONS for suffix in (end, end.upper())]
        return [PurePosixPath(name).name for name in names if name in self._known]

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for file in self.image_names:
            found[file.rpartition("/")[2]].append(file)
        return dict(found)

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        return {PurePosixPath(name).stem.casefold(): name for name in self._by_name}


def listed(source: Path, images: Path | None = None) -> Listing:
    """Lists a folder's files; of a file, only itself and the images beside it.

    Raises:
        DataError: The source or the folder of images does not exist or cannot be read.
    """
    for folder in (source, images):
        if folder is not None and not os.path.exists(folder):
            raise DataError(f"{folder}: no such folder. Check the path.", file=folder)
    if images is not None and not os.path.isdir(images):
        raise DataError(f"--images {images}: a file, not a folder.", file=images)
    if os.path.isdir(source):
        return Listing(source, tuple(sorted(_walk(source))), images)
    read_content(source, 2**62)  # Raises if it cannot be read.
    folder = source.parent
    beside = (f for f in _walk(folder) if PurePosixPath(f).suffix.lower() in EXTENSIONS)
    return Listing(folder, (*sorted(beside), source.name), images)


def _walk(root: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}). Check its permissions."
        )

    for place, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(place, root).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        yield from (f"{prefix}{name}" for name in names if not name.startswith("."))


def _chosen(fits: list[str], wanted: list[str], near: str, split: str | None) -> str | None:
    """Returns the one of several files that annotations mean; None if that is unclear."""
    place = os.path.normpath("/".join([near.rpartition("/")[0] or ".", *wanted]))
    if place in fits:
        return place
    given = [part for part in wanted if part != ".."]
    while len(fits) > 1 and given:
        suffix = "/".join(given)
        ending = [f for f in fits if f == suffix or f.endswith(f"/{suffix}")]
        if ending:
            fits = ending
            break
        given = given[1:]
    if len(fits) > 1 and split:
        fits = [f for f in fits if split_of(f) == split]
    return fits[0] if len(fits) == 1 else None
