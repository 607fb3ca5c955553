"""What every format's reader returns: classes, images, and shapes in paint order.

Coordinates are (x, y) in pixels of the upright image: (0, 0) is the outer corner of its first
pixel, (w, h) that of its last. Class ids are positions in `Annotated.classes`, or `VOID`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.annotations.rle import Runs
from pipelines.errors import DataError
from pipelines.files.opening import Encoded
from pipelines.split import IGNORE

VOID = IGNORE  # The class id of shapes that are neither trained on nor measured.
Colour = tuple[int, int, int]
Edge = Literal["centre", "containing", "nearest"]
Overlap = Literal["large-first", "file"]


@dataclass(frozen=True)
class ClassName:
    """A class: its name, and its colour if the tool has one."""

    name: str
    colour: Colour | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """An area: all its parts. A part is an outline, then its holes; each float `[points, 2]`."""

    parts: tuple[tuple[np.ndarray, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Bitmap:
    """Pixels: bool `[h, w]`, whose first one is at (left, top) of the image.

    `decode` returns them, so that they stay compressed until they are drawn; if they are damaged,
    it raises a `ValueError`.
    """

    decode: Callable[[], np.ndarray]
    left: int = 0
    top: int = 0


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse: its centre, radii, and the angle of the first radius, clockwise in degrees."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    angle: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A line through `points`, float `[n, 2]`; `width` in pixels, None where the tool has none."""

    points: np.ndarray
    width: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A point; `width` is the diameter of its disc, None where the tool has none."""

    x: float
    y: float
    width: float | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A shape that cannot be read, which makes its image unusable; `reason` says why."""

    reason: str


Geometry = Polygon | Bitmap | Runs | Ellipse | Line | Point | Broken


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of an image.

    Attributes:
        class_id: Position in `Annotated.classes`, or `VOID`.
        geometry: What it covers.
        is_box: Whether it is the box of an object whose outline is unknown. (A rectangle that
            somebody drew as the area itself is none.)
        label: Its name in messages, such as "annotation 17".
    """

    class_id: int
    geometry: Geometry
    is_box: bool = False
    label: str = "a shape"


@dataclass(frozen=True)
class Picture:
    """One image and its shapes.

    Attributes:
        name: Its relative path with forward slashes, which names the mask.
        image: Its file, the file inside the annotations, or the `DataError` why there is none.
        shapes: The shapes in file order, or by z-order and then file order; or a function that
            reads them when they are drawn.
        split: "train", "val" or "test"; None if the source does not say.
        size: (height, width) that the annotations state, or None.
        left_out: What the reader left out, with its count: `{"caption": 2}`.
        where: The file and entry, for messages.
    """

    name: str
    image: Path | Encoded | DataError
    shapes: Sequence[Shape] | Callable[[], Sequence[Shape]]
    where: str
    split: str | None = None
    size: tuple[int, int] | None = None
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Annotated:
    """What a source holds.

    Attributes:
        classes: The classes in the order of their ids. A class called background need not be
            among them; shapes of one so called are painted as background.
        pictures: The images.
        edge: How the format's own tool draws the edges of shapes; see `edges`.
        overlap: Which shapes are painted first.
        has_background: Whether pixels without a shape are background. If not, they are void.
        notes: Further notes for the user.
        faults: `DataError`s of files that cannot be used.
    """

    classes: tuple[ClassName, ...]
    pictures: tuple[Picture, ...]
    edge: Edge = "centre"
    overlap: Overlap = "file"
    has_background: bool = True
    notes: tuple[str, ...] = ()
    faults: tuple[DataError, ...] = ()
