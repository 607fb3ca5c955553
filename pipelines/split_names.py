"""Reads the split from the names of folders and lists: train, validation, testset and so on."""

import os
import re
from pathlib import Path

SPLIT = re.compile(r"(?<![a-z])(train|val|test)(ing|id|idation|annot\w*|set|s)?(?![a-z])")
NNU_NET = re.compile(r"(?<=images|labels)t([rs])(?![a-z])")  # imagesTr, labelsTs.


def split_of(path: str | Path) -> str | None:
    """Returns "train", "val" or "test" if a path names one, otherwise None."""
    text = Path(path).as_posix().lower()
    if found := SPLIT.search(text):
        return found[1]
    found = NNU_NET.search(text)
    return {"r": "train", "s": "test"}[found[1]] if found else None


def may_belong(images: Path, masks: Path) -> bool:
    """Whether two folders may belong together: not if one is train and the other val."""
    above = os.path.commonpath([images, masks])
    a, b = (split_of(folder.relative_to(above)) for folder in (images, masks))
    return a == b or None in (a, b)
