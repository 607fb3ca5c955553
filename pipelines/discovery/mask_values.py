"""Reads the values or colours in all masks of a folder, and counts their pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pipelines.discovery.folders import Layout
from pipelines.discovery.looks import FEW, values_of
from pipelines.errors import DataError
from pipelines.files.images import read_mask
from pipelines.files.lossy_masks import ByThreshold
from pipelines.split import colour_of

Colour = tuple[int, int, int]
Key = int | Colour  # A value or a colour in a mask.
BLACK_WHITE = (0, 255)  # Values of masks that are read with a threshold.


@dataclass(frozen=True)
class Contents:
    """The values or colours in masks.

    Attributes:
        pixels: Number of pixels per value, or per colour (r, g, b).
        masks: Number of masks per value or colour.
        in_colours: Whether the masks are stored as colours.
        own_orders: Whether they are palette files, each with its own order of these colours.
        palette: The colours of values in palette files, if they distinguish the values.
        threshold: If not None: values up to it were read as 0, others as 255.
        faults: `DataError`s of masks that could not be read.
    """

    pixels: Counter[Key]
    masks: Counter[Key]
    in_colours: bool
    own_orders: bool
    palette: dict[int, Colour]
    threshold: int | None
    faults: tuple[DataError, ...]


class _Mask(NamedTuple):
    """The content of one file: pixels by value or colour code, and its palette's used colours."""

    path: Path
    is_rgb: bool
    codes: dict[int, int]
    palette: dict[int, Colour]


def read_contents(
    layout: Layout,
    progress: Callable[[], object] | None = None,
    threshold: int | None = None,
) -> Contents:
    """Reads all masks of a `Layout`.

    Args:
        layout: The result of `pipelines.discovery.folders.find`.
        progress: Called without arguments after each mask, or None.
        threshold: Reads black-and-white masks, also JPEG: the highest value that is black.

    Returns:
        `Contents`.

    Raises:
        DataError: No mask can be read, or the masks hold too many values to be classes.
    """
    found, faults = _read_all(layout, progress, threshold)
    # RGB masks that are grey throughout may hold values.
    some_rgb = any(mask.is_rgb for mask in found)
    own_orders = _have_own_orders(found)
    in_colours = own_orders or any(
        mask.is_rgb and not all(map(_is_grey, mask.codes)) for mask in found
    )
    pixels: Counter[Key] = Counter()
    masks: Counter[Key] = Counter()
    for mask in found:
        counts = _keys(mask, in_colours, own_orders)
        if len(counts) > FEW:
            raise _smoothed(layout, counts, in_colours, mask.path)
        pixels.update(counts)
        masks.update(counts.keys())
    _check_classes(layout, pixels, in_colours)
    # Palette colours would be declared, and then be expected in the RGB masks.
    palette = {} if some_rgb or own_orders else _distinct(found, pixels)
    return Contents(pixels, masks, in_colours, own_orders, palette, threshold, tuple(faults))


def listed(pixels: Counter[Key]) -> str:
    """Lists the most frequent values or colours as text."""
    most = ", ".join(f"{key} ({count:,} pixels)" for key, count in pixels.most_common(5))
    return most + (f", and {len(pixels) - 5:,} more" if len(pixels) > 5 else "")


def _read_all(
    layout: Layout, progress: Callable[[], object] | None, threshold: int | None
) -> tuple[list[_Mask], list[DataError]]:
    """Reads the masks; returns their contents, and the faults of those that cannot be read."""
    by_threshold = None
    if threshold is not None:
        by_threshold = ByThreshold.between(threshold, BLACK_WHITE, [None, None])

    def read(path: Path) -> tuple[Path, DataError | _Mask]:
        try:
            mask = by_threshold(path) if by_threshold else read_mask(path)
            values, counts = values_of(mask)
        except DataError as error:
            return path, error
        codes = dict(zip(values.tolist(), counts.tolist(), strict=True))
        palette = {} if by_threshold else _palette_of(path, codes)
        return path, _Mask(path, mask.ndim == 3, codes, palette)

    found: list[_Mask] = []
    faults = []
    with ThreadPoolExecutor() as pool:
        for path, result in pool.map(read, layout.masks):
            if isinstance(result, DataError):
                faults.append(result)
            elif len(result.codes) > 4 * FEW:  # A photograph has hundreds of thousands.
                raise _smoothed(layout, _keys(result, result.is_rgb), result.is_rgb, path)
            else:
                found.append(result)
            if progress:
                progress()
    if not found:
        raise _unreadable(layout, faults)
    return found, faults


def _keys(mask: _Mask, in_colours: bool, of_palette: bool = False) -> Counter[Key]:
    """Counts the pixels per value, or per colour; `of_palette` if palettes give the colours."""
    counts: Counter[Key] = Counter()
    for code, count in mask.codes.items():
        if not in_colours:
            counts[code & 255 if mask.is_rgb else code] += count
        elif mask.is_rgb:
            counts[colour_of(code)] += count
        else:
            counts[mask.palette[code] if of_palette and mask.palette else (code,) * 3] += count
    return counts


def _is_grey(code: int) -> bool:
    return code % 65793 == 0  # 65536 + 256 + 1.


def _palette_of(path: Path, values: Collection[int]) -> dict[int, Colour]:
    """Returns the colour of each value of a palette file; empty if it has no palette."""
    with Image.open(path) as image:
        flat = (image.getpalette("RGB") if image.mode == "P" else None) or []
    colours = enumerate(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
    return {value: colour for value, colour in colours if value in values}


def _have_own_orders(found: Sequence[_Mask]) -> bool:
    """Returns whether each palette file has its own order of the same colours.

    Then the colours are the classes, and the values mean nothing.

    Raises:
        DataError: A value has several colours, but no colour has several values: either may be
            the class.
    """
    colours: dict[int, tuple[Colour, Path]] = {}
    values: dict[Colour, int] = {}
    conflict, moved = None, False
    for mask in found:
        for value, colour in mask.palette.items():
            known, first = colours.setdefault(value, (colour, mask.path))
            if known != colour and conflict is None:
                conflict = mask.path, value, colour, known, first
            moved |= values.setdefault(colour, value) != value
    if conflict is None or moved:
        return conflict is not None
    path, value, colour, known, first = conflict
    raise DataError(
        f"{path}: value {value} is {colour} in its palette, but {known} in the palette of "
        f"{first}, so its meaning is ambiguous. Save the masks as RGB PNG if the colours are "
        "right, or as grey PNG if the values are.",
        kind="palettes differ",
        file=path,
        value=value,
    )


def _distinct(found: Sequence[_Mask], pixels: Counter[Key]) -> dict[int, Colour]:
    """Returns the palette, unless it is grey or has the same colour for two values."""
    colours = {value: colour for mask in found for value, colour in mask.palette.items()}
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


def _unreadable(layout: Layout, faults: Sequence[DataError]) -> DataError:
    """Builds the error for a folder without a readable mask."""
    if all(fault.kind == "lossy mask" for fault in faults):
        text = (
            f"all {len(faults)} masks are JPEG or lossy WebP, which changes values. Export them as "
            "PNG. If there are only these: add --mask-threshold 127 for black and white; or "
            "write the YAML file by hand, with each class's colour and `mask_nearest: true`."
        )
    else:
        text = f"none of the {len(faults)} masks can be read; the first: {faults[0]}"
    return DataError(f"{layout.root}: {text}", kind=faults[0].kind, file=faults[0].file)


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
