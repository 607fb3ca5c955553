"""Palette masks whose palette contradicts the data set's colours.

A palette file stores an index per pixel, and a colour per index. Usually the indices are the mask's
values, and the colours only show them. But some programs order every file's palette differently:
then the colours are right and the indices mean nothing.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.errors import DataError
from pipelines.split import IGNORE, Example, Split

Colour = tuple[int, int, int]
UNNAMED = (None, IGNORE)  # A colour that is not declared, for a value that is void.


def resolve(
    split: Split,
    example: Example,
    indices: np.ndarray,
    palette: np.ndarray,
    notes: list[DataError] | None = None,
) -> np.ndarray:
    """Chooses between the indices and the colours of a palette mask.

    The colours count if all that the mask uses are in `split.mask_colours`, and at least one
    belongs to another class than its index. If none is, the palette has other purposes.

    Args:
        split: A `Split` with `mask_colours`.
        example: The example, for messages.
        indices: The mask's indices, uint8 `[h, w]`.
        palette: Its colours, uint8 `[n, 3]`.
        notes: A list to which a warning is added if the indices count, but classes have other
            colours in the palette.

    Returns:
        The indices, or colours `[h, w, 3]`.

    Raises:
        DataError: Some colours contradict the indices, but others are not declared.
    """
    colours: dict[int, Colour] = dict(enumerate(map(tuple, palette.tolist())))
    by_colour = {index: split.mask_colours.get(colour) for index, colour in colours.items()}
    by_index = split.mask_values
    if all(by_colour.get(i) == c or (by_colour.get(i), c) == UNNAMED for i, c in by_index.items()):
        return indices  # Whatever the mask uses; usual, and fast.
    used = np.flatnonzero(cv2.calcHist([indices], [0], None, [256], [0, 256])).tolist()
    unknown = [index for index in used if by_colour.get(index) is None]
    wrong = [i for i in used if i not in unknown and by_colour[i] != by_index.get(i)]
    if wrong and unknown:
        raise _contradiction(split, example, colours, wrong[0], unknown[0])
    if wrong:
        return palette[indices]
    if notes is not None:
        notes += _notes_on_other_colours(split, example, colours, unknown)
    return indices


def _contradiction(
    split: Split, example: Example, colours: dict[int, Colour], wrong: int, unknown: int
) -> DataError:
    by_index, by_colour = split.mask_values.get(wrong), split.mask_colours[colours[wrong]]
    return DataError(
        f"{example.mask}: value {wrong} is {_name(split, by_index)}, but has the colour of "
        f"{_name(split, by_colour)} in the file's palette, {colours[wrong]}. The mask cannot be "
        f"read by its colours either: value {unknown} has {colours.get(unknown, 'no colour')}, "
        "which is not declared. Declare that colour (`ignore` if it is void), or save the masks "
        "as RGB PNG, or as class ids without a palette.",
        kind="palette contradicts classes",
        file=example.mask,
        value=wrong,
    )


def _notes_on_other_colours(
    split: Split, example: Example, colours: dict[int, Colour], unknown: list[int]
) -> list[DataError]:
    """Builds the warning if a used value's class has a colour, but another one in the palette."""
    declared = {class_id: colour for colour, class_id in split.mask_colours.items()}
    for index in unknown:
        class_id = split.mask_values.get(index, IGNORE)
        if class_id != IGNORE and class_id in declared and index in colours:
            note = DataError(
                f"{example.mask}: value {index} is read as {_name(split, class_id)}, although its "
                f"colour in the file's palette is {colours[index]} and not "
                f"{declared[class_id]}. If the colours are right, save the masks as RGB PNG.",
                kind="palette of other colours",
                file=example.mask,
                value=index,
            )
            return [note]
    return []


def _name(split: Split, class_id: int | None) -> str:
    if class_id is None:
        return "no class"
    return "void" if class_id == IGNORE else repr(split.class_names[class_id])
