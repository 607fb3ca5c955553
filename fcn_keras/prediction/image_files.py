"""Finds the images to predict and plans the results' paths, never over a user's own files."""

import itertools
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fcn_keras.errors import ConfigError
from fcn_keras.outputs import check_folder, make_folder, remove_unfinished, replacing
from fcn_keras.prediction.pictures import Look, overlay, palette_png

ENDINGS = {".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
SOFTWARE = "fcn-keras predict"
# Measured on 5.3 megapixels: 0.01 s for a mask and 0.3 s for an overlay, as small as Pillow's
# default, which takes 0.05 s and 2 s. A JPEG overlay takes 0.01 s and a sixth of the bytes.
FAST_PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}
JPEG_QUALITY = 90
MAX_NAME = 255  # Bytes of a file's name, on all usual systems.

Overlay = Literal["png", "jpg", "none"]


class Results(NamedTuple):
    """The paths of a mask and of its overlay, which is None if there is none."""

    mask: Path
    overlay: Path | None


class Job(NamedTuple):
    """The images of one prediction, and the paths of its results.

    Attributes:
        images: The image's path; for a model of several images a dict of paths by name.
        results: The paths of the results, for each head in turn.
    """

    images: Path | dict[str, Path]
    results: tuple[Results, ...]

    @property
    def first(self) -> Path:
        """The image, or the first of several, after which the results are named."""
        return next(iter(self.images.values())) if isinstance(self.images, dict) else self.images


def plan(
    sources: Iterable[str | Path],
    out: str | Path,
    heads: Sequence[str] = (),
    parts: Sequence[str] = (),
    overlay: Overlay = "png",
) -> list[Job]:
    """Plans the jobs for a list of files and folders, and creates the folder for the results.

    Args:
        sources: Image files, or folders whose images are used (not hidden files or subfolders).
            For a model of several images, NAME=SOURCE; images that belong together must have the
            same name apart from the extension.
        out: The folder for the results.
        heads: For a model of several heads, their names, which are appended to the results' names.
        parts: For a model of several images, their names.
        overlay: The overlays' format, or "none" for masks alone.

    Raises:
        ConfigError: A source is missing or empty, two images have the same name and extension,
            images do not belong together, or a result cannot be written or would replace a file
            that is not an earlier result.
    """
    out = Path(out)
    images: list[Path | dict[str, Path]] = []
    images += _group_by_stem(sources, parts) if parts else _images(sources)
    endings = [f"_{head}" for head in heads] or [""]
    jobs = [
        Job(image, tuple(_results(out / f"{name}{end}", overlay) for end in endings))
        for image, name in zip(images, _names(images), strict=True)
    ]
    check_folder(out)
    _check_lengths(jobs)
    taken: dict[Path, Path] = {}
    for job in jobs:
        for result in filter(None, itertools.chain(*job.results)):
            if result in taken:
                raise ConfigError(
                    f"{result}: would be the result of both {taken[result]} and {job.first}. "
                    "Predict them into separate folders."
                )
            taken[result] = job.first
            if result.exists() and not _was_written_by_predict(result):
                raise ConfigError(
                    f"{result}: exists already and was not written by predict. Choose another "
                    "--out."
                )
    make_folder(out)
    remove_unfinished(out)
    return jobs


def _check_lengths(jobs: Iterable[Job]) -> None:
    for job in jobs:
        names = [path.name for path in filter(None, itertools.chain(*job.results))]
        longest = max(len(os.fsencode(name)) for name in names)
        if longest > MAX_NAME:
            raise ConfigError(
                f"{job.first}: the name of its mask or overlay would have {longest} bytes, but "
                f"file names have at most {MAX_NAME}. Rename the image."
            )


def _images(sources: Iterable[str | Path]) -> list[Path]:
    """Lists the image files among files and in folders, each once."""
    images: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found = [
                path
                for path in sorted(source.iterdir())
                if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
            ]
            if not found:
                raise ConfigError(
                    f"{source}: the folder contains no images. Choose another folder."
                )
            images += found
        elif source.is_file():
            images.append(source)
        else:
            raise ConfigError(f"{source}: no such file or folder.")
    return list(dict.fromkeys(images))


