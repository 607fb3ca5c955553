"""A diagnosis as one standalone HTML page: faults, warnings, classes, sizes, images and masks."""

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

MOST_PICTURES = 12  # Per split.
MOST_SIZES = 10  # Per split.
FEW_WARNINGS = 10  # Up to this many are shown expanded.
HEIGHT = 150  # Height of an image, in pixels.
VOID_COLOUR = (232, 228, 214)


def render(diagnosis: Diagnosis) -> str:
    """Renders the page as HTML.

    Args:
        diagnosis: A `Diagnosis`; some of its images are read again.
    """
    templates = Environment(
        loader=PackageLoader("pipelines.checking"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("data_report.html").render(
        data=diagnosis.data,
        faults=grouped(diagnosis.faults),
        warnings=grouped(diagnosis.warnings),
        few=FEW_WARNINGS,
        splits=[_split(findings) for findings in diagnosis.findings],
        classes=_classes(diagnosis.findings),
        void="#{:02x}{:02x}{:02x}".format(*VOID_COLOUR),
    )


def _split(findings: Findings) -> dict[str, Any]:
    sizes = Counter(size for size in findings.sizes if size).most_common()
    pictures = [_picture(findings, index) for index in _choice(findings)]
    return {
        "name": findings.split.name,
        "examples": len(findings.split),
        "bad": len(findings.bad),
        "void": findings.void_share,
        "sizes": sizes[:MOST_SIZES],
        "more_sizes": len(sizes[MOST_SIZES:]),
        "pictures": [picture for picture in pictures if picture],
    }


def _classes(findings: Sequence[Findings]) -> list[dict[str, Any]]:
    """Per class: name, colour, and per split the share of pixels and the number of images."""
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
    # With the square root, the bars of rare classes are long enough to see.
    most = max(s["share"] for row in rows for s in row["splits"]) or 1
    for row in rows:
        for split in row["splits"]:
            split["length"] = (split["share"] / most) ** 0.5
    return rows


def _choice(findings: Findings) -> list[int]:
    """Positions of examples without faults: one per class, rare ones first, then evenly spread."""
    usable = np.setdiff1d(np.arange(len(findings.split)), findings.bad)
    chosen: list[int] = []
    for class_id in np.argsort(findings.images[: findings.split.num_classes], kind="stable"):
        with_class = [i for i in usable if findings.present[i] >> int(class_id) & 1]
        if with_class and not set(with_class) & set(chosen):
            chosen.append(with_class[len(with_class) // 2])
    places = np.linspace(0, len(usable) - 1, MOST_PICTURES).astype(int)
    spread = usable[places] if len(usable) else []
    return sorted(list(dict.fromkeys([*chosen[:MOST_PICTURES], *spread]))[:MOST_PICTURES])


def _picture(findings: Findings, index: int) -> dict[str, Any] | None:
    """An example's image and coloured mask side by side, as a JPEG; None if unreadable."""
    split = findings.split
    try:
        image, mask = read_example(split, index)
    except DataError:  # The file has changed since it was checked.
        return None
    both = _side_by_side(image, _coloured(mask, split.palette))
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
        "width": both.width,
        "height": both.height,
        "size": f"{image.shape[0]} × {image.shape[1]}",
        "classes": ", ".join(present) or "all void",
    }


def _coloured(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    colours = np.full((256, 3), VOID_COLOUR, "uint8")
    colours[: len(palette)] = palette
    return colours[mask]


def _side_by_side(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Both as one picture, `HEIGHT` pixels high and with a white line between."""
    width = max(1, round(HEIGHT * image.shape[1] / image.shape[0]))
    width = min(width, 4 * HEIGHT)
    both = Image.new("RGB", (2 * width + 2, HEIGHT), "white")
    for array, left, method in (
        (image, 0, Image.Resampling.BILINEAR),
        (mask, width + 2, Image.Resampling.NEAREST),
    ):
        both.paste(Image.fromarray(array).resize((width, HEIGHT), method), (left, 0))
    return both
