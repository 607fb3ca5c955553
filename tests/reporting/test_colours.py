"""The colours of both pages, in light and dark, against WCAG 2.2."""

import re
from pathlib import Path

import pytest

import fcn_keras.reporting
import pipelines.checking

REPORT = Path(fcn_keras.reporting.__file__).parent / "templates"
CHECK = Path(pipelines.checking.__file__).parent / "templates"
STYLE = (REPORT / "base.css").read_text() + (REPORT / "run_report.css").read_text()
TEXTS = [
    *(("text", ground) for ground in ("page", "panel", "right", "wrong")),
    *(("soft", ground) for ground in ("page", "panel")),
    *((f"{kind}-text", kind) for kind in ("note", "bad", "good")),
]
LINES = [*((f"c{i}", "page") for i in range(8)), ("bar", "page"), ("edge", "page")]


def colours(scheme):
    """The variables of a scheme as RGB, 0..255."""
    found = {}
    blocks = re.findall(
        r"(@media \(prefers-color-scheme: dark\) \{\s*)?:root \{(.*?)\}", STYLE, re.S
    )
    for is_dark, block in blocks:
        if is_dark and scheme == "light":
            continue
        for name, value in re.findall(r"--([\w-]+): ([^;]+);", block):
            digits = re.fullmatch("#(..)(..)(..)", value)
            parts = [int(d, 16) for d in digits.groups()] if digits else map(int, value.split())
            found[name] = tuple(parts)
    return found


def luminance(colour):
    parts = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_of_black_and_white():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_lines_stand_out(scheme):
    found = colours(scheme)
    for pairs, least in ((TEXTS, 4.5), (LINES, 3)):
        for fore, ground in pairs:
            assert contrast(found[fore], found[ground]) >= least, (fore, ground)


def test_both_pages_have_the_same_base_style():
    assert (CHECK / "base.css").read_text() == (REPORT / "base.css").read_text()
