"""Words the faults that pydantic finds in the YAML file of a data set."""

import difflib
import reprlib
from collections.abc import Iterable

from pydantic import ValidationError

from pipelines.split import IGNORE, SPLITS

MAX_MESSAGE = 1000  # Characters.
MAX_TEXT = 1000  # Characters of a path or name.
ONE, SEVERAL = "{one pair of folders}", "[several pairs]"  # Tags of the two forms of a split.
_SHORT = reprlib.Repr()  # Of values found: a broken file may hold much.
_SHORT.maxstring = _SHORT.maxother = 100

_BYTE = "must be a whole number 0..255"
_SWITCH = "must be true or false"
_TEXT = f"must be text of at most {MAX_TEXT:,} characters; put numbers in quotes"
_RULES = {  # In place of pydantic's messages.
    "val_share": "must be a number between 0 and 1, such as 0.2 for a fifth of the images",
    "follow_links": _SWITCH,
    "mask_nearest": _SWITCH,
    "classes": "must be a list of names, or of {name: NAME, ...}",
    "num_classes": "must be the number of classes",
    "offset": _BYTE,
    "value": _BYTE,
    "colour": "must be [red, green, blue], each 0..255",
    "ignore": "must be a whole number 0..255, or a colour of three",
    "mask_threshold": "must be a whole number 0..254, such as 127",
    **dict.fromkeys(SPLITS, "must have at least one pair of folders"),
    **dict.fromkeys(("images", "masks", "list", "tfds", "data_dir"), _TEXT),
    **dict.fromkeys(("image_suffix", "mask_suffix"), _TEXT),
    "name": f"must be text of 1 to {MAX_TEXT:,} characters; put numbers in quotes",
}


def first_fault(error: ValidationError, known: Iterable[str]) -> str:
    """Words the most telling fault of a YAML file.

    Args:
        error: What pydantic found.
        known: All keys that the file may have.
    """
    return _words(error, known)[:MAX_MESSAGE]


def _words(error: ValidationError, known: Iterable[str]) -> str:
    # A misspelt key explains the missing one.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    tags = ("int", "tuple", ONE, SEVERAL)
    where = ".".join(str(part) for part in fault["loc"] if part not in tags)
    found = _SHORT.repr(fault["input"])
    message = fault["msg"].removeprefix("Value error, ")
    if not where:
        return message
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        return f"unknown key `{where}`" + (f"; did you mean `{close[0]}`?" if close else ".")
    if fault["type"] == "missing":
        return f"the key `{where}` is missing."
    if fault["type"] == "too_short" and where == "classes":
        return f"`{where}`: must list at least 2 classes, found {found}."
    if fault["type"] == "too_long":
        return (
            f"`{where}`: {len(fault['input'])} classes, but at most {IGNORE} are supported: masks "
            f"have 8 bits, and {IGNORE} is void. Merge classes, or ignore the rarest."
        )
    if fault["type"] == "model_type":
        message = {
            "Class": "must be a name, or {name: NAME, ...}",
            "Folders": "must be {images: FOLDER, masks: FOLDER}, or a list of such pairs",
        }[fault["ctx"]["class_name"]]
    elif fault["type"] != "value_error":
        rules = [_RULES[part] for part in fault["loc"] if part in _RULES]  # The last is closest.
        message = [message, *rules][-1]
    return f"`{where}`: {message}, found {found}."
