"""Images that occur more than once, in one split or in two.

Two images are the same where the checksums of their pixels are.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

from pipelines.checking.findings import Findings, name_of
from pipelines.errors import DataError
from pipelines.split import Example


def overlaps(findings: Sequence[Findings]) -> list[DataError]:
    """Images that occur more than once, in one split or in two.

    Args:
        findings: a list of `Findings`.

    Returns:
        A list of `DataError`s, one for each pair of splits that share images, and one for each
        split that holds an image twice.
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
    """The examples of each size and checksum."""
    places = defaultdict(list)
    for example, size, checksum in zip(
        findings.split.examples, findings.sizes, findings.checksums, strict=True
    ):
        if checksum is not None:
            places[size, checksum].append(example)
    return places


def _overlap(one: str, other: str, pairs: Sequence[tuple[Example, Example]]) -> DataError:
    first, again = (name_of(e.image, e.id) for e in pairs[0])
    where = f"{one}: holds" if one == other else f"{one} and {other}: share"
    return DataError(
        f"{where} {len(pairs)} {'images more than once' if one == other else 'images'}, such as "
        f"{first} and {again}."
        + ("" if one == other else " Figures on images that were trained on mean little."),
        kind="duplicates" if one == other else "overlap of splits",
        value=[(a.id, b.id) for a, b in pairs],
    )
