"""Finds images that occur more than once, in one split or in two.

Two images are the same if the checksums of their pixels are equal.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from pipelines.checking.findings import Findings, name_of
from pipelines.errors import DataError
from pipelines.split import Example


def overlaps(findings: Sequence[Findings]) -> list[DataError]:
    """Finds images that occur more than once, in one split or in two.

    Args:
        findings: A list of `Findings`.

    Returns:
        A list of `DataError`s: one per pair of splits that share images, and one per split with
        duplicate images.
    """
    shared: dict[tuple[str, str], list[tuple[Example, Example]]] = defaultdict(list)
    places = [_places(one) for one in findings]
    for one, found in zip(findings, places, strict=True):
        for first, *others in found.values():
            shared[one.split.name, one.split.name] += [(first, other) for other in others]
    for (one, found), (other, again) in combinations(zip(findings, places, strict=True), 2):
        for key in found.keys() & again.keys():
            shared[one.split.name, other.split.name].append((found[key][0], again[key][0]))
    return [_overlap(*names, pairs) for names, pairs in shared.items() if pairs]


def _places(findings: Findings) -> dict[tuple[tuple[int, int] | None, int], list[Example]]:
    """Groups the examples by image size and checksum."""
    places = defaultdict(list)
    for example, size, checksum in zip(
        findings.split.examples, findings.sizes, findings.checksums, strict=True
    ):
        if checksum is not None:
            places[size, checksum].append(example)
    return places


def _overlap(one: str, other: str, pairs: Sequence[tuple[Example, Example]]) -> DataError:
    first, again = (name_of(e.image, e.id) for e in pairs[0])
    where = f"{one}: has" if one == other else f"{one} and {other}: share"
    images = f"{len(pairs)} image{'s' * (len(pairs) != 1)}"
    return DataError(
        f"{where} {images}{' more than once' if one == other else ''}, such as {first} and {again}."
        + ("" if one == other else " Metrics on training images are misleading."),
        kind="duplicates" if one == other else "overlap of splits",
        value=[(a.id, b.id) for a, b in pairs],
    )
