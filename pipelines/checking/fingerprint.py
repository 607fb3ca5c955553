"""A compact record of the data that a training run used, to detect later changes.

It has the checksum of each example's image pixels, the classes in each mask, and the split's pixels
per class.
"""

from __future__ import annotations

from typing import Any

from pipelines.checking.findings import Findings


def fingerprint(findings: Findings) -> dict[str, Any]:
    """Summarizes findings as a JSON-compatible dict.

    Args:
        findings: The `pipelines.checking.findings.Findings` of a split.

    Returns:
        The split's name, classes, pixels per class, and examples: a dict by example id.
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
