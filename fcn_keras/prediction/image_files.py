"""Which images to predict and where to write: files and folders, never over a user's own file."""

from collections import Counter
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fcn_keras.errors import ConfigError
from fcn_keras.outputs import check_folder, make_folder, remove_unfinished, replacing
from fcn_keras.prediction.pictures import overlay, palette_png

ENDINGS = {".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
SOFTWARE = "fcn-keras predict"


def plan(sources, out, heads=()):
    """What to read and where to write for a list of files and folders.

    Args:
        sources: image files, or folders whose images are taken (no hidden ones, and not those of
            folders in them).
        out: the folder for the results; made here.
        heads: of a model with several their names, which the results' names then end with.

    Returns:
        A list of tuples: image path, and mask path and overlay path, of each head in turn.

    Raises:
        ConfigError: a source is missing or empty, two images have one name and ending, or a result
            cannot be written or would take the place of a file that is no earlier result.
    """
    images, out = [], Path(out)
    for source in map(Path, sources):
        if source.is_dir():
            found = [
                path
                for path in sorted(source.iterdir())
                if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
            ]
            if not found:
                raise ConfigError(f"{source}: the folder holds no images.")
            images += found
        elif source.is_file():
            images.append(source)
        else:
            raise ConfigError(f"{source}: no such file or folder.")
    images = list(dict.fromkeys(images))
    stems = Counter(path.stem for path in images)
    names = [path.stem if stems[path.stem] == 1 else path.name for path in images]
    ends = [f"{head}{kind}" for head in _suffixes(heads) for kind in ("", "_overlay")]
    jobs = [
        (path, *(out / f"{name}{end}.png" for end in ends))
        for path, name in zip(images, names, strict=True)
    ]
    check_folder(out)
    taken = {}
    for image, *results in jobs:
        for result in results:
            if result in taken:
                raise ConfigError(
                    f"{result}: would be the result of {taken[result]} and of {image}. Predict "
                    "them into folders of their own."
                )
            taken[result] = image
            if result.exists() and not _is_ours(result):
                raise ConfigError(
                    f"{result}: is there already, and predict did not write it. Choose another "
                    "--out."
                )
    make_folder(out)
    remove_unfinished(out)
    return jobs


def write(image, mask, palette, *paths):
    """Writes a mask as a palette PNG, and the image under it; both say who wrote them.

    Args:
        image: uint8 `[h, w, 3]`.
        mask: class ids `[h, w]`, or a dict of them by head.
        palette: uint8 `[classes, 3]`, or a dict of them by head, in the order of `plan`'s heads.
        *paths: of the mask and of the overlay, for each head in turn.
    """
    if isinstance(mask, dict):
        for head, *pair in zip(palette, paths[::2], paths[1::2], strict=True):
            write(image, mask[head], palette[head], *pair)
        return
    mask_path, overlay_path = paths
    mark = PngInfo()
    mark.add_text("Software", SOFTWARE)
    for make, path in (
        (lambda: palette_png(mask, palette), mask_path),
        (lambda: Image.fromarray(overlay(image, mask, palette)), overlay_path),
    ):
        with replacing(path) as temporary:
            make().save(temporary, "PNG", pnginfo=mark)


def _suffixes(heads):
    return [f"_{head}" for head in heads] or [""]


def _is_ours(path):
    """Whether a file is a result of `write`."""
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == SOFTWARE
    except OSError:
        return False
