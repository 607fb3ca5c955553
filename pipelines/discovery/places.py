"""Compares the paths of two folders: do the images in one belong to the masks in the other?

Words such as images and masks do not count; all others, and numbers, should be the same.
"""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.discovery.looks import IMAGES, MASKS

_ENDINGS = r"(?:entation|ation|ed|ing|e?s)*"
_EITHER = re.compile(rf"(?:{MASKS.pattern}|{IMAGES.pattern}){_ENDINGS}")


def distance(one: Path, other: Path) -> tuple[float, float, int]:
    """Returns how much two paths differ: in words, in their order, and as they are spelt."""
    a, b = words(one), words(other)
    # `a2` and `a 2` have the same words.
    spelt_alike = _without_kinds(one) == _without_kinds(other)
    parts = [_composed(path).split("/") for path in (one, other)]
    return (
        (Counter(a) - Counter(b)).total() + (Counter(b) - Counter(a)).total(),
        _apart(a, b) + 0.5 * (not spelt_alike),
        _apart(*parts),
    )


def contradict(images: Path, masks: Path) -> bool:
    """Whether their places have different numbers: `images/seq1` and `masks/seq2`."""
    return _differ(*((word for word in _place(p) if word.isdecimal()) for p in (images, masks)))


def are_elsewhere(images: Path, masks: Path) -> bool:
    """Whether folders named after images and masks have different places: `north` and `south`."""
    named = all(_EITHER.search(path.as_posix().lower()) for path in (images, masks))
    return named and _differ(_place(images), _place(masks))


def only_in_each(images: Path, masks: Path) -> tuple[str, str]:
    """Returns the words that only the one path has, and only the other; "" if not both have any.

    Numbers are compared with numbers.
    """
    a, b = words(images), words(masks)
    only = [[w for w in a if w not in b], [w for w in b if w not in a]]
    for kind in (True, False):
        if not all(any(w.isdecimal() == kind for w in own) for own in only):
            only = [[w for w in own if w.isdecimal() != kind] for own in only]
    return " ".join(only[0]), " ".join(only[1])


def words(path: Path) -> list[str]:
    """Returns the words and numbers of a path, apart from words for images and masks."""
    found = re.findall(r"[^\W\d_]+|\d+", _without_kinds(path))
    return [word.lstrip("0") or "0" for word in found]


def _place(path: Path) -> list[str]:
    """The words of a path without its first folder that is named after images or masks.

    So `1_images` and `2_masks` are in the same place.
    """
    kinds = [at for at, part in enumerate(path.parts) if _EITHER.search(part.lower())]
    return [
        w for at, part in enumerate(path.parts) if at not in kinds[:1] for w in words(Path(part))
    ]


def _differ(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether each has a word that the other lacks."""
    a, b = Counter(one), Counter(other)
    return bool(a - b and b - a)


def _without_kinds(path: Path) -> str:
    return _EITHER.sub(" ", _composed(path).lower())


def _composed(path: Path) -> str:
    return unicodedata.normalize("NFC", path.as_posix())


def _apart(one: Sequence[str], other: Sequence[str]) -> int:
    """Counts what two sequences do not have in common, in order."""
    same = difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return len(one) + len(other) - 2 * sum(block.size for block in same)
