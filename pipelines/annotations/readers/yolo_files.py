"""The files of a YOLO data set: its YAML file, images by split, and the label file of each."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.annotations.listing import Listing, listed
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.datasets.lists import is_inside, read_lines
from pipelines.datasets.yaml_loading import parse
from pipelines.errors import DataError
from pipelines.split_names import split_of

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
NAME_LISTS = ("classes.txt", "obj.names", "labels.txt", "class_names.txt")


@dataclass(frozen=True)
class Label:
    """An image, the name of its mask, and its label file, None if there is none."""

    name: str
    image: Path | DataError
    path: Path | None
    split: str | None


@dataclass(frozen=True)
class Dataset:
    """A data set: names by class id, and the images with their label files."""

    names: dict[int, str]
    labels: tuple[Label, ...]
    notes: tuple[str, ...] = ()
    faults: tuple[DataError, ...] = ()
    has_keypoints: bool = False


def dataset(listing: Listing, is_label: Callable[[str], bool]) -> Dataset:
    """Reads the data set of a folder.

    Args:
        listing: The files.
        is_label: Whether a file name is that of a label file.

    Raises:
        DataError: There is no class name, several YAML files, or one that is wrong.
    """
    found = [name for name in listing.ending(".yaml", ".yml") if _is_yolo(listing.root / name)]
    if len(found) > 1:
        raise DataError(
            f"{listing.root}: has several data sets of YOLO: {', '.join(found[:3])}. Give one of "
            "these files, or the folder of one.",
            kind="several data sets",
            file=listing.root,
        )
    return _Yaml(listing, found[0]).dataset() if found else _without_yaml(listing, is_label)


def _is_yolo(path: Path) -> bool:
    try:
        content = parse(path)
    except DataError:
        # Told when it is the only one.
        return path.stem.lower() in ("data", "dataset")
    keys = set(content) if isinstance(content, dict) else set()
    return bool(keys & {"names", "nc"} and keys & set(SPLITS))


class _Yaml:
    """A data set that a YAML file describes."""

    def __init__(self, listing: Listing, name: str) -> None:
        self.listing, self.name, self.path = listing, name, listing.root / name
        self.content: dict[str, Any] = parse(self.path)
        self.faults: list[DataError] = []
        self.notes: list[str] = []
        if not isinstance(self.content, dict):
            raise self.wrong("must have the keys names, train and val")

    def dataset(self) -> Dataset:
        """Finds the images and label files."""
        names = self.names()
        labels: dict[str, Label] = {}
        for key, split in SPLITS.items():
            for image in self.images(key, split):
                if image in labels and labels[image].split != split:
                    self.faults.append(
                        DataError(
                            f"{self.path}: the image {image!r} is in {labels[image].split} and in "
                            f"{split}. Leave it in one.",
                            kind="in several splits",
                            file=self.path,
                        )
                    )
                labels.setdefault(image, self.label(image, split))
        return Dataset(
            names,
            (*labels.values(), *self.without_image(list(labels.values()))),
            tuple(self.notes),
            tuple(self.faults),
            has_keypoints="kpt_shape" in self.content,
        )

    def names(self) -> dict[int, str]:
        """Returns the class names by id."""
        given, count = self.content.get("names"), self.content.get("nc")
        if given is None and type(count) is int and 0 < count < 1000:
            self.notes.append(f"{self.name} has no `names`: the classes are called class_0 and on")
            return {number: f"class_{number}" for number in range(count)}
        if isinstance(given, list):
            given = dict(enumerate(given))
        if not isinstance(given, dict) or not given:
            raise self.wrong(f"`names` must list the classes, found {given!r:.100}")
        names = {}
        for key, name in given.items():
            if not str(key).isdecimal():
                raise self.wrong(f"`names` must have whole numbers as keys, found {key!r:.100}")
            if isinstance(name, bool) or not isinstance(name, str | int | float):
                raise self.wrong(f"the name of class {key} must be text in quotes, found {name!r}")
            names[int(key)] = str(name)
        if count is not None and count != len(names):
            raise self.wrong(f"`nc` is {count!r:.50}, but there are {len(names)} names")
        return names

    def images(self, key: str, split: str) -> Iterator[str]:
        """Yields the images of a split, relative to the listing's root (of images)."""
        entries = self.content.get(key)
        for entry in entries if isinstance(entries, list) else [entries]:
            if entry in (None, ""):
                continue
            if not isinstance(entry, str):
                raise self.wrong(f"`{key}` must be a path, found {entry!r:.100}")
            place = self.found(entry)
            if place is None:
                self.faults.append(self.missing(key, entry))
            elif place.endswith(".txt"):
                yield from self.listed(place)
            else:
                inside = "" if place == "." else f"{place}/"
                yield from (name for name in self.listing.image_names if name.startswith(inside))

    def listed(self, listing: str) -> Iterator[str]:
        """Yields the images that a text file lists."""
        for line in read_lines(self.listing.root / listing):
            found = self.listing.find_image(line, listing)
            if isinstance(found, DataError):
                self.faults.append(found)
            else:
                yield found.relative_to(self.listing.image_root).as_posix()

    def found(self, entry: str) -> str | None:
        """Finds the folder or list of a split; that of another computer by the end of its path."""
        base = str(self.content.get("path") or "")
        parts = [p for p in f"{base}/{entry}".replace("\\", "/").split("/") if p not in ("", ".")]
        own = [p for p in entry.replace("\\", "/").split("/") if p not in ("", ".")]
        above = PurePosixPath(self.name).parent.as_posix()
        for given in (parts, own):
            for start in range(len(given) + 1):
                place = os.path.normpath("/".join([above, *given[start:]]))
                if start == len(given) and given:
                    continue
                if place in self.places and (place == "." or not place.startswith("..")):
                    return place
        return None

    @cached_property
    def places(self) -> set[str]:
        """The folders of images, and the text files, relative to the root."""
        folders = {
            str(above) for name in self.listing.image_names for above in PurePosixPath(name).parents
        }
        texts = {name for name in listed(self.listing.root).files if name.lower().endswith(".txt")}
        return folders | texts

    def label(self, image: str, split: str) -> Label:
        """Finds the label file: in `labels` instead of the last `images`, or beside the image."""
        own = [PurePosixPath(replaced(image)), PurePosixPath(image).with_suffix(".txt")]
        paths = [self.listing.root / place for place in own]
        path = next((p for p in paths if p.is_file() and is_inside(p, self.listing.root)), None)
        found = self.listing.find_image(image, "") if self.listing.images is None else None
        fault = found if isinstance(found, DataError) else None
        return Label(image, fault or self.listing.image_root / image, path, split)

    def without_image(self, labels: Sequence[Label]) -> Iterator[Label]:
        """Yields label files of the same folders that have no image."""
        known = {label.path for label in labels}
        folders = {label.path.parent: label.split for label in labels if label.path}
        folders = {f: split for f, split in folders.items() if "labels" in f.parts}
        for folder, split in sorted(folders.items()):
            for path in sorted(folder.glob("*.txt")):
                if path not in known and path.name not in NAME_LISTS:
                    name = path.relative_to(self.listing.root).as_posix()
                    yield unpaired(self.listing, name, split)

    def missing(self, key: str, entry: str) -> DataError:
        return DataError(
            f"{self.path}: `{key}: {entry}` is not there: {self.listing.image_root} has no folder "
            "of images or list that this path ends with. Correct it, or give the folder with "
            "--images FOLDER.",
            kind="missing folder",
            file=self.path,
            value=entry,
        )

    def wrong(self, reason: str) -> DataError:
        return DataError(f"{self.path}: {reason}. Correct it.", kind="wrong YAML", file=self.path)


