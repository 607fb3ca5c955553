"""The page in headless Chromium, in narrow and wide, light and dark."""

import shutil

import pytest
from chromium import evaluate, look

from fcn_keras.reporting import run_report

BLEND = """
const [first, second] = document.querySelectorAll(".example");
const slider = first.querySelector("input"), button = second.querySelector("button");
const style = (element, name) => getComputedStyle(element)[name];
const opacity = (name) => style(first.querySelector(name), "opacity");
const opacities = () => [".prediction", ".truth"].map(opacity);
slider.value = 150;
slider.dispatchEvent(new Event("input"));
button.click();
found = {
  blended: opacities(), said: slider.getAttribute("aria-valuetext"),
  error: style(first.querySelector(".error"), "visibility"),
  pressed: button.getAttribute("aria-pressed"),
  shown: style(second.querySelector(".error"), "visibility"),
  hidden: style(second.querySelector(".prediction"), "visibility"),
};
document.querySelector("[data-view='100']").click();
found.all = [...opacities(), button.getAttribute("aria-pressed"), slider.value];
document.querySelector("[data-view=errors]").click();
found.errors = document.querySelectorAll(".errors").length;
"""
LAYOUT = """
for (const folded of document.querySelectorAll("details")) folded.open = true;
const cut = [...document.querySelectorAll("svg text")].filter((text) => {
  const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
  return box.x < 0 || box.y < 0 || box.x + box.width > view.width
    || box.y + box.height > view.height;
});
found = {
  width: document.documentElement.scrollWidth,
  cut: cut.map((text) => text.textContent),
  broken: [...document.images].filter((image) => !image.naturalWidth).length,
  dark: getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)",
};
"""


@pytest.fixture(params=[1, 2])
def content(request, finished, tmp_path):
    """The page of one or two runs."""
    runs = run_report.find([finished])
    if request.param == 2:
        name = "a_name_without_any_place_to_break_it_" * 3
        runs += run_report.find([shutil.copytree(finished, tmp_path / name)])
        runs[1].name = name
    return run_report.render(runs)


def test_the_slider_and_buttons_choose_the_layers(content, tmp_path):
    found = evaluate(content, BLEND, tmp_path, [390])[390]
    examples = content.count('class="example"')
    assert found == {
        "blended": ["1", "0.5"],
        "said": "ground truth 50 %",
        "error": "hidden",
        "pressed": "true",
        "shown": "visible",
        "hidden": "hidden",
        "all": ["1", "0", "false", "100"],
        "errors": examples,
    }
    assert examples in (9, 6)


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_never_scrolls_sideways_and_cuts_nothing_off(content, tmp_path, dark):
    found = evaluate(content, LAYOUT, tmp_path, dark=dark)
    for width in (390, 1280):
        assert found[width] == {"width": width, "cut": [], "broken": 0, "dark": dark}


def test_script_errors_are_noticed(tmp_path):
    (tmp_path / "page.html").write_text("<script>nothing()</script>")
    assert "ReferenceError" in look(tmp_path / "page.html", tmp_path / "profile")[1][0]
