"""The options of a conversion, which a format's reader may need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.annotations.annotated import Overlap

Boxes = Literal["mask", "skip", "error"]
Unlabelled = Literal["background", "void", "skip"]


@dataclass(frozen=True)
class Options:
    """How annotations are to be read.

    Attributes:
        attribute: The attribute that holds the class, if there are several (VIA).
        annotator: Whose annotations count, if several people labelled an image (Label Studio).
        boxes: Boxes of objects without an outline: "mask" fills them, "skip" leaves them out, and
            "error" does so unless there is nothing else.
        lines: Width in pixels of lines and points, instead of the tool's own; 0 leaves them out.
        unlabelled: Pixels that no shape covers: "background" or "void" (by default the format
            decides). "skip" leaves out images without shapes.
        overlap: "large-first" or "file" order; by default the format decides.
        keep: Names of the only classes to keep; the others become background.
        merge: New class names, such as `{"crack": "damage", "spall": "damage"}`.
    """

    attribute: str | None = None
    annotator: str | None = None
    boxes: Boxes = "error"
    lines: float | None = None
    unlabelled: Unlabelled | None = None
    overlap: Overlap | None = None
    keep: Sequence[str] = ()
    merge: Sequence[tuple[str, str]] = ()
