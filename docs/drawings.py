"""Draws the SVG files of the explanation pages into `docs/assets`.

    python docs/drawings.py

Sizes, strides and offsets come from `fcn_keras.geometry` on the models themselves, and the
subpackages from the import contracts in `pyproject.toml`. Each drawing follows the reader's light
or dark mode.
"""

import os
import tomllib
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402

from fcn_keras.geometry.receptive_field import receptive_field  # noqa: E402
from fcn_keras.models.fcn import MODELS  # noqa: E402

DOCS = Path(__file__).parent
WIDTH, MARGIN = 420, 10
STYLE = """
:root { --ink: #1f2328; --line: #6e7781; --plain: #eaeef2; --one: #a6cdf7; --two: #f5c88b;
  --edge: #cf222e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --line: #8b949e; --plain: #30363d; --one: #1f5fa8; --two: #8a5a13;
    --edge: #ff7b72; }
}
svg { color: var(--ink); }
text { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: currentColor; }
.head { font-weight: 600; }
.small { font-size: 12px; }
rect { stroke: var(--line); stroke-width: 0.75; }
.plain { fill: var(--plain); } .one { fill: var(--one); } .two { fill: var(--two); }
.solid { stroke: none; } .open { stroke-dasharray: 4 3; }
line { stroke: var(--line); stroke-width: 1; } .edge { stroke: var(--edge); stroke-width: 1.5; }
"""


class Band(NamedTuple):
    """One map along one axis: `count` cells of `stride` pixels, the first one from `start` on."""

    label: str
    count: int
    start: float
    stride: float
    kept: tuple[int, int] | None = None  # Cells (from, up to) that stand out.


def draw() -> dict[str, str]:
    """All drawings, SVG text by file name."""
    same = _model("fcn32s", "same")
    reference = _model("fcn32s", "reference")
    fine = _model("fcn8s", "reference")
    return {
        "geometry-receptive-field.svg": _receptive_fields(same),
        "geometry-same-25.svg": _same(same),
        "geometry-reference-25.svg": _reference(reference),
        "geometry-crops.svg": _crops(fine),
        "geometry-dilation.svg": _dilation(),
        "architecture-subpackages.svg": _subpackages(),
    }


def _model(name: str, geometry: str) -> keras.Model:
    options = {"weights": None, "head_width": 2, "geometry": geometry}
    return MODELS[name](2, input_shape=(25, 25, 3), **options)


def _map(model: keras.Model, layer: str) -> tuple[int, float, float]:
    """Cells, left edge of the first one and stride of a map, in the image's pixels."""
    size, stride, offset = receptive_field(model, layer)
    return model.get_layer(layer).output.shape[1], offset + (size - stride) / 2, stride


def _offset(model: keras.Model, layer: str) -> int:
    return model.get_layer(layer).offset


def _receptive_fields(model: keras.Model) -> str:
    """How the field of one cell grows, around the pixels that the cell stands for."""
    image = 500
    scale, y = (WIDTH - 2 * MARGIN) / image, 20
    parts = [_text(MARGIN, y, "An image of 500 pixels", "head")]
    y += 8
    parts.append(_rect(MARGIN, y, image * scale, 10, "plain"))
    names = {"block3_pool": "pool3", "block4_pool": "pool4", "block5_pool": "pool5"}
    for layer, name in {**names, "score_fr": "fc6, fc7, score_fr"}.items():
        size, stride, _ = receptive_field(model, layer)
        y += 34
        label = f"{name}: one cell stands for {stride} pixels and sees {size}"
        parts.append(_text(MARGIN, y, label))
        for width, kind in ((size, "one"), (stride, "two")):
            left = WIDTH / 2 - width * scale / 2
            parts.append(_rect(left, y + 6, width * scale, 12, kind))
    return _svg("Receptive fields of FCN on VGG16", y + 28, parts)


