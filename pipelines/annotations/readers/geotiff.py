"""Where the pixels of a GeoTIFF are on the map, from its tags.

https://docs.ogc.org/is/19-008r4/19-008r4.html
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.errors import DataError
from pipelines.files.opening import read_content

SCALE, TIEPOINT, MATRIX, KEYS = 33550, 33922, 34264, 34735  # Tags.
MODEL, RASTER, GEOGRAPHIC, PROJECTED = 1024, 1025, 2048, 3072  # Keys of the tag KEYS.
POINT = 2  # Value of RASTER: coordinates are those of the pixels' centres.
CODES = range(1024, 32767)  # Of the EPSG; 32767 is a system of the file's own.


@dataclass(frozen=True)
class Place:
    """A GeoTIFF's size, transform and coordinate system.

    Attributes:
        size: (height, width).
        to_pixels: Float `[2, 3]`: (x, y, 1) on the map to (column, row); None if it has no place.
        epsg: The EPSG code of the coordinate system; None if it states none.
    """

    size: tuple[int, int]
    to_pixels: np.ndarray | None
    epsg: int | None


def read_place(path: Path) -> Place:
    """Reads a file's place from its header.

    Raises:
        DataError: It cannot be read, or its transform is wrong.
    """
    try:
        with Image.open(io.BytesIO(read_content(path))) as image:
            size = (image.height, image.width)
            tags = dict(getattr(image, "tag_v2", {}))
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: not readable ({error!s:.100}). Save it as a TIFF of 8 bits, or as PNG.",
            kind="damaged file",
            file=path,
        ) from None
    keys = _keys(tags.get(KEYS, ()))
    matrix = _matrix(path, tags, keys.get(RASTER) == POINT)
    code = keys.get(PROJECTED if keys.get(MODEL) == 1 else GEOGRAPHIC)
    if code is None:
        code = keys.get(PROJECTED, keys.get(GEOGRAPHIC))
    return Place(size, matrix, code if code in CODES else None)


def _keys(values: tuple[int, ...]) -> dict[int, int]:
    """Returns the keys whose value is in the directory itself."""
    entries = [values[n : n + 4] for n in range(4, len(values) - 3, 4)]
    return {key: value for key, tag, _, value in entries if tag == 0}


def _matrix(path: Path, tags: dict[int, tuple[float, ...]], is_point: bool) -> np.ndarray | None:
    """Returns the transform from the map to pixels."""
    try:
        if MATRIX in tags:
            to_map = np.array(tags[MATRIX], "float64").reshape(4, 4)[[0, 1, 3]][:, [0, 1, 3]]
        elif SCALE in tags and TIEPOINT in tags:
            across, down = tags[SCALE][:2]
            column, row, _, x, y, _ = tags[TIEPOINT][:6]
            to_map = np.array(
                [[across, 0, x - column * across], [0, -down, y + row * down], [0, 0, 1]]
            )
        else:
            return None
        if is_point:  # Then (0, 0) is the centre of the first pixel, not its corner.
            to_map = to_map @ np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
        inverse = np.linalg.inv(to_map)[:2]
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        raise DataError(
            f"{path}: its GeoTIFF tags are wrong ({error!s:.100}). Write it again, for example "
            "with gdal_translate.",
            kind="wrong GeoTIFF",
            file=path,
        ) from None
    return np.asarray(inverse) if np.isfinite(inverse).all() else None
