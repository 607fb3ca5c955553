"""A diagnosis as one self-contained HTML page: faults, classes, sizes, pictures and masks."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image

from pipelines.checking.diagnosis import Diagnosis
from pipelines.checking.findings import Findings
from pipelines.errors import DataError, grouped
from pipelines.examples import read_example
from pipelines.split import IGNORE

SHOWN = 12  # Pictures of a split.
HEIGHT = 150  # Of a picture, in pixels.
VOID_COLOUR = (232, 228, 214)


def render(diagnosis: Diagnosis) -> str:
    """The page's HTML.

    Args:
        diagnosis: a `diagnosis.Diagnosis`; some of its images are read again.
    """
    environment = Environment(
        loader=PackageLoader("pipelines.checking"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("data_report.html").render(
        data=diagnosis.data,
        faults=grouped(diagnosis.faults),
        warnings=grouped(diagnosis.warnings),
        splits=[_split(findings) for findings in diagnosis.findings],
        classes=_classes(diagnosis.findings),
        void="#{:02x}{:02x}{:02x}".format(*VOID_COLOUR),
    )


def _split(findings: Findings) -> dict[str, Any]:
    sizes = Counter(size for size in findings.sizes if size).most_common()
    return {
        "name": findings.split.name,
        "examples": len(findings.split),
        "bad": len(findings.bad),
        "void": findings.void_share,
        "sizes": sizes[:10],
        "more_sizes": len(sizes[10:]),
        "pictures": [_picture(findings, index) for index in _choice(findings)],
    }


def _classes(findings: Sequence[Findings]) -> list[dict[str, Any]]:
    """For each class its name, colour, and share of pixels and number of images by split."""
    rows: list[dict[str, Any]] = []
    for class_id, name in enumerate(findings[0].split.class_names):
        shares = [f.class_pixels[class_id] / max(f.class_pixels.sum(), 1) for f in findings]
        rows.append(
            {
                "name": name,
                "colour": "#{:02x}{:02x}{:02x}".format(*findings[0].split.palette[class_id]),
                "splits": [
                    {"share": share, "images": int(f.images[class_id])}
                    for f, share in zip(findings, shares, strict=True)
                ],
            }
        )
    # Bars are long by the root of the share, so that rare classes are seen.
    most = max(s["share"] for row in rows for s in row["splits"]) or 1
    for row in rows:
        for split in row["splits"]:
            split["length"] = (split["share"] / most) ** 0.5
    return rows


def _choice(findings: Findings) -> list[int]:
    """Faultless examples: one for each class, rare ones first, then from all over the split."""
    usable = np.setdiff1d(np.arange(len(findings.split)), findings.bad)
    chosen: list[int] = []
    for class_id in np.argsort(findings.images[: findings.split.num_classes], kind="stable"):
        with_class = [i for i in usable if findings.present[i] >> int(class_id) & 1]
        if with_class and not set(with_class) & set(chosen):
            chosen.append(with_class[len(with_class) // 2])
    spread = usable[np.linspace(0, len(usable) - 1, SHOWN).astype(int)] if len(usable) else []
    return sorted(list(dict.fromkeys([*chosen[:SHOWN], *spread]))[:SHOWN])


def _picture(findings: Findings, index: int) -> dict[str, str] | None:
    """Image and coloured mask side by side, as the content of an <img>."""
    split = findings.split
    try:
        image, mask = read_example(split, index)
    except DataError:  # It was there a moment ago.
        return None
    colours = np.full((256, 3), VOID_COLOUR, "uint8")
    colours[: split.num_classes] = split.palette
    width = max(1, round(HEIGHT * image.shape[1] / image.shape[0]))
    width = min(width, 4 * HEIGHT)
    both = Image.new("RGB", (2 * width + 2, HEIGHT), "white")
    both.paste(Image.fromarray(image).resize((width, HEIGHT), Image.Resampling.BILINEAR), (0, 0))
    small = Image.fromarray(mask).resize((width, HEIGHT), Image.Resampling.NEAREST)
    both.paste(Image.fromarray(colours[np.asarray(small)]), (width + 2, 0))
    buffer = io.BytesIO()
    both.save(buffer, "JPEG", quality=85, subsampling=0)
    present = [
        split.class_names[c]
        for c in range(split.num_classes)
        if findings.present[index] >> c & 1 and c != IGNORE
    ]
    return {
        "id": split.examples[index].id,
        "data": base64.b64encode(buffer.getvalue()).decode("ascii"),
        "size": f"{image.shape[1]} x {image.shape[0]}",
        "classes": ", ".join(present) or "all void",
    }