def replaced(image: str) -> str:
    """Returns the label file of an image: `labels` instead of the last `images`, .txt."""
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return "/".join(parts)


def unpaired(listing: Listing, label: str, split: str | None) -> Label:
    """Finds the image of a label file by its name."""
    stem = PurePosixPath(label).stem
    for suffix in sorted(EXTENSIONS):
        for name in (f"{stem}{suffix}", f"{stem}{suffix.upper()}"):
            found = listing.find_image(name, label, split)
            if isinstance(found, Path):
                root = listing.image_root
                place = found.relative_to(root).as_posix()
                return Label(place, found, listing.root / label, split)
    fault = listing.find_image(f"{stem}.jpg", label, split)
    return Label(f"{stem}.jpg", fault, listing.root / label, split)


def _without_yaml(listing: Listing, is_label: Callable[[str], bool]) -> Dataset:
    """Reads a data set without a YAML file, whose classes a text file lists."""
    lists = [name for name in listing.files if name.rpartition("/")[2] in NAME_LISTS]
    if not lists:
        raise DataError(
            f"{listing.root}: has YOLO's label files, but no data.yaml, and none of "
            f"{', '.join(NAME_LISTS)} that names the classes. Add one.",
            kind="no class names",
            file=listing.root,
        )
    names = dict(enumerate(read_lines(listing.root / lists[0])))
    files = [name for name in listing.ending(".txt") if is_label(name) and name not in lists]
    labels = [unpaired(listing, name, split_of(str(PurePosixPath(name).parent))) for name in files]
    return Dataset(names, tuple(labels), (f"the class names are those of {lists[0]}",))
