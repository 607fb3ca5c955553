"""Checks every split of a data set and reports all faults at once (`data check`)."""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.checking import cache
from pipelines.checking.findings import Findings
from pipelines.checking.overlaps import overlaps
from pipelines.errors import DataError
from pipelines.split import IGNORE, SPLITS, Split


@dataclass
class Diagnosis:
    """The faults and warnings of a data set.

    Attributes:
        data: The data set's name, or its YAML file.
        findings: `Findings` of each split that could be read.
        unread: Maps the names of the other splits to the reason why they could not be read.
        faults: What makes the data set unusable, in any split or as a whole.
        warnings: What looks wrong but does not prevent its use.
    """

    data: str
    findings: list[Findings] = field(default_factory=list)
    unread: dict[str, DataError] = field(default_factory=dict)
    faults: list[DataError] = field(default_factory=list)
    warnings: list[DataError] = field(default_factory=list)


def diagnose(
    read: Callable[[str], Split],
    data: str | Path,
    splits: Sequence[str] | None = None,
    watch: Callable[[str, int], AbstractContextManager[Callable[[], object]]] | None = None,
) -> Diagnosis:
    """Checks the splits of a data set, and looks for images that occur more than once.

    Args:
        read: A function split name -> `Split` that keeps faults instead of raising them.
        data: The data set's name, for the report.
        splits: Names of splits; by default train, val and, if there is one, test.
        watch: A function that takes a text and a count and returns a context manager; this gives a
            function to call after each example. None shows no progress.

    Returns:
        A `Diagnosis`.

    Raises:
        DataError: No split could be read.
    """
    found = Diagnosis(str(data))
    for name in splits or SPLITS:
        try:
            split = read(name)
        except DataError as error:
            found.unread[name] = error
            continue
        shown: AbstractContextManager[Callable[[], object] | None] = contextlib.nullcontext()
        if watch:
            shown = watch(f"reading {split.name}", len(split))
        with shown as advance:
            findings = cache.examine_again(split, advance)
        found.findings.append(findings)
        faults, warnings = findings.of_the_split()
        found.faults += findings.faults + faults
        found.warnings += findings.warnings + warnings
    if not found.findings:
        raise next(iter(found.unread.values()))
    for name, reason in found.unread.items():
        # Many data sets have no test split, or do not publish its masks.
        if splits or name != "test" or reason.kind != "data set":
            found.faults.append(reason)
    found.warnings += overlaps(found.findings)
    return found


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Converts a diagnosis to a JSON-compatible dict: faults, warnings and statistics per split."""
    return {
        "data": diagnosis.data,
        "faults": [e.to_dict() for e in diagnosis.faults],
        "warnings": [e.to_dict() for e in diagnosis.warnings],
        "splits": {f.split.name: _statistics(f) for f in diagnosis.findings},
    }


def _statistics(findings: Findings) -> dict[str, Any]:
    split = findings.split
    sizes = Counter(size for size in findings.sizes if size)
    return {
        "examples": len(split),
        "with_faults": [split.examples[i].id for i in findings.bad],
        "void_share": findings.void_share,
        "sizes": [
            {"height": h, "width": w, "images": count} for (h, w), count in sizes.most_common()
        ],
        "classes": [
            {
                "id": i,
                "name": name,
                "pixels": int(findings.pixels[i]),
                "images": int(findings.images[i]),
            }
            for i, name in enumerate(split.class_names)
        ],
        "void": {"pixels": int(findings.pixels[IGNORE]), "images": int(findings.images[IGNORE])},
    }
