"""Converts what a labelling tool exported into masks and a YAML file that is ready for training."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pipelines.annotations import output
from pipelines.annotations.annotated import Annotated
from pipelines.annotations.classes import BACKGROUND, choose, parse_merge
from pipelines.annotations.formats import FORMATS, PICTURES, check_options
from pipelines.annotations.listing import Listing, listed
from pipelines.annotations.options import Boxes, Options, Unlabelled
from pipelines.annotations.recognise import recognise
from pipelines.annotations.unreadable import unreadable
from pipelines.annotations.work import Conversion, Watch, Work
from pipelines.errors import DataError, raise_all


def convert(
    source: str | Path,
    out: str | Path,
    *,
    format: str = "auto",
    images: str | Path | None = None,
    attribute: str | None = None,
    annotator: str | None = None,
    boxes: Boxes = "error",
    lines: float | None = None,
    unlabelled: Unlabelled | None = None,
    overlap: Literal["large-first", "file"] | None = None,
    keep: Sequence[str] = (),
    merge: str = "",
    on_bad_file: Literal["stop", "skip"] = "stop",
    watch: Watch | None = None,
) -> Conversion:
    """Converts annotations into masks, `data.yaml` and `conversion.json`.

    Images stay where they are, and the source is never changed. Masks are palette PNGs of class
    ids with the size of the upright image; 255 is void. All files are written, or none.

    Args:
        source: The folder that a labelling tool exported, or one annotation file.
        out: The folder to write; must not exist, or hold an earlier conversion of the source.
        format: A key of `pipelines.annotations.formats.FORMATS`, or "auto".
        images: The folder of the images, if it is not in the source.
        attribute: As in `Options`; so are `annotator`, `boxes`, `lines`, `unlabelled`, `overlap`
            and `keep`.
        annotator: See `attribute`.
        boxes: See `attribute`.
        lines: See `attribute`.
        unlabelled: See `attribute`.
        overlap: See `attribute`.
        keep: See `attribute`.
        merge: New class names, such as "crack,spall=damage"; several separated by semicolons.
        on_bad_file: "stop" raises an error that names all missing and broken images and entries;
            "skip" leaves them out.
        watch: Shows progress: called with a text and the number of images, it returns a context
            manager that gives a function to call after each.

    Returns:
        A `Conversion`.

    Raises:
        DataError: The source has faults, an option does not fit it, or `out` exists.
    """
    source, out = Path(source), Path(out)
    output.check_destination(out, source)
    options = Options(
        attribute, annotator, boxes, lines, unlabelled, overlap, keep, parse_merge(merge)
    )
    listing = listed(source, None if images is None else Path(images))
    if format == "auto":
        format, evidence = recognise(listing, source)
    elif format in FORMATS:
        evidence = "given by --format"
    else:
        raise DataError(f"--format {format}: must be auto or one of {', '.join(FORMATS)}.")
    check_options(format, options)
    annotated = FORMATS[format].read(listing, options)
    faults = (*annotated.faults, *unreadable(listing, annotated.faults))
    notes = annotated.notes + _unnamed(annotated, listing) * (format not in PICTURES)
    annotated = replace(annotated, faults=faults, notes=notes)
    made = Conversion(out, format, evidence, notes=list(annotated.notes))
    if not annotated.pictures:
        raise_all(annotated.faults)
        raise DataError(f"{source}: holds no images in the format {format}.", file=source)
    if images is None and on_bad_file == "stop":
        raise_all(_all_missing(annotated, source))
    classes = choose(annotated, options, source)
    made.class_names = classes.names
    with output.new_folder(out) as folder:
        work = Work(folder, listing, annotated, options, classes, made)
        work.convert(watch or _silent)
        if on_bad_file == "stop" or not work.pairs:
            raise_all(made.skipped)
        if set(made.pixels) <= {BACKGROUND, "void"}:
            made.notes.append("no shape of any class was drawn; there is nothing to learn")
        work.write(source)
    return made


def _unnamed(annotated: Annotated, listing: Listing) -> tuple[str, ...]:
    """Notes the images that no annotation names, in folders where others are named."""
    named = {picture.image for picture in annotated.pictures if isinstance(picture.image, Path)}
    folders = {path.parent for path in named}
    paths = [listing.image_root / name for name in listing.image_names]
    unnamed = [path for path in paths if path.parent in folders and path not in named]
    if not unnamed:
        return ()
    count = f"{len(unnamed):,} image{'s' * (len(unnamed) > 1)}"
    return (f"left out {count} that no annotation names, such as {unnamed[0]}",)


def _all_missing(annotated: Annotated, source: Path) -> list[DataError]:
    """Returns one fault instead of many if no image was found at all."""
    if all(isinstance(picture.image, DataError) for picture in annotated.pictures):
        count = len(annotated.pictures)
        return [
            DataError(
                f"{source}: none of the {count:,} images that the annotations name is there; the "
                f"first is {annotated.pictures[0].name!r}. Give their folder with --images FOLDER.",
                kind="missing image",
                file=source,
            )
        ] * (count > 1)
    return []


@contextlib.contextmanager
def _silent(text: str, total: int | None) -> Iterator[Callable[[], object]]:
    yield lambda: None
