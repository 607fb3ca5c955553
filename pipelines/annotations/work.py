"""One conversion: draws all images into a folder, and counts what happened."""

import io
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.annotations import output, yaml_text
from pipelines.annotations.annotated import Annotated, Overlap, Picture, Shape
from pipelines.annotations.classes import Classes
from pipelines.annotations.drawing import Drawn, draw
from pipelines.annotations.listing import Listing
from pipelines.annotations.mask_names import MaskNames
from pipelines.annotations.options import Options
from pipelines.annotations.yaml_text import EMBEDDED, Pair
from pipelines.errors import DataError
from pipelines.files.exif import TRANSPOSED
from pipelines.files.images import read_image, read_orientation
from pipelines.files.opening import Encoded
from pipelines.split import IGNORE

Watch = Callable[[str, int | None], AbstractContextManager[Callable[[], object]]]
BOX = "box without an outline (see --boxes)"
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp"}


@dataclass
class Conversion:
    """What a conversion found and wrote.

    Attributes:
        out: The folder; `data.yaml` in it describes the data.
        format: The format of the source.
        evidence: How it was recognised.
        class_names: The classes in the order of their ids.
        images: The number of images of each split.
        pixels: The number of pixels of each class; `void` is one of them.
        left_out: Counts of what was not drawn, by reason.
        noted: Counts of shapes that were drawn, but are doubtful, by reason.
        painted_over: The number of pixels of shapes that later shapes of other classes cover.
        skipped: The faults of images that were left out.
        notes: Further notes for the user.
    """

    out: Path
    format: str
    evidence: str
    class_names: tuple[str, ...] = ()
    images: Counter[str] = field(default_factory=Counter)
    pixels: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    painted_over: int = 0
    skipped: list[DataError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Work:
    """Draws all images into a folder and collects what `conversion.json` says."""

    def __init__(
        self,
        folder: Path,
        listing: Listing,
        annotated: Annotated,
        options: Options,
        classes: Classes,
        made: Conversion,
    ) -> None:
        """Starts with nothing drawn; `folder` is empty, `made` gets all counts."""
        self.folder, self.listing, self.annotated = folder, listing, annotated
        self.options, self.classes, self.made = options, classes, made
        self.pairs: dict[str, list[Pair]] = defaultdict(list)
        self.records: list[dict[str, Any]] = []
        self.names = MaskNames()
        self.draws_boxes = options.boxes == "mask"
        splits = {picture.split for picture in annotated.pictures}
        self.only_split = len(splits) == 1

    def convert(self, watch: Watch) -> None:
        """Draws all images; faults become `Conversion.skipped`."""
        self.made.skipped += self.annotated.faults
        if self.options.boxes == "error":
            self._refuse_boxes()
        pictures = self.annotated.pictures
        with watch(f"converting {len(pictures)} images", len(pictures)) as advance:
            for picture in pictures:
                if isinstance(picture.image, DataError):
                    self.made.skipped.append(picture.image)
                else:
                    try:
                        self._convert(picture, picture.image)
                    except DataError as error:
                        self.made.skipped.append(_located(error, picture))
                advance()

    def write(self, source: Path) -> None:
        """Writes `data.yaml`, the lists and `conversion.json`."""
        made, out = self.made, self.made.out
        root = self.listing.image_root
        about = f"Converted from {source} ({made.format})."
        images = yaml_text.relative_folder(root, out)
        text = yaml_text.write(self.folder, images, self.pairs, self.classes, about, made.notes)
        (self.folder / output.YAML).write_text(text, "utf-8", newline="\n")
        content = {
            "format": made.format,
            "evidence": made.evidence,
            "classes": list(self.classes.names),
            "overlap": self._overlap,
            "notes": made.notes,
            "left_out": dict(made.left_out),
            "noted": dict(made.noted),
            "pixels": dict(made.pixels),
            "pixels_painted_over": made.painted_over,
            "skipped": [str(fault) for fault in made.skipped],
            "images": self.records,
        }
        output.write_record(self.folder, source, content)

    @property
    def _overlap(self) -> Overlap:
        return self.options.overlap or self.annotated.overlap

    def _convert(self, picture: Picture, source: Path | Encoded) -> None:
        """Draws one image."""
        split = "train" if self.only_split else picture.split or "train"
        mask_name = self.names.choose(picture, split)
        image = read_image(source)
        size = (image.shape[0], image.shape[1])
        _check_size(picture, source, size)
        shapes = picture.shapes() if callable(picture.shapes) else picture.shapes
        left_out = picture.left_out + Counter(
            {BOX: sum(shape.is_box for shape in shapes) * (not self.draws_boxes)}
        )
        shapes = [s for s in shapes if self.draws_boxes or not s.is_box]
        if not shapes and self.options.unlabelled == "skip":
            self.made.left_out["image without shapes"] += 1
            return
        drawn = draw(
            [self._final(shape) for shape in shapes],
            size,
            self.classes.unlabelled,
            edge=self.annotated.edge,
            overlap=self._overlap,
            line_width=self.options.lines,
        )
        drawn.left_out += left_out
        mask = self.folder / "masks" / split / mask_name
        output.write_mask(mask, drawn.mask, self.classes.colours)
        self.pairs[split].append(self._pair(source, split, mask_name))
        self._record(picture, split, mask_name, drawn)

    def _final(self, shape: Shape) -> Shape:
        """Returns a shape with the class id of the masks."""
        class_id = self.classes.ids.get(shape.class_id, IGNORE)
        return Shape(class_id, shape.geometry, shape.is_box, shape.label)

    def _pair(self, source: Path | Encoded, split: str, mask_name: str) -> Pair:
        if isinstance(source, Path):
            root = self.listing.image_root
            return Pair(source.relative_to(root).as_posix(), mask_name, False)
        data = source.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            suffix = SUFFIXES.get(str(image.format), ".png")
        name = f"{split}/{mask_name.removesuffix('.png')}{suffix}"
        path = self.folder / EMBEDDED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return Pair(name, mask_name, True)

    def _record(self, picture: Picture, split: str, mask_name: str, drawn: Drawn) -> None:
        counts = np.bincount(drawn.mask.ravel(), minlength=256)
        names = {**dict(enumerate(self.classes.names)), IGNORE: "void"}
        pixels = {names[i]: int(counts[i]) for i in np.flatnonzero(counts).tolist()}
        self.records.append(
            {
                "image": picture.name,
                "mask": f"masks/{split}/{mask_name}",
                "split": split,
                "pixels": pixels,
                "left_out": dict(drawn.left_out),
                "noted": dict(drawn.noted),
                "pixels_painted_over": drawn.painted_over,
            }
        )
        made = self.made
        made.images[split] += 1
        made.pixels += Counter(pixels)
        made.left_out += drawn.left_out
        made.noted += drawn.noted
        made.painted_over += drawn.painted_over

    def _refuse_boxes(self) -> None:
        """Raises an error if there is nothing but boxes."""
        boxes = 0
        for picture in self.annotated.pictures:
            if callable(picture.shapes) or any(not shape.is_box for shape in picture.shapes):
                return
            boxes += len(picture.shapes)
        if boxes:
            raise DataError(
                f"{self.listing.root}: has only boxes ({boxes:,}), no outlines or masks. To train "
                "on filled boxes, add --boxes mask.",
                kind="only boxes",
                file=self.listing.root,
            )


def _check_size(picture: Picture, source: Path | Encoded, size: tuple[int, int]) -> None:
    """Checks that an image has the size that its annotations state."""
    if picture.size is None or picture.size == size:
        return
    stated, real = (f"{h} x {w}" for h, w in (picture.size, size))
    hint = "Give the image that was annotated, or annotate this one."
    if picture.size == size[::-1] and read_orientation(source) in TRANSPOSED:
        hint = (
            "It is annotated as it is stored, not turned upright as its EXIF orientation says. "
            "Save the image turned upright and annotate it again, or remove its orientation."
        )
    raise DataError(
        f"the annotations are for {stated} (height x width), but the image is {real}. {hint}",
        kind="size mismatch",
        file=source,
        value=size,
    )


def _located(error: DataError, picture: Picture) -> DataError:
    """Adds the file and entry to an error that does not name them."""
    if str(error).startswith(picture.where):
        return error
    kept = error.to_dict()
    return DataError(**{**kept, "message": f"{picture.where}: {error}"})
