"""Files of pixels: which images they belong to, and their shapes. For formats without outlines."""

import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from pipelines.annotations.annotated import Bitmap, Shape
from pipelines.annotations.listing import Listing
from pipelines.errors import DataError
from pipelines.files.images import read_mask_and_palette, read_size
from pipelines.files.opening import Encoded, read_content

TIFF = (b"II*\0", b"MM\0*")
TIFFS = (".tif", ".tiff")
MASKS = re.compile(
    r"mask|label|annot|segm|ground.?truth|(?<![a-z])(gt|seg)(?![a-z])", re.IGNORECASE
)
MAX_PIXELS = 200_000_000
NAME_LISTS = ("class_names.txt", "classes.txt", "labels.txt")


@dataclass(frozen=True)
class Tiff:
    """A TIFF file, which is read as a PNG."""

    path: Path

    def read_bytes(self) -> bytes:
        """Returns the picture as PNG."""
        data = io.BytesIO()
        try:
            with Image.open(io.BytesIO(read_content(self.path))) as image:
                _check_pixels(self.path, image.size)
                if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
                    raise DataError(
                        f"{self.path}: a TIFF of the kind {image.mode!r}; 8 bits, or 16 bits of "
                        "grey, are read. Save it as PNG.",
                        kind="format",
                        file=self.path,
                    )
                image.save(data, "PNG")
        except DataError:
            raise
        except (OSError, ValueError, SyntaxError) as error:
            raise _no_tiff(self.path, error) from None
        return data.getvalue()

    def __str__(self) -> str:
        """Names the file."""
        return str(self.path)


def readable(image: Path | DataError) -> Path | Encoded | DataError:
    """Returns an image; a TIFF as one that is read as a PNG."""
    is_tiff = isinstance(image, Path) and image.suffix.lower() in TIFFS
    return Tiff(image) if is_tiff and isinstance(image, Path) else image


def read_values(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads the values of a mask, and its palette; also of a TIFF.

    Raises:
        DataError: The file cannot be read, or is lossy.
    """
    if path.suffix.lower() not in TIFFS:
        return read_mask_and_palette(path)
    try:
        with Image.open(io.BytesIO(read_content(path))) as image:
            _check_pixels(path, image.size)
            palette = None
            if image.mode == "P":
                palette = np.array(image.getpalette("RGB"), "uint8").reshape(-1, 3)
            return np.array(image), palette
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        raise _no_tiff(path, error) from None


def check_size(mask: np.ndarray, path: Path, image: Path | Encoded | DataError) -> None:
    """Checks that a mask has the size of its image.

    Raises:
        DataError: It has another.
    """
    if isinstance(image, DataError):
        return
    size = read_size(image)
    if mask.shape[:2] != size:
        stated, real = (f"{h} x {w}" for h, w in (mask.shape[:2], size))
        raise DataError(
            f"{path}: the mask is {stated} (height x width), but the image {image} is {real}. "
            "Export them again with the same size.",
            kind="size mismatch",
            file=path,
            value=mask.shape[:2],
        )


def shapes_of(values: np.ndarray, class_ids: Iterable[int]) -> list[Shape]:
    """Returns a shape for each class id in an array `[h, w]`, in the order of `class_ids`."""
    present = set(np.unique(values).tolist())
    return [
        Shape(class_id, Bitmap(partial(np.equal, values, class_id)), label=f"class {class_id}")
        for class_id in class_ids
        if class_id in present
    ]


class Images:
    """The images of a source that masks may belong to."""

    def __init__(self, listing: Listing, is_mask: Callable[[str], bool]) -> None:
        """Takes all files with the suffix of an image that are no mask."""
        self.listing = listing
        self.root = listing.image_root
        self.names = [n for n in listing.image_names if listing.images or not is_mask(n)]
        self.by_stem: dict[str, list[str]] = {}
        for name in self.names:
            self.by_stem.setdefault(PurePosixPath(name).stem, []).append(name)

    def of(self, stem: str, mask: str) -> str | None:
        """Returns the image with a stem: of several, the only nearest one to the mask."""
        fits = self.by_stem.get(stem, [])
        if len(fits) < 2:
            return fits[0] if fits else None
        steps = {name: _steps(name, mask) for name in fits}
        nearest = [name for name in fits if steps[name] == min(steps.values())]
        return nearest[0] if len(nearest) == 1 else None

    def found(self, stem: str, mask: str) -> tuple[str, Path | Encoded | DataError]:
        """Returns the name of an image and its file, or why there is none."""
        name = self.of(stem, mask)
        if name is not None:
            return name, readable(self.root / name)
        fits = self.by_stem.get(stem, [])
        rule = f"fits several images: {', '.join(fits[:3])}" if fits else "has no image"
        return stem, DataError(
            f"{self.listing.root / mask}: {rule}. The image must be called {stem!r}, with another "
            "ending, in a folder of images. If it is elsewhere, add --images FOLDER.",
            kind="missing image",
            file=self.listing.root / mask,
        )


def is_in_mask_folder(name: str) -> bool:
    """Whether a folder of a path is called like one of masks."""
    return any(MASKS.search(part) for part in PurePosixPath(name).parts[:-1])


def names_beside(listing: Listing, names: Sequence[str] = NAME_LISTS) -> str | None:
    """Returns the text file that lists class names, if there is one."""
    return next((n for n in listing.files if n.rpartition("/")[2].lower() in names), None)


def _check_pixels(path: Path, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(
            f"{path}: {size[0] * size[1]:,} pixels; at most {MAX_PIXELS:,} are read. Cut it into "
            "tiles.",
            kind="too large",
            file=path,
        )


def _no_tiff(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: cannot be read as TIFF ({error!s:.100}). Save it as PNG.",
        kind="damaged file",
        file=path,
    )


def _steps(one: str, other: str) -> int:
    """Counts the steps from the folder of one file to that of another."""
    a, b = PurePosixPath(one).parent.parts, PurePosixPath(other).parent.parts
    return len(a) + len(b) - 2 * len(os.path.commonprefix([a, b]))
