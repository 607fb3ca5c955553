"""Every split of a data set checked, and all faults told at once: `data check`."""

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
    """What is wrong with a data set.

    Attributes:
        data: its name, or the YAML file.
        findings: `Findings` of each split that could be read.
        unread: why other splits could not, by their names.
        faults: what keeps the data set from being used, of all splits and of the whole.
        warnings: what is odd.
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
    """Checks splits of a data set, and looks for images that they share.

    Args:
        read: a function split name -> `Split`, with its faults kept.
        data: the data set's name, for the report.
        splits: names of splits; otherwise train, val and, if there is one, test.
        watch: a function of a text and a number that gives a context manager, which gives a
            function to call after each example; or None.

    Returns:
        A `Diagnosis`.

    Raises:
        DataError: no split could be read.
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
            findings = cache.examine_anew(split, advance)
        found.findings.append(findings)
        faults, warnings = findings.of_the_split()
        found.faults += findings.faults + faults
        found.warnings += findings.warnings + warnings
    if not found.findings:
        raise next(iter(found.unread.values()))
    for name, reason in found.unread.items():
        # Many data sets have no test split, or publish none of its masks.
        if splits or name != "test" or reason.kind != "data set":
            found.faults.append(reason)
    found.warnings += overlaps(found.findings)
    return found


def to_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as what JSON can hold: all faults and warnings, and the figures of each split."""
    return {
        "data": diagnosis.data,
        "faults": [e.to_dict() for e in diagnosis.faults],
        "warnings": [e.to_dict() for e in diagnosis.warnings],
        "splits": {f.split.name: _figures(f) for f in diagnosis.findings},
    }


def _figures(findings: Findings) -> dict[str, Any]:
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
