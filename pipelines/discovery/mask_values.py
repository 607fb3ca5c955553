"""What all masks of a folder hold: values or colours, and how often."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from pipelines.discovery.folders import FEW, values_of
from pipelines.errors import DataError
from pipelines.files.images import read_mask
from pipelines.split import colour_of


@dataclass(frozen=True)
class Contents:
    """What masks hold.

    Attributes:
        pixels: of each value, or of each colour (r, g, b).
        masks: that have the value or colour.
        in_colours: whether the masks are pictures in colours.
        palette: the colours that palette files show values in, where they tell them apart.
        faults: `DataError`s of masks that could not be read.
    """

    pixels: Counter
    masks: Counter
    in_colours: bool
    palette: dict[int, tuple[int, int, int]]
    faults: tuple[DataError, ...]


def read_contents(layout, progress=None):
    """Reads all masks of a `Layout`.

    Args:
        layout: what `pipelines.discovery.folders.find` gave.
        progress: called with no argument after each mask, or None.

    Returns:
        `Contents`.

    Raises:
        DataError: no mask can be read, or they hold too much to be classes.
    """

    def read(path):
        try:
            mask = read_mask(path)
            values, counts = values_of(mask)
        except DataError as error:
            return path, error
        return path, (mask.ndim == 3, dict(zip(values.tolist(), counts.tolist(), strict=True)))

    found, faults, palettes = [], [], {}
    with ThreadPoolExecutor() as pool:
        for path, result in pool.map(read, layout.masks):
            if isinstance(result, DataError):
                faults.append(result)
            elif len(result[1]) > 4 * FEW:  # Hundreds of thousands in a photograph.
                raise _smoothed(layout, Counter(result[1]), result[0], path)
            else:
                found.append((path, *result))
                _add_palette(palettes, path, result[1])
            if progress:
                progress()
    if not found:
        raise DataError(
            f"{layout.root}: none of the {len(faults)} masks can be read; the first: {faults[0]}",
            kind=faults[0].kind,
            file=faults[0].file,
        )
    # Pictures that are grey throughout may hold values, saved as RGB.
    in_colours = any(is_rgb and not all(map(_is_grey, counts)) for _, is_rgb, counts in found)
    pixels, masks = Counter(), Counter()
    for path, is_rgb, counts in found:
        if in_colours:
            counts = {_colour(code, is_rgb): n for code, n in counts.items()}
        elif is_rgb:
            counts = {code & 255: n for code, n in counts.items()}
        if len(counts) > FEW:
            raise _smoothed(layout, Counter(counts), in_colours, path)
        pixels.update(counts)
        masks.update(counts.keys())
    _check_classes(layout, pixels, in_colours)
    # A palette's colours are declared, and would be looked for in pictures.
    some_rgb = any(is_rgb for _, is_rgb, _ in found)
    palette = {} if some_rgb else _telling(palettes, pixels)
    return Contents(pixels, masks, in_colours, palette, tuple(faults))


def listed(pixels):
    """The most frequent values or colours, as text."""
    most = ", ".join(f"{key} ({count:,} pixels)" for key, count in pixels.most_common(5))
    return most + (f", and {len(pixels) - 5:,} more" if len(pixels) > 5 else "")


def _colour(code, is_rgb):
    return colour_of(code) if is_rgb else (code,) * 3


def _is_grey(code):
    return code % 65793 == 0  # 65536 + 256 + 1.


def _add_palette(palettes, path, values):
    """Notes the colour of each value of a palette file, which must be the same in all files."""
    with Image.open(path) as image:
        colours = image.getpalette("RGB") if image.mode == "P" else []
    for value in values:
        colour = tuple(colours[3 * value : 3 * value + 3])
        known, first = palettes.setdefault(value, (colour, path)) if colour else (colour, path)
        if known != colour:
            raise DataError(
                f"{path}: value {value} is {colour} in its palette, but {known} in that of "
                f"{first}, so that it means different things. Save the masks as RGB PNG.",
                kind="palettes differ",
                file=path,
                value=value,
            )


def _telling(palettes, pixels):
    """The palette, unless it is one of greys, or shows two values alike."""
    colours = {value: colour for value, (colour, _) in palettes.items()}
    alike = len(set(colours.values())) < len(pixels)
    grey = all(len(set(colour)) == 1 for colour in colours.values())
    return {} if alike or grey else colours


def _check_classes(layout, pixels, in_colours):
    """Raises an error if all masks together hold what cannot be class ids."""
    if in_colours:
        if len(pixels) > FEW:
            raise _smoothed(layout, pixels, in_colours)
        return
    between = sum(128 <= value < 255 for value in pixels)
    if between > 8 and pixels[0] + pixels[255] > 0.9 * pixels.total():
        raise _smoothed(layout, pixels, in_colours)
    if max(pixels) > 255:
        raise DataError(
            f"{layout.root}: the masks hold values up to {max(pixels)}; classes have 0..255. If "
            "these are numbers of objects, use masks of classes.",
            kind="unknown value",
            file=layout.root,
            value=max(pixels),
        )


def _smoothed(layout, pixels, in_colours, path=None):
    if in_colours:
        pixels = Counter(
            {c if isinstance(c, tuple) else _colour(c, True): n for c, n in pixels.items()}
        )
    where = path or f"{layout.root}: the masks together"
    return DataError(
        f"{where}: {len(pixels):,} {'colours' if in_colours else 'values'}: {listed(pixels)}. So "
        "many mean a mask that was smoothed (antialiased), resized or saved as JPEG, or that is "
        "none. Export the masks without that.",
        kind="smoothed masks",
        file=path or layout.root,
    )
