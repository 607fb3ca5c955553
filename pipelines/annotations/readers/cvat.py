"""CVAT: the XML files "CVAT for images 1.1" and "CVAT for video 1.1".

https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pipelines.annotations.annotated import Annotated, ClassName, Picture, Shape
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.cvat_files import CvatFile, Entry, Frame, read_file
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.errors import DataError
from pipelines.split_names import split_of

ROOT = re.compile(r"<annotations[\s>]")
SIGNS = re.compile(r"<(?:meta|image|track)[\s>/]")
FRAME = re.compile(r"(?:^|/)frame_(\d{6,18})\.[^/]+$")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
ENDINGS = [form for end in sorted(EXTENSIONS) for form in (end, end.upper())]


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for CVAT's XML files, or None."""
    for name, text in listing.beginnings(".xml"):
        if _is_cvat(text):
            return f"{name} has <annotations> with <image> or <track>, as CVAT's files have"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads all XML files of CVAT in a folder."""
    found = listing.beginnings(".xml", most=None)
    names = [name for name, text in found if _is_cvat(text)]
    splits = listing.splits(names)
    files: dict[str, CvatFile] = {}
    faults: list[DataError] = []
    notes: list[str] = []
    for name in names:
        try:
            files[name] = read_file(listing.root / name)
        except DataError as error:
            faults.append(error)
    classes = _classes(files.values(), notes)
    ids = {entry.name: number for number, entry in enumerate(classes)}
    pictures: list[Picture] = []
    for name, file in files.items():
        pictures += _images(file, name, ids, listing, splits[name])
        if file.frames:
            pictures += _frames(file, name, ids, listing, splits[name], notes)
        faults += file.faults
    return Annotated(classes, tuple(pictures), notes=tuple(notes), faults=tuple(faults))


def _is_cvat(text: str) -> bool:
    return bool(ROOT.search(text) and SIGNS.search(text))


def _classes(files: Iterable[CvatFile], notes: list[str]) -> tuple[ClassName, ...]:
    """Returns the labels in the order of <meta>, then others that shapes have."""
    files = list(files)
    colours = {name: colour for file in files for name, colour in file.labels.items()}
    entries = [e for file in files for e in (*file.images, *file.frames.values())]
    used = {label for entry in entries for _, label, *_ in entry.shapes}
    unlisted = sorted(used - set(colours))
    if unlisted and colours:
        notes.append(f"shapes have labels that <meta> does not list: {', '.join(unlisted[:10])}")
    others = set().union(*(file.other_labels for file in files)) - used - set(colours)
    if others:
        notes.append(
            "left out the labels of skeletons, points and tags: " + ", ".join(sorted(others)[:10])
        )
    return tuple(ClassName(name, colours.get(name)) for name in (*colours, *unlisted))


def _shapes(entry: Entry, ids: dict[str, int]) -> list[Shape]:
    """Returns the shapes by z-order, then file order."""
    ordered = sorted(entry.shapes, key=lambda shape: shape[0])
    return [Shape(ids[label], geometry, box, where) for _, label, geometry, box, where in ordered]


def _images(
    file: CvatFile, name: str, ids: dict[str, int], listing: Listing, split: str | None
) -> Iterable[Picture]:
    repeated = {n for n, count in Counter(e.name for e in file.images).items() if count > 1}
    for entry in file.images:
        of_entry = split_of(entry.subset) or split
        path = f"{entry.subset}/{entry.name}" if entry.subset else entry.name
        yield Picture(
            name=path if entry.name in repeated else entry.name,
            image=listing.find_image(path, name, of_entry),
            shapes=_shapes(entry, ids),
            where=f"{file.path}: image {entry.name!r}",
            split=of_entry,
            size=entry.size,
            left_out=entry.left_out,
        )


def _frames(
    file: CvatFile,
    name: str,
    ids: dict[str, int],
    listing: Listing,
    split: str | None,
    notes: list[str],
) -> Iterable[Picture]:
    """Builds the frames of videos: those with an entry, and those without whose image is there."""
    if fault := _mixed_videos(file):
        file.faults.append(fault)
        return
    found = {frame: _find(frame, listing, name) for frame in _all_frames(file, listing)}
    if not any(isinstance(image, Path) for image in found.values()):
        file.faults.append(_no_frames(file, listing))
        return
    jumped = {
        frame
        for video, numbers in file.jumped
        for frame in found
        if frame[:2] == video and frame.number in numbers
    }
    if jumped:
        notes.append(
            f"left out {len(jumped)} frames of {name}, which tracks pass over between two "
            "keyframes: export them with CVAT, which writes every frame"
        )
    for frame in sorted(set(found) - jumped, key=lambda f: (f.task or "", f.subset, f.number)):
        image, entry = found[frame], file.frames.get(frame, Entry())
        if frame not in file.frames and isinstance(image, DataError):
            continue  # A frame that was deleted, or not exported.
        subset = f"{frame.subset}/" if frame.subset else ""
        video = file.videos.get(frame.task)
        yield Picture(
            name=f"{subset}frame_{frame.number:06}.png",
            image=image,
            shapes=_shapes(entry, ids),
            where=f"{file.path}: frame {frame.number}",
            split=split_of(frame.subset) or split,
            size=video.size if video else None,
            left_out=entry.left_out,
        )


def _all_frames(file: CvatFile, listing: Listing) -> set[Frame]:
    """Returns the frames with an entry, and others of the same videos whose images are there."""
    frames = set(file.frames)
    names = listing.image_names
    there = {int(match[1]) for name in names if (match := FRAME.search(name))}
    for task, subset in {frame[:2] for frame in file.frames}:
        video = file.videos.get(task)
        frames |= {Frame(task, subset, n) for n in there if video and n in video.frames}
    return frames


def _find(frame: Frame, listing: Listing, near: str) -> Path | DataError:
    """Finds the image of a frame, which CVAT calls frame_000000.PNG."""
    stem = f"{f'{frame.subset}/' if frame.subset else ''}frame_{frame.number:06}"
    split = split_of(frame.subset)
    for ending in ENDINGS:
        found = listing.find_image(stem + ending, near, split)
        if isinstance(found, Path) or found.kind != "missing image":
            return found
    return listing.find_image(f"{stem}.png", near, split)


def _mixed_videos(file: CvatFile) -> DataError | None:
    """Returns the fault of several videos whose frames have the same names."""
    tasks = Counter(subset for _, subset in {(f.task, f.subset) for f in file.frames})
    if all(count == 1 for count in tasks.values()):
        return None
    return DataError(
        f"{file.path}: has several videos in one subset, so that the images of their frames have "
        "the same names. Export each task by itself.",
        kind="several videos",
        file=file.path,
    )


def _no_frames(file: CvatFile, listing: Listing) -> DataError:
    """Returns the fault of a video whose frames are not there as images."""
    videos = listing.ending(*VIDEOS)
    first = min(frame.number for frame in file.frames)
    return DataError(
        f"{file.path}: is about the frames of a video, but {listing.image_root} has no "
        f"images called frame_{first:06}.png and so on. Export with images, or write them: ffmpeg "
        f"-i {videos[0] if videos else 'VIDEO'} -start_number 0 frame_%06d.png",
        kind="missing image",
        file=file.path,
    )
