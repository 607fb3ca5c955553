"""Instance masks, of one class: a folder of masks for each image, or a file of object numbers.

- `ID/images/ID.png` with `ID/masks/*.png` (Data Science Bowl 2018), or `masks/NAME/*.png` for the
  image `NAME.jpg`: one black-and-white mask for each object.
- 16-bit files whose values are numbers of objects (Cellpose, StarDist); 0 is the background.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from pipelines.annotations.annotated import Annotated, Bitmap, ClassName, Picture, Shape
from pipelines.annotations.listing import PEEKED, Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.binary_masks import foreground
from pipelines.annotations.readers.mask_files import (
    TIFFS,
    Images,
    check_size,
    is_in_mask_folder,
    read_values,
)
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.errors import DataError
from pipelines.files.opening import Encoded
from pipelines.split_names import split_of

OBJECT = "object"
SUFFIXES = ("_masks", "_mask", "_cp_masks", "-mask", "_label", "_labels", "_seg")
DEEP = ("I;16", "I;16B", "I", "I;16L")  # Pillow's modes of more than 8 bits.
SMALL = 0.1  # The share of the image that the middle one of the objects' boxes takes at most.
LOOKED_AT = 3


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for instance masks, or None."""
    folders = _folders(listing)
    several = next((masks for masks in folders.values() if len(masks) > 1), None)
    if several:
        return f"{several[0].rpartition('/')[0]} holds several masks of one image"
    for mask in list(_numbered(listing, PEEKED))[:LOOKED_AT]:
        try:
            if _are_objects(read_values(listing.root / mask)[0]):
                return f"{mask} has 16 bits, and its values are numbers of objects"
        except DataError:
            continue
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Finds the images and their masks."""
    images = Images(listing, lambda name: False)
    pictures = []
    for image_name, masks in sorted(_folders(listing).items()):
        _, image = images.found(PurePosixPath(image_name).stem, image_name)
        pictures.append(
            _picture(listing, image_name, image, masks[0], partial(_of_files, listing, masks))
        )
    if not pictures:
        numbered = _numbered(listing)
        images = Images(listing, numbered.__contains__)
        for mask, stem in sorted(numbered.items()):
            name, image = images.found(stem, mask)
            pictures.append(
                _picture(listing, name, image, mask, partial(_of_numbers, listing.root / mask))
            )
    return Annotated(
        classes=(ClassName(OBJECT),),
        pictures=tuple(pictures),
        notes=("all objects are of one class; rename it with --merge object=NAME",),
    )


def _picture(
    listing: Listing,
    name: str,
    image: Path | Encoded | DataError,
    mask: str,
    shapes: Callable[[Path | Encoded | DataError], list[Shape]],
) -> Picture:
    return Picture(
        name=name,
        image=image,
        shapes=partial(shapes, image),
        where=str(listing.root / mask),
        split=split_of(str(PurePosixPath(mask).parent)),
    )


def _folders(listing: Listing) -> dict[str, list[str]]:
    """Returns the masks of each image that has a folder of them."""
    by_folder: dict[PurePosixPath, list[str]] = defaultdict(list)
    for name in listing.ending(*EXTENSIONS):
        by_folder[PurePosixPath(name).parent].append(name)
    images = Images(listing, is_in_mask_folder)
    found = {}
    for folder, names in by_folder.items():
        if not is_in_mask_folder(f"{folder}/x"):
            continue
        # ID/masks beside ID/images, which holds one image; or masks/NAME.
        beside = [
            name
            for other, others in by_folder.items()
            if other.parent == folder.parent and other != folder and len(others) == 1
            for name in others
            if not is_in_mask_folder(name)
        ]
        stem = folder.parent.name if folder.parent.name else ""
        image = (
            beside[0]
            if len(beside) == 1 and (PurePosixPath(beside[0]).stem == stem or len(names) > 1)
            else images.of(folder.name, names[0])
        )
        own = PurePosixPath(image).stem if image else ""
        if image and not any(PurePosixPath(name).stem == own for name in names):
            found[image] = names
    return found


def _numbered(listing: Listing, most: int | None = None) -> dict[str, str]:
    """Returns the files of more than 8 bits that belong to an image, with that one's stem.

    Args:
        listing: The files.
        most: How many files of each folder to look at.
    """
    seen: Counter[str] = Counter()
    deep = set()
    for name in listing.ending(*TIFFS, ".png"):
        folder = name.rpartition("/")[0]
        seen[folder] += 1
        if (most is None or seen[folder] <= most) and _is_deep(listing, name):
            deep.add(name)
    images = Images(listing, deep.__contains__)
    without_word = {re.sub("ima?ge?", "", stem): stem for stem in images.by_stem}
    found = {}
    for name in sorted(deep):
        stem = PurePosixPath(name).stem
        stems = [stem, *(stem.removesuffix(end) for end in SUFFIXES if stem.endswith(end))]
        stems.append(without_word.get(re.sub("masks?|labels?", "", stem), ""))  # mask1 and img1.
        fitting = [one for one in stems if images.of(one, name)]
        if fitting:
            found[name] = fitting[0]
    return found


def _is_deep(listing: Listing, name: str) -> bool:
    if not name.lower().endswith((*TIFFS, ".png")):
        return False
    try:
        with Image.open(listing.root / name) as image:
            return image.mode in DEEP
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _are_objects(values: np.ndarray) -> bool:
    """Whether values are numbers of objects: most of them are in one small place."""
    numbers = np.unique(values)
    numbers = numbers[numbers > 0]
    if values.ndim != 2 or len(numbers) < 3:
        return False
    areas = []
    for number in numbers[:100].tolist():
        rows, columns = np.nonzero(values == number)
        areas.append((np.ptp(rows) + 1) * (np.ptp(columns) + 1))
    return bool(np.median(areas) <= SMALL * values.size)


def _of_files(listing: Listing, masks: list[str], image: Path | Encoded | DataError) -> list[Shape]:
    shapes = []
    for name in masks:
        pixels = foreground(listing.root / name)
        check_size(pixels, listing.root / name, image)
        packed = np.packbits(pixels)  # Hundreds of objects, each as large as the image.
        decode = partial(_unpacked, packed, pixels.shape)
        shapes.append(Shape(0, Bitmap(decode), label=f"mask {name}"))
    return shapes


def _unpacked(packed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.unpackbits(packed, count=shape[0] * shape[1]).reshape(shape).astype(bool)


def _of_numbers(path: Path, image: Path | Encoded | DataError) -> list[Shape]:
    values, _ = read_values(path)
    if values.ndim != 2:
        raise DataError(
            f"{path}: has colours, but the values of an instance mask are numbers of objects. "
            "Save it as a grey file of 16 bits.",
            kind="format",
            file=path,
        )
    check_size(values, path, image)
    return [Shape(0, Bitmap(partial(np.not_equal, values, 0)), label="objects")]
