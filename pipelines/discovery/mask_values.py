"""Reads the values or colours in all masks of a folder, and counts their pixels."""

from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipelines.discovery.folders import Layout
from pipelines.discovery.looks import FEW, values_of
from pipelines.errors import DataError
from pipelines.files.images import read_mask
from pipelines.split import colour_of

Colour = tuple[int, int, int]
Key = int | Colour  # A value or a colour in a mask.
# Maps each value to its colour and the first file whose palette has it.
Palettes = dict[int, tuple[Colour, Path]]


@dataclass(frozen=True)
class Contents:
    """The values or colours in masks.

    Attributes:
        pixels: Number of pixels per value, or per colour (r, g, b).
        masks: Number of masks per value or colour.
        in_colours: Whether the masks are stored as colours.
        palette: The colours of values in palette files, if they distinguish the values.
        faults: `DataError`s of masks that could not be read.
    """

    pixels: Counter[Key]
    masks: Counter[Key]
    in_colours: bool
    palette: dict[int, Colour]
    faults: tuple[DataError, ...]


def read_contents(layout: Layout, progress: Callable[[], object] | None = None) -> Contents:
    """Reads all masks of a `Layout`.

    Args:
        layout: The result of `pipelines.discovery.folders.find`.
        progress: Called without arguments after each mask, or None.

    Returns:
        `Contents`.

    Raises:
        DataError: No mask can be read, or the masks hold too many values to be classes.
    """

    def read(path: Path) -> tuple[Path, DataError | tuple[bool, dict[int, int]]]:
        try:
            mask = read_mask(path)
            values, counts = values_of(mask)
        except DataError as error:
            return path, error
        return path, (mask.ndim == 3, dict(zip(values.tolist(), counts.tolist(), strict=True)))

    found, faults = [], []
    palettes: Palettes = {}
    with ThreadPoolExecutor() as pool:
        for path, result in pool.map(read, layout.masks):
            if isinstance(result, DataError):
                faults.append(result)
            elif len(result[1]) > 4 * FEW:  # A photograph has hundreds of thousands.
                is_rgb, codes = result
                raise _smoothed(layout, _keys(codes, is_rgb, is_rgb), is_rgb, path)
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
    # RGB masks that are grey throughout may hold values.
    in_colours = any(is_rgb and not all(map(_is_grey, codes)) for _, is_rgb, codes in found)
    pixels: Counter[Key] = Counter()
    masks: Counter[Key] = Counter()
    for path, is_rgb, codes in found:
        counts = _keys(codes, is_rgb, in_colours)
        if len(counts) > FEW:
            raise _smoothed(layout, counts, in_colours, path)
        pixels.update(counts)
        masks.update(counts.keys())
    _check_classes(layout, pixels, in_colours)
    # Palette colours would be declared, and then be expected in the RGB masks.
    some_rgb = any(is_rgb for _, is_rgb, _ in found)
    palette = {} if some_rgb else _distinct(palettes, pixels)
    return Contents(pixels, masks, in_colours, palette, tuple(faults))


def listed(pixels: Counter[Key]) -> str:
    """Lists the most frequent values or colours as text."""
    most = ", ".join(f"{key} ({count:,} pixels)" for key, count in pixels.most_common(5))
    return most + (f", and {len(pixels) - 5:,} more" if len(pixels) > 5 else "")


def _keys(codes: dict[int, int], is_rgb: bool, in_colours: bool) -> Counter[Key]:
    """Counts the pixels per value or colour from the output of `values_of`."""
    if in_colours:
        return Counter({colour_of(c) if is_rgb else (c, c, c): n for c, n in codes.items()})
    return Counter({code & 255 if is_rgb else code: n for code, n in codes.items()})


def _is_grey(code: int) -> bool:
    return code % 65793 == 0  # 65536 + 256 + 1.


def _add_palette(palettes: Palettes, path: Path, values: Collection[int]) -> None:
    """Records the colour of each value of a palette file; it must be the same in all files."""
    with Image.open(path) as image:
        flat = (image.getpalette("RGB") if image.mode == "P" else None) or []
    colours = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    for value, colour in enumerate(colours):
        if value not in values:
            continue
        known, first = palettes.setdefault(value, (colour, path))
        if known != colour:
            raise DataError(
                f"{path}: value {value} is {colour} in its palette, but {known} in the palette of "
                f"{first}, so its meaning is ambiguous. Save the masks as RGB PNG.",
                kind="palettes differ",
                file=path,
                value=value,
            )


def _distinct(palettes: Palettes, pixels: Counter[Key]) -> dict[int, Colour]:
    """Returns the palette, unless it is grey or has the same colour for two values."""
    colours = {value: colour for value, (colour, _) in palettes.items()}
    alike = len(set(colours.values())) < len(pixels)
    grey = all(len(set(colour)) == 1 for colour in colours.values())
    return {} if alike or grey else colours


def _check_classes(layout: Layout, pixels: Counter[Key], in_colours: bool) -> None:
    """Raises an error if all masks together hold values that cannot be class ids."""
    if in_colours:
        if len(pixels) > FEW:
            raise _smoothed(layout, pixels, in_colours)
        return
    values = [value for value in pixels if isinstance(value, int)]
    between = sum(128 <= value < 255 for value in values)
    if between > 8 and pixels[0] + pixels[255] > 0.9 * pixels.total():
        raise _smoothed(layout, pixels, in_colours)
    if max(values) > 255:
        raise DataError(
            f"{layout.root}: the masks hold values up to {max(values)}; classes must be 0..255. "
            "If these are object numbers, use class masks instead.",
            kind="unknown value",
            file=layout.root,
            value=max(values),
        )


def _smoothed(
    layout: Layout, pixels: Counter[Key], in_colours: bool, path: Path | None = None
) -> DataError:
    where = path or f"{layout.root}: the masks together"
    return DataError(
        f"{where}: {len(pixels):,} {'colours' if in_colours else 'values'}: {listed(pixels)}. So "
        "many mean that the mask was smoothed (antialiased), resized or saved as JPEG, or is not a "
        "mask. Export the masks without that.",
        kind="smoothed masks",
        file=path or layout.root,
    )
