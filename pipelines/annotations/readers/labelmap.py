"""VOC-like folders with `labelmap.txt`: masks whose colours a file maps to classes.

CVAT calls the format "Segmentation mask", Datumaro "voc". https://docs.cvat.ai/docs
"""

import re
from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from pipelines.annotations.annotated import VOID, Annotated, ClassName, Colour, Picture, Shape
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.mask_files import (
    Images,
    check_size,
    is_in_mask_folder,
    read_values,
    shapes_of,
)
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.datasets.lists import read_lines
from pipelines.errors import DataError
from pipelines.files.opening import Encoded
from pipelines.split import distinct_palette
from pipelines.split_names import split_of

LINE = re.compile(r"(.+?):(?:\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*)?:[^:]*:[^:]*")
VOID_COLOUR = (224, 224, 192)  # Of PASCAL VOC's borders.
VOID_NAMES = {"ignored", "ignore", "void", "__ignore__"}
OBJECTS = re.compile(r"segmentationobject|instance|visuali[sz]|preview", re.IGNORECASE)
BLACK = (0, 0, 0)
LISTS = "ImageSets"


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for masks with a label map, or None."""
    for name, text in listing.beginnings(".txt"):
        lines = [line for line in text.split("\n") if line.strip() and line[0] != "#"]
        if _is_map(name) and lines and all(LINE.fullmatch(line.strip()) for line in lines):
            if any(is_in_mask_folder(mask) for mask in listing.ending(".png")):
                return f"{name} maps colours to classes, as CVAT's masks have it"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads the masks and the label map."""
    maps = [name for name in listing.ending(".txt") if _is_map(name)]
    if not maps:
        raise DataError(
            f"{listing.root}: has no labelmap.txt with lines such as `road:128,64,128::`.",
            kind="no label map",
            file=listing.root,
        )
    colours = _colours(listing, maps)
    names = [name for name in colours if name.lower() not in VOID_NAMES]
    by_colour = {
        **({VOID_COLOUR: VOID} if VOID_COLOUR not in colours.values() else {}),
        **{c: names.index(n) if n in names else VOID for n, c in colours.items()},
    }
    # Black is the background, unless it is a class.
    has_background = BLACK not in by_colour or "background" in colours
    by_colour.setdefault(BLACK, -1)
    masks = [name for name in listing.ending(*EXTENSIONS) if _is_mask(name)]
    images = Images(listing, is_in_mask_folder)
    splits, faults = _splits(listing, masks)
    pictures, notes = [], []
    for mask in masks:
        name, image = images.found(PurePosixPath(mask).stem, mask)
        path = listing.root / mask
        picture = Picture(
            name=name,
            image=image,
            shapes=partial(_shapes, path, image, by_colour),
            where=str(path),
            split=splits.get(mask, split_of(str(PurePosixPath(mask).parent))),
        )
        pictures.append(picture)
    if without := len(images.names) - len({picture.name for picture in pictures}):
        notes.append(f"{without:,} images without a mask are left out")
    return Annotated(
        classes=tuple(ClassName(name, colours[name]) for name in names),
        pictures=tuple(pictures),
        has_background=has_background,
        notes=tuple(notes),
        faults=tuple(faults),
    )


def _is_map(name: str) -> bool:
    return name.rpartition("/")[2].lower() in ("labelmap.txt", "label_map.txt")


def _is_mask(name: str) -> bool:
    return is_in_mask_folder(name) and not OBJECTS.search(name.rpartition("/")[0])


def _colours(listing: Listing, maps: list[str]) -> dict[str, Colour]:
    """Reads the colour of each class; several maps must agree."""
    spare = distinct_palette(256)
    found: dict[str, Colour] = {}
    for name in maps:
        path = listing.root / name
        lines = [line for line in read_lines(path) if not line.startswith("#")]
        for number, line in enumerate(lines):
            match = LINE.fullmatch(line)
            if match is None:
                raise _wrong(path, f"the line {line!r:.100} is not like `road:128,64,128::`")
            r, g, b = (
                tuple(int(n) for n in match.groups()[1:])
                if match[2]
                else tuple(int(n) for n in spare[number % len(spare)])
            )
            label = match[1].strip()
            if max(r, g, b) > 255:
                raise _wrong(path, f"the colour of {label!r} exceeds 255")
            if found.setdefault(label, (r, g, b)) != (r, g, b):
                raise _wrong(path, f"gives {label!r} the colour {r},{g},{b}, and before another")
    twice = [colour for colour, count in Counter(found.values()).items() if count > 1]
    if twice:
        labels = [label for label, colour in found.items() if colour == twice[0]]
        listed = ",".join(map(str, twice[0]))
        raise _wrong(listing.root / maps[0], f"{' and '.join(labels)} have the colour {listed}")
    return found