def _group_by_stem(sources: Iterable[str | Path], parts: Sequence[str]) -> list[dict[str, Path]]:
    """Groups the images of NAME=SOURCE texts by their stem."""
    by_part: dict[str, list[Path]] = {part: [] for part in parts}
    for source in map(str, sources):
        part, _, path = source.partition("=")
        if part not in by_part or not path:
            raise ConfigError(
                f"{source}: the model takes {len(parts)} images. Give a file or folder for each: "
                f"{' '.join(f'{part}=IMAGES' for part in parts)}."
            )
        by_part[part].append(Path(path))
    found = {}
    for part, paths in by_part.items():
        if not paths:
            raise ConfigError(f"{part}: no images given. Give {part}=IMAGES.")
        images = _images(paths)
        found[part] = {path.stem: path for path in images}
        if len(found[part]) < len(images):
            raise ConfigError(
                f"{part}: two images have the same name apart from the extension. Rename one."
            )
    first = found[parts[0]]
    for part, images_of in found.items():
        if lone := sorted(first.keys() ^ images_of.keys()):
            raise ConfigError(
                f"{part}: {lone[0]}: found for only one of {parts[0]} and {part}. Images that "
                "belong together must have the same name apart from the extension."
            )
    return [{part: found[part][stem] for part in parts} for stem in first]


def _names(images: Sequence[Path | dict[str, Path]]) -> list[str]:
    """Names each result after its image; keeps the extension where two stems are the same."""
    paths = [next(iter(one.values())) if isinstance(one, dict) else one for one in images]
    stems = Counter(path.stem for path in paths)
    return [path.stem if stems[path.stem] == 1 else path.name for path in paths]


def _results(path: Path, overlay: Overlay) -> Results:
    """Returns the paths of a mask and of its overlay, from a path without extension."""
    shown = None if overlay == "none" else path.with_name(f"{path.name}_overlay.{overlay}")
    return Results(path.with_name(f"{path.name}.png"), shown)


def write(
    image: np.ndarray,
    mask: np.ndarray | Mapping[str, np.ndarray],
    look: Look | Mapping[str, Look],
    results: Sequence[Results],
) -> None:
    """Writes a mask as a palette PNG, and an overlay; both name this program as their author.

    Args:
        image: uint8 `[h, w, 3]`.
        mask: Class ids `[h, w]`, or a dict of them by head.
        look: The masks' `Look`, or a dict of them by head, in the order of `plan`'s heads.
        results: The paths, for each head in turn.
    """
    masks = mask if isinstance(mask, Mapping) else {"": mask}
    looks = look if isinstance(look, Mapping) else {"": look}
    for head, paths in zip(looks, results, strict=True):
        _write(image, masks[head], looks[head], paths)


def _write(image: np.ndarray, mask: np.ndarray, look: Look, paths: Results) -> None:
    mark = PngInfo()
    mark.add_text("Software", SOFTWARE)
    with replacing(paths.mask) as temporary:
        picture = palette_png(mask, look.palette, look.values)
        picture.save(temporary, "PNG", pnginfo=mark, **FAST_PNG)
    for kind in ("png", "jpg"):  # An earlier overlay would show another mask.
        earlier = _results(paths.mask.with_suffix(""), kind).overlay
        if earlier not in (None, paths.overlay) and _was_written_by_predict(earlier):
            earlier.unlink()
    if paths.overlay is None:
        return
    overlaid = overlay(image, mask, look.palette, background=look.background)
    with replacing(paths.overlay) as temporary:
        if paths.overlay.suffix == ".png":
            Image.fromarray(overlaid).save(temporary, "PNG", pnginfo=mark, **FAST_PNG)
        else:
            picture = Image.fromarray(overlaid)
            picture.save(temporary, "JPEG", quality=JPEG_QUALITY, comment=SOFTWARE)


def _was_written_by_predict(path: Path) -> bool:
    """Whether `write` made a file."""
    try:
        with Image.open(path) as image:
            return SOFTWARE in (image.info.get("Software"), _text(image.info.get("comment")))
    except OSError:
        return False


def _text(comment: bytes | str | None) -> str | None:
    return comment.decode("latin-1") if isinstance(comment, bytes) else comment