def _same(model: keras.Model) -> str:
    first = -_map(model, "block1_conv1")[1]
    rows = [
        Band("image: 25 pixels", 25, 0, 1, (0, 25)),
        _band(model, "pad", f"padded to 32: {first:.0f} before, {32 - 25 - first:.0f} behind"),
        *(_band(model, f"block{i}_pool", f"pool{i}: {{}}, stride {2**i}") for i in range(1, 6)),
        _band(model, "score_fr", "fc6 (7 x 7, padded), fc7, score_fr: {}"),
        _band(model, "upscore", "upscore, 32 times finer: {}", first),
        Band(f"logits: 25 pixels, cropped from {first:.0f} on", 25, 0, 1, (0, 25)),
    ]
    return _bands("FCN-32s, same geometry, 25 x 25 pixels", rows, -3.5, 29.5)


def _reference(model: keras.Model) -> str:
    offset = _offset(model, "logits")
    rows = [
        Band("image: 25 pixels", 25, 0, 1, (0, 25)),
        Band("padded by 100 on each side: 225", 225, -100, 1),
        _band(model, "block1_conv1", "conv1_1 (3 x 3) with that padding: {}"),
        *(_band(model, f"block{i}_pool", f"pool{i}: {{}}, stride {2**i}") for i in range(1, 6)),
        _band(model, "score_fr", "fc6 (7 x 7, valid), fc7, score_fr: {}"),
        _band(model, "upscore", "upscore, kernel 64, stride 32: {}", offset),
        Band(f"logits: 25 pixels, cropped from {offset} on", 25, 0, 1, (0, 25)),
    ]
    return _bands("FCN-32s, reference geometry, 25 x 25 pixels", rows, -101, 126)


def _crops(model: keras.Model) -> str:
    pool4, pool3, last = (
        _offset(model, name) for name in ("score_pool4c", "score_pool3c", "logits")
    )
    rows = [
        _band(model, "score_fr", "score_fr, stride 32: {}"),
        _band(model, "upscore2", "upscore2, stride 16: {}"),
        _band(model, "score_pool4", f"score_pool4: {{}}, cropped from {pool4} on", pool4, 4),
        _band(model, "upscore_pool4", "upscore_pool4, stride 8: {}"),
        _band(model, "score_pool3", f"score_pool3: {{}}, cropped from {pool3} on", pool3, 10),
        _band(model, "upscore8", f"upscore8, stride 1: {{}}, cropped from {last} on", last),
        Band("logits: 25 pixels", 25, 0, 1, (0, 25)),
    ]
    return _bands("FCN-8s, reference geometry: the three crops", rows, -106, 131)


def _band(
    model: keras.Model, layer: str, label: str, offset: float | None = None, kept: int = 25
) -> Band:
    count, start, stride = _map(model, layer)
    window = None if offset is None else (int(offset), int(offset) + kept)
    return Band(
        label.replace("{}", f"{count} cell{'s' * (count > 1)}"), count, start, stride, window
    )


def _bands(title: str, rows: Iterable[Band], low: float, high: float) -> str:
    """Maps below each other over the image's pixels; red ticks mark the image's edges."""
    scale, y = (WIDTH - 2 * MARGIN) / (high - low), 18
    parts = [_text(MARGIN, y, title, "head")]
    for label, count, start, stride, kept in rows:
        y += 22
        parts.append(_text(MARGIN, y, label, "small"))
        y += 6
        left, width = MARGIN + (start - low) * scale, stride * scale
        cells = [(i, 1) for i in range(count)] if width > 3 else [(0, count)]
        if width <= 3 and kept:
            cells = [(0, kept[0]), (kept[0], kept[1] - kept[0]), (kept[1], count - kept[1])]
        for first, number in cells:
            kind = "one" if kept and kept[0] <= first < kept[1] else "plain"
            if number:
                parts.append(_rect(left + first * width, y, number * width, 12, kind))
        for edge in (0, 25):
            x = MARGIN + (edge - low) * scale
            parts.append(_line(x, y - 3, x, y + 15, "edge"))
        y += 12
    return _svg(title, y + 12, parts)


