"""The page of a data check."""

import re

import numpy as np
import pytest
from chromium import evaluate
from html_page import Page
from PIL import Image

import pipelines
from pipelines.checking import report
from pipelines.checking.diagnosis import diagnose
from pipelines.errors import DataError


@pytest.fixture
def checked(two_folders):
    """A data set with one fault, a warning per split, and names that HTML must escape."""
    yaml = two_folders / "data.yaml"
    yaml.write_text(yaml.read_text().replace("car]", "'<b>car', never]"))
    Image.fromarray(np.full((40, 56), 34, "uint8")).save(two_folders / "train/masks/0.png")
    return diagnose(lambda name: pipelines.read(yaml, name, keep_faults=True), yaml)


def rendered(diagnosis, folder):
    path = folder / "page.html"
    path.write_text(report.render(diagnosis), encoding="utf-8")
    return Page(path)


def test_faults_come_first(checked, tmp_path):
    page = rendered(checked, tmp_path)
    assert page.headings == [
        "Faults", "Warnings", "Classes", "Splits and image sizes", "Images and masks",
    ]  # fmt: skip
    assert "1 fault, 2 warnings" in page.text and "label value 34" in page.text
    assert "data.yaml train: 4 examples · data.yaml val: 2 examples" in page.text
    assert [attributes for tag, attributes in page.tags if tag == "details"] == [{"open": None}] * 2


def test_the_page_shows_classes_sizes_and_pictures(checked, tmp_path):
    page, (train, val) = rendered(checked, tmp_path), checked.findings
    for class_id, name in enumerate(("ground", "road", "<b>car")):
        shares = [f"{f.pixels[class_id] / f.pixels[:4].sum():.2%}" for f in (train, val)]
        assert page.row(name)[1:] == [shares[0], "3", shares[1], "2"]
    assert page.row("never")[1:] == ["0.00%", "0", "0.00%", "0"]
    assert page.row("data.yaml train")[1:] == ["4", "1", "2.5%", "40 × 56 (4)"]
    assert page.row("data.yaml val")[1:] == ["2", "0", "2.5%", "40 × 56 (2)"]
    assert sum(tag == "img" for tag, _ in page.tags) == 3 + 2
    assert "1, 40 × 56: ground, road, <b>car" in page.text
    assert not any(tag in ("b", "script", "link") for tag, _ in page.tags)


def test_many_warnings_are_folded(checked, tmp_path):
    checked.faults.clear()
    checked.warnings[:] = [DataError(f"w{i}", kind="odd") for i in range(11)]
    page = rendered(checked, tmp_path)
    assert "No faults, 11 warnings" in page.text and "odd: 11" in page.text and "w10" in page.text
    assert page.headings[0] == "Warnings"
    assert [attributes for tag, attributes in page.tags if tag == "details"] == [{}]


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_never_scrolls_sideways(checked, tmp_path, dark):
    checked.faults.append(DataError("a_path_without_any_place_to_break_it/" * 8, kind="long"))
    script = """found = {
      width: document.documentElement.scrollWidth,
      broken: [...document.images].filter((image) => !image.naturalWidth).length,
      dark: getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)",
    }"""
    found = evaluate(report.render(checked), script, tmp_path, dark=dark)
    for width in (390, 1280):
        assert found[width] == {"width": width, "broken": 0, "dark": dark}


def test_a_picture_shows_the_mask_in_the_classes_colours(checked, tmp_path):
    content = report.render(checked)
    assert re.search(r'alt="image and mask of 1"\s+width="422" height="150"', content)
