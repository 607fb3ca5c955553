"""What a training saw of its data, small enough to keep, so that a later look can be compared.

Of each example the checksum of its image's pixels and the classes in its mask, and of a split the
pixels of each class.
"""

from __future__ import annotations

from typing import Any

from pipelines.checking.findings import Findings


def fingerprint(findings: Findings) -> dict[str, Any]:
    """A dict that JSON can hold.

    Args:
        findings: `pipelines.checking.findings.Findings` of a split.

    Returns:
        The split's name, classes, pixels of each class, and examples: a dict by the examples' ids.
    """
    examples = zip(findings.split.examples, findings.checksums, findings.present, strict=True)
    return {
        "name": findings.split.name,
        "classes": list(findings.split.class_names),
        "pixels": findings.class_pixels.tolist(),
        "examples": {
            str(example.id): [f"{checksum or 0:016x}", f"{present:x}"]
            for example, checksum, present in examples
        },
    }