def _dilation() -> str:
    """Pooling 2/2, then a filter over 3 cells, along 10 pixels: shifted twice, and dilated."""
    pixels, unit, parts = 10, 38, []

    def row(y: float, label: str, centres: Iterable[float], kinds: str) -> None:
        parts.append(_text(MARGIN, y - 6, label, "small"))
        for number, centre in enumerate(centres):
            kind = kinds.split()[number % len(kinds.split())]
            parts.append(_rect(MARGIN + (centre - 0.5) * unit + 2, y, unit - 4, 16, kind))

    def net(y: float, heading: str, shift: int, stride: int, kinds: str) -> list[float]:
        """Draws pixels, pooled cells and scores; cells lie at the centre of what they see."""
        pooled = [k + 1 for k in range(shift, pixels - 1, stride)]
        taps = range(0, 6 // stride, 2 // stride)  # Of the filter: 3 cells, 2 pixels apart.
        scores = [sum(pooled[k + t] for t in taps) / 3 for k in range(len(pooled) - taps[-1])]
        parts.append(_text(MARGIN, y, heading, "head"))
        row(y + 26, "pixels", [k + 0.5 for k in range(shift, pixels)], "plain")
        row(y + 64, f"max pooling over 2, stride {stride}", pooled, kinds)
        for k in range(min(len(scores), len(kinds.split()))):
            for t in taps:
                x, to = (MARGIN + at * unit for at in (pooled[k + t], scores[k]))
                parts.append(_line(x, y + 80, to, y + 116))
        row(y + 116, "", scores, kinds)
        parts.append(_text(MARGIN + 8.2 * unit, y + 110, "filter over 3", "small"))
        parts.append(
            _text(
                MARGIN + 8.2 * unit,
                y + 128,
                "neighbours" if stride == 2 else "cells 2 apart",
                "small",
            )
        )
        return scores

    first = net(18, "Shift-and-stitch, image not shifted", 0, 2, "one")
    second = net(180, "Shift-and-stitch, image shifted by one pixel", 1, 2, "two")
    row(344, "stitched: the two results interlaced", sorted(first + second), "one two")
    last = net(396, "Dilation: one pass", 0, 1, "one two")
    assert last == sorted(first + second)
    return _svg("Shift-and-stitch and dilation give the same scores", 542, parts)


def _subpackages() -> str:
    """The layers of both import contracts, top to bottom; each imports only what is below."""
    text = (DOCS.parent / "pyproject.toml").read_text("utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    (free,) = (one for one in contracts if "tensorflow" in one.get("forbidden_modules", ()))
    width, height, parts = 185, 24, []
    sides = {"fcn_keras": 0, "pipelines": WIDTH - 2 * MARGIN - width}
    for package, left in sides.items():
        (layers,) = (one["layers"] for one in contracts if one.get("containers") == [package])
        parts.append(_text(MARGIN + left, 18, package, "head"))
        for number, layer in enumerate(layers):
            y, names = 28 + number * (height + 5), layer.split(" | ")
            is_folder = (DOCS.parent / package / names[0]).is_dir()
            is_free = f"{package}.{names[0]}" in free["source_modules"]
            kind = f"{'one' if is_folder else 'plain'}{' open' if is_free else ''}"
            parts.append(_rect(MARGIN + left, y, width, height, kind))
            parts.append(_text(MARGIN + left + 8, y + 17, ", ".join(names), "small"))
    middle, rows = WIDTH / 2, [28 + i * (height + 5) + height / 2 for i in range(5)]
    for y in rows:  # cli to prediction: these read data.
        parts.append(_line(MARGIN + width, y, middle, y))
    parts.append(_line(middle, rows[0], middle, rows[-1]))
    parts.append(_line(middle, rows[2], MARGIN + sides["pipelines"], rows[2]))
    notes = (
        "Imports point down only.",
        "Blue: a folder. Grey: a module.",
        "Dashed: no TensorFlow.",
    )
    for number, note in enumerate((*notes, "Line: may import pipelines.")):
        parts.append(_text(MARGIN + sides["pipelines"], 372 + 20 * number, note, "small"))
    return _svg("The subpackages of fcn_keras and pipelines", 28 + 16 * (height + 5) + 4, parts)


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<line{named} x1="{x1:.4g}" y1="{y1:.4g}" x2="{x2:.4g}" y2="{y2:.4g}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.4g}" y="{y:.4g}">{escape(text)}</text>'


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    # A third wider than its coordinates, so that text is of the page's size on a desktop.
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height:.4g}" '
        f'width="{WIDTH * 4 // 3}">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    for name, svg in draw().items():
        (DOCS / "assets" / name).write_text(svg, "utf-8")
        print(DOCS / "assets" / name)
