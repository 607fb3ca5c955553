"""Reads an example's image and mask, and checks them against each other and the classes."""

from __future__ import annotations

import cv2
import numpy as np
import stringzilla

from pipelines.errors import DataError
from pipelines.files.exif import TRANSPOSED
from pipelines.files.images import read_image, read_mask, read_mask_and_palette, read_orientation
from pipelines.files.lossy_masks import ByNearest
from pipelines.files.opening import Source
from pipelines.palettes import resolve
from pipelines.split import IGNORE, Example, Split, colour_codes, colour_of

EXACT = 2**24  # OpenCV counts in float32, which is exact up to here.
LISTED = 5  # Unknown values or colours listed in one message.


def read_example(split: Split, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads the image and mask of one example.

    Args:
        split: A `Split`.
        index: Position in `split.examples`.

    Returns:
        The image, RGB uint8 `[h, w, 3]`, and class ids, uint8 `[h, w]`, 255 where void.

    Raises:
        DataError: A file cannot be read, the sizes differ, or the mask has a value or colour that
            is neither a class nor ignored.
    """
    example = split.examples[index]
    image = image_of(split, example)
    mask = class_ids(split, example, mask_of(split, example))
    check_sizes(split, example, image, mask)
    return image, mask


def image_of(split: Split, example: Example, notes: list[DataError] | None = None) -> np.ndarray:
    """Reads an example's image with the split's reader.

    Args:
        split: A `Split`.
        example: One of its examples.
        notes: As in `read_image`.

    Returns:
        uint8 `[h, w, 3]`, or what `split.read_image` returns.
    """
    if split.read_image is read_image:
        image = read_image(example.image, notes, upright=split.upright)
    else:
        image = split.read_image(example.image)
    return _not_empty(image, example.image)


def mask_of(split: Split, example: Example, notes: list[DataError] | None = None) -> np.ndarray:
    """Reads an example's mask as `class_ids` takes it.

    Args:
        split: A `Split`.
        example: One of its examples.
        notes: A list to which a `DataError` is added for each warning.

    Returns:
        What `split.read_mask` returns; or the colours `[h, w, 3]` of a palette file whose indices
        contradict `split.mask_colours`.
    """
    if split.read_mask is read_mask:
        values, palette = read_mask_and_palette(example.mask)
    elif isinstance(split.read_mask, ByNearest):
        values, palette = split.read_mask.with_palette(example.mask)
    else:
        values, palette = split.read_mask(example.mask), None
    if palette is None or not split.mask_colours:
        return _not_empty(values, example.mask)
    return resolve(split, example, values, palette, notes)


def class_ids(split: Split, example: Example, values: np.ndarray) -> np.ndarray:
    """Converts a mask's values or colours to class ids.

    Colours are looked up in `split.mask_colours`. If that is empty, an RGB mask that is grey
    throughout is read as values that were saved as RGB.

    Args:
        split: A `Split`.
        example: The example, for messages.
        values: The output of `split.read_mask`: integers or bool `[h, w]`, or colours `[h, w, 3]`.

    Returns:
        uint8 `[h, w]`, 255 where void.

    Raises:
        DataError: A value or colour is neither a class nor ignored.
    """
    if values.ndim == 3 and not split.mask_colours and _is_grey(values):
        values = np.ascontiguousarray(values[..., 0])
    if values.dtype == bool:  # Some programs read 1 bit as 0 and 1, most as 0 and 255.
        if split.mask_values.get(255, IGNORE) == IGNORE:
            raise DataError(
                f"{example.mask}: a 1-bit mask, read as 0 and 255, but 255 is not a class. Map 255 "
                "to 1? Then give that class `value: 255`, or save 8-bit masks of class ids.",
                kind="mask of one bit",
                file=example.mask,
            )
        values = values * np.uint8(255)
    if values.ndim == 3:
        codes = colour_codes(values)
        mask = split.colour_table[codes]
        if (mask < 0).any():
            raise _unknown_colours(split, example, codes, mask < 0)
        return mask.astype("uint8")
    if values.dtype == np.uint8:
        known, table = split.value_table
        if not _looked_up(values, known).all():
            raise _unknown_values(split, example, values, known[values] == 0)
        return _looked_up(values, table)
    low, high = min(split.mask_values, default=0), max(split.mask_values, default=0)
    table = np.full(high - low + 1, -1, "int16")
    for value, class_id in split.mask_values.items():
        table[value - low] = class_id
    inside = (values >= low) & (values <= high)  # Before a cast that could wrap.
    mask = np.where(inside, table[np.where(inside, values.astype("int64") - low, 0)], -1)
    if (mask < 0).any():
        raise _unknown_values(split, example, values, mask < 0)
    return mask.astype("uint8")


def class_counts(split: Split, example: Example, values: np.ndarray) -> np.ndarray:
    """Counts the pixels of each class id in `class_ids(split, example, values)`.

    Returns:
        int64 `[256]`; void is at 255.

    Raises:
        DataError: As in `class_ids`.
    """
    if values.dtype == np.uint8 and values.ndim == 2:
        known, table = split.value_table
        counts = np.zeros(256, "int64")
        for at in range(0, len(values), rows := max(1, EXACT // max(values.shape[1], 1))):
            part = np.ascontiguousarray(values[at : at + rows])
            counts += cv2.calcHist([part], [0], None, [256], [0, 256]).ravel().astype("int64")
        if not counts[known == 0].any():
            return np.bincount(table, counts, 256).astype("int64")
    return np.bincount(class_ids(split, example, values).ravel(), minlength=256)


def check_sizes(split: Split, example: Example, image: np.ndarray, mask: np.ndarray) -> None:
    """Checks that an image and its mask have the same size.

    Args:
        split: The split that the image is from.
        example: The example, for messages.
        image: `[h, w, 3]`.
        mask: `[h, w]`, or colours `[h, w, 3]`.

    Raises:
        DataError: The sizes differ.
    """
    if image.shape[:2] == mask.shape[:2]:
        return
    text = (
        f"{example.mask}: the mask is {mask.shape[0]} x {mask.shape[1]} (height x width), but its "
        f"image {example.image} is {image.shape[0]} x {image.shape[1]}"
    )
    turn = read_orientation(example.image)
    if mask.shape[:2] == image.shape[1::-1] and turn in TRANSPOSED:
        fix = (
            f" when turned upright as its EXIF orientation {turn} says. The mask fits the stored "
            "pixels. If all masks of the data set do, set `exif: ignore` in its YAML file. "
            "Otherwise turn this mask upright too."
            if split.upright
            else f" as it is stored. The mask fits the image turned upright as its EXIF "
            f"orientation {turn} says. If all masks of the data set do, remove `exif: ignore` from "
            "its YAML file. Otherwise turn this mask back."
        )
        raise DataError(f"{text}{fix}", kind="EXIF orientation", file=example.mask, value=turn)
    raise DataError(
        f"{text}. Both must have the same size; nothing is resized.",
        kind="size mismatch",
        file=example.mask,
        value=mask.shape[:2],
    )


def _not_empty(pixels: np.ndarray, source: Source | np.ndarray) -> np.ndarray:
    """Returns an image or mask; files always have pixels, arrays may have none."""
    if not pixels.size:
        name = "an array" if isinstance(source, np.ndarray) else source
        raise DataError(
            f"{name}: {' x '.join(map(str, pixels.shape[:2]))} (height x width), so it has no "
            "pixels. Remove it.",
            kind="no pixels",
            file=name,
        )
    return pixels


def _looked_up(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Returns `table[values]` for uint8; `cv2.LUT` takes ten times as long."""
    found = values.copy()
    stringzilla.translate(found.data, table.data, inplace=True)
    return found


def _is_grey(colours: np.ndarray) -> bool:
    red, green, blue = np.moveaxis(colours, -1, 0)
    return np.array_equal(red, green) and np.array_equal(red, blue)


def _listed(found: np.ndarray | list[tuple[int, int, int]], counts: np.ndarray) -> str:
    """Lists the first values or colours with their pixel counts, and how many more there are."""
    listed = ", ".join(
        f"{value} ({n} pixel{'' if n == 1 else 's'})"
        for value, n in zip(found[:LISTED], counts[:LISTED], strict=True)
    )
    return listed + (f" and {len(found) - LISTED} more" if len(found) > LISTED else "")


def _unknown_values(
    split: Split, example: Example, values: np.ndarray, unknown: np.ndarray
) -> DataError:
    found, counts = np.unique(values[unknown], return_counts=True)
    row, column = (int(n) for n in np.argwhere(unknown)[0])
    ignored = sorted(value for value, class_id in split.mask_values.items() if class_id == IGNORE)
    present = np.unique(values)
    if sorted(present) == [0, 255]:
        hint = (
            "Map 255 to 1? Masks of 0 and 255 usually mean that 255 is class 1: give that class "
            "`value: 255`."
        )
    elif found.tolist() == [split.num_classes] and present[0] == 1:
        hint = f"Do the ids start at 1? Then set `offset: 1` ({present[0]} is class 0)."
    else:
        hint = f"Add the class, or ignore it: `ignore: [{found[0]}]`."
    return DataError(
        f"{example.mask}: label value {_listed(found, counts)}, first at row {row}, column "
        f"{column}, but {split.name} has {split.num_classes} classes and ignores {ignored}. {hint}",
        kind="unknown value",
        file=example.mask,
        value=[int(v) for v in found],
        position=(row, column),
    )


def _unknown_colours(
    split: Split, example: Example, codes: np.ndarray, unknown: np.ndarray
) -> DataError:
    found, counts = np.unique(codes[unknown], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    row, column = (int(n) for n in np.argwhere(unknown)[0])
    colours = [colour_of(code) for code in found[order]]
    rule = f"which are not among the {len(split.mask_colours)} declared colours"
    if not split.mask_colours:
        rule = f"but {split.name} expects class ids"
        hint = (
            "Give each class its `colour: [red, green, blue]`, or save the mask as a "
            "single-channel or palette PNG of class ids."
        )
    elif all(len(set(colour)) == 1 for colour in colours):
        hint = "If grey levels are class ids here, save the mask as a single-channel PNG."
    elif len(found) > len(split.mask_colours):
        hint = "So many colours mean that the mask was smoothed or resized. Export it without that."
    else:
        hint = f"Give the class its colour, or ignore it: `ignore: [[{str(colours[0])[1:-1]}]]`."
    return DataError(
        f"{example.mask}: the mask has colours {_listed(colours, counts[order])}, first at row "
        f"{row}, column {column}, {rule}. {hint}",
        kind="unknown colour" if split.mask_colours else "colours in a mask",
        file=example.mask,
        value=colours,
        position=(row, column),
    )