def _splits(listing: Listing, masks: list[str]) -> tuple[dict[str, str], list[DataError]]:
    """Returns the split of each mask that a list names, and the faults of lists."""
    by_place: dict[tuple[str, str], str] = {}
    for mask in masks:
        path = PurePosixPath(mask)
        for above in path.parents:
            below = path.relative_to(above).with_suffix("")
            by_place[str(above), str(PurePosixPath(*below.parts[1:]))] = mask
    splits: dict[str, str] = {}
    faults = []
    for name in listing.ending(".txt"):
        parts = PurePosixPath(name).parts
        if LISTS not in parts or (listed := split_of(PurePosixPath(name).stem)) is None:
            continue
        root = str(PurePosixPath(*parts[: parts.index(LISTS)]))
        try:
            lines = read_lines(listing.root / name)
        except DataError:  # An empty list: no image of the split.
            continue
        for line in lines:
            fitting = by_place.get((root, line.strip('"'))) or by_place.get((root, line.split()[0]))
            if fitting:
                splits.setdefault(fitting, listed)
            else:
                faults.append(
                    DataError(
                        f"{listing.root / name}: lists {line!r:.100}, which has no mask. Add it, "
                        "or remove the line.",
                        kind="missing mask",
                        file=listing.root / name,
                        value=line,
                    )
                )
    return splits, faults


def _shapes(
    path: Path, image: Path | Encoded | DataError, by_colour: dict[Colour, int]
) -> list[Shape]:
    """Reads the shapes of a mask: one for each class in it."""
    values, palette = read_values(path)
    check_size(values, path, image)
    if values.ndim == 2 and palette is None and not _are_greys(values, by_colour):
        return _by_index(path, values, by_colour)
    if values.ndim == 2:
        if palette is None:
            palette = np.repeat(np.arange(256, dtype="uint8")[:, None], 3, 1)
        if values.max() >= len(palette):
            raise _wrong(path, f"has the value {values.max()}, which its palette lacks")
        pixels = palette[values.astype("int64")].astype("int64")
    else:
        pixels = values.astype("int64")
    codes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    classes = np.full(codes.shape, -2, "int16")
    for (r, g, b), class_id in by_colour.items():
        classes[codes == (r << 16 | g << 8 | b)] = class_id
    if (classes == -2).any():
        row, column = np.argwhere(classes == -2)[0].tolist()
        colour = ",".join(map(str, pixels[row, column].tolist()))
        raise DataError(
            f"{path}: {np.count_nonzero(classes == -2):,} pixels have colours that labelmap.txt "
            f"does not list; the first, ({row}, {column}) (row, column), has {colour}. Add a line "
            f"`NAME:{colour}::` to labelmap.txt, or export the masks again without smoothing.",
            kind="unknown colour",
            file=path,
            value=pixels[row, column].tolist(),
        )
    return shapes_of(classes, [*range(len(by_colour)), VOID])


def _are_greys(values: np.ndarray, by_colour: dict[Colour, int]) -> bool:
    return all((v, v, v) in by_colour for v in np.unique(values).tolist())


def _by_index(path: Path, values: np.ndarray, by_colour: dict[Colour, int]) -> list[Shape]:
    """Reads grey values, which are positions in the label map."""
    count = sum(class_id not in (-1, VOID) for class_id in by_colour.values())
    found = set(np.unique(values).tolist()) - {VOID}
    if found and max(found) >= count:
        raise DataError(
            f"{path}: has the grey value {max(found)}, which is neither a colour of labelmap.txt "
            f"nor the position of one of its {count} classes. Add it to labelmap.txt.",
            kind="unknown colour",
            file=path,
            value=max(found),
        )
    return shapes_of(values, [*range(count), VOID])


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: {reason}. Correct it.", kind="wrong label map", file=path)
