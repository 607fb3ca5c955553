"""Finds the images to predict and plans the results' paths, never over a user's own files."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fcn_keras.errors import ConfigError
from fcn_keras.outputs import check_folder, make_folder, remove_unfinished, replacing
from fcn_keras.prediction.pictures import overlay, palette_png

ENDINGS = {".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
SOFTWARE = "fcn-keras predict"


class Job(NamedTuple):
    """The images of one prediction, and the paths of its results.

    Attributes:
        images: The image's path; for a model of several images a dict of paths by name.
        results: The paths of mask and overlay, for each head in turn.
    """

    images: Path | dict[str, Path]
    results: tuple[Path, ...]

    @property
    def first(self) -> Path:
        """The image, or the first of several, after which the results are named."""
        return next(iter(self.images.values())) if isinstance(self.images, dict) else self.images


def plan(
    sources: Iterable[str | Path],
    out: str | Path,
    heads: Sequence[str] = (),
    parts: Sequence[str] = (),
) -> list[Job]:
    """Plans the jobs for a list of files and folders, and creates the folder for the results.

    Args:
        sources: Image files, or folders whose images are used (not hidden files or subfolders).
            For a model of several images, NAME=SOURCE; images that belong together must have the
            same name apart from the extension.
        out: The folder for the results.
        heads: For a model of several heads, their names, which are appended to the results' names.
        parts: For a model of several images, their names.

    Raises:
        ConfigError: A source is missing or empty, two images have the same name and extension,
            images do not belong together, or a result cannot be written or would replace a file
            that is not an earlier result.
    """
    out = Path(out)
    images: list[Path | dict[str, Path]] = []
    images += _group_by_stem(sources, parts) if parts else _images(sources)
    jobs = [
        Job(image, tuple(out / f"{name}{end}.png" for end in _result_endings(heads)))
        for image, name in zip(images, _names(images), strict=True)
    ]
    check_folder(out)
    taken: dict[Path, Path] = {}
    for job in jobs:
        for result in job.results:
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


def _result_endings(heads: Sequence[str]) -> list[str]:
    """Returns the endings of the results' names: mask and overlay for each head in turn."""
    suffixes = [f"_{head}" for head in heads] or [""]
    return [f"{suffix}{kind}" for suffix in suffixes for kind in ("", "_overlay")]


def write(
    image: np.ndarray,
    mask: np.ndarray | Mapping[str, np.ndarray],
    palette: np.ndarray | Mapping[str, np.ndarray],
    *paths: Path,
    values: np.ndarray | None = None,
) -> None:
    """Writes a mask as a palette PNG, and an overlay; both name this program as their author.

    Args:
        image: uint8 `[h, w, 3]`.
        mask: Class ids `[h, w]`, or a dict of them by head.
        palette: uint8 `[classes, 3]`, or a dict of them by head, in the order of `plan`'s heads.
        *paths: The paths of mask and overlay, for each head in turn.
        values: uint8 `[classes]`, to store in the mask in place of the class ids.
    """
    masks = mask if isinstance(mask, Mapping) else {"": mask}
    palettes = palette if isinstance(palette, Mapping) else {"": palette}
    for head, *pair in zip(palettes, paths[::2], paths[1::2], strict=True):
        _write(image, masks[head], palettes[head], values, *pair)


def _write(
    image: np.ndarray,
    mask: np.ndarray,
    palette: np.ndarray,
    values: np.ndarray | None,
    mask_path: Path,
    overlay_path: Path,
) -> None:
    mark = PngInfo()
    mark.add_text("Software", SOFTWARE)
    for make, path in (
        (lambda: palette_png(mask, palette, values), mask_path),
        (lambda: Image.fromarray(overlay(image, mask, palette)), overlay_path),
    ):
        with replacing(path) as temporary:
            make().save(temporary, "PNG", pnginfo=mark)


def _was_written_by_predict(path: Path) -> bool:
    """Whether `write` made a file."""
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == SOFTWARE
    except OSError:
        return False
